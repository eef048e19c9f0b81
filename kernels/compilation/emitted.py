"""Machine code that this library writes itself, in LLVM's IR: made once a machine, and kept on disk.

It is for any processor of this kind, and needs llvmlite alone: neither the name of this processor nor numba's settings
decide it. So a process finds it whether or not it has imported numba, and makes it without.
"""

from __future__ import annotations

import itertools
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernels.compilation import digests, kept_code, our_files, ready


def kept(name: str, numbers: Sequence[tuple[str, int]], make: Callable[[], bytes]) -> bytes:
    """What `make` gives for this name, from disk where it is there.

    numbers: the constants that it is made of, see `numbers_of`; our files say the rest.
    """
    path = _path(name, repr(numbers))
    content = path and kept_code.read(path)
    if not content:
        content = make()
        if path:
            kept_code.write(path, content)
    return content


def numbers_of(*modules: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The whole numbers that modules have under names in capitals, as they are now."""
    named = dict(itertools.chain.from_iterable(names.items() for names in modules))
    return sorted((name, value) for name, value in named.items() if name.isupper() and type(value) is int)


def _path(name: str, numbers: str) -> Path | None:
    """Its file; None where it cannot be said what decides its content."""
    ours, compiler = our_files.digest(), ready.about_compiler("llvmlite")
    if not (ours and compiler):
        return None
    digest = digests.sha256()
    for part in ("emitted 1", name, numbers, compiler, sys.platform, platform.machine(), ours):
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogateescape"))
    return kept_code.cache_folder() / f"{name}-{digest.hexdigest()[:32]}.nbc"
