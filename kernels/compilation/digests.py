"""SHA-256. hashlib, and OpenSSL with it, is loaded with the first digest: importing kernels does not take its 3 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib

SIZE = 32  # bytes of a digest


def sha256(content: bytes = b"") -> hashlib._Hash:
    """The hash of some bytes, which may be updated with more."""
    import hashlib

    return hashlib.sha256(content)
