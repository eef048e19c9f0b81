"""What is to be run, and how it is told how many workers it has; what is wrong with it is found before it starts."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compute.texts import short, visible

PLACE = "{workers}"
LONGEST = 60  # characters of a command's name in a report
LONGEST_LINE = 300  # characters of a command in an error
NAME = re.compile(r"[^=\0]+")


@dataclass(frozen=True)
class Command:
    """A program and its arguments; `{workers}` in any of them, and in a variable's value, is the number of workers.

    variables: (name, value), set beside those that this process has.
    """

    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def argv(self, workers: int) -> list[str]:
        """The program and its arguments, for so many workers."""
        return [word.replace(PLACE, str(workers)) for word in self.words]

    def environment(self, workers: int) -> dict[str, str]:
        """The whole environment of a run on so many workers."""
        return os.environ | {name: value.replace(PLACE, str(workers)) for name, value in self.variables}

    @property
    def line(self) -> str:
        """The command as a shell takes it: `OMP_NUM_THREADS={workers} ./solve 1000`."""
        settings = [f"{name}={_quoted(value)}" for name, value in self.variables]
        return " ".join([*settings, *map(_quoted, self.words)])

    def line_at(self, workers: int) -> str:
        """The same with the number of workers in it, for an error: its end is left out where it is long."""
        line = self.line.replace(PLACE, str(workers))
        return visible(line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…")

    @property
    def name(self) -> str:
        """The program and its arguments, shortened: what a report calls it."""
        text = " ".join(map(_quoted, (_base(self.words[0]), *self.words[1:])))
        if len(text) > LONGEST:
            text = " ".join(map(_quoted, map(_base, self.words)))
        return short(text, LONGEST)

    @property
    def told_by(self) -> str:
        """How the program is told: `OMP_NUM_THREADS`, `{workers}`, or both."""
        names = [name for name, value in self.variables if PLACE in value]
        return "+".join(names + [PLACE] * any(PLACE in word for word in self.words))


def command(words: Sequence[str], env: Iterable[str] = ()) -> Command:
    """The command of these words; env: `NAME`, which is set to the number of workers, or `NAME=VALUE`.

    ValueError, with the remedy, where nothing tells the program how many workers it has, and for a name that is none.
    """
    if not words or not words[0]:
        raise ValueError("no program is named; write it behind two dashes: nfold command -- PROGRAM ARGS")
    variables = {}
    for given in env:
        name, equals, value = given.partition("=")
        if not NAME.fullmatch(name):
            raise ValueError(f"--env takes NAME or NAME=VALUE, not {given!r}; such as --env OMP_NUM_THREADS")
        variables[name] = value if equals else PLACE
    made = Command(tuple(words), tuple(variables.items()))
    if not made.told_by:
        nothing = f"nothing tells {words[0]!r} how many workers it has"
        if variables:
            given = ", ".join(f"--env {_quoted(f'{name}={value}')}" for name, value in variables.items())
            raise ValueError(
                f"{nothing}: {given} without {PLACE} in it; write --env {_quoted(next(iter(variables)))}, which sets"
                f" it to the number, or {PLACE} in the value or in an argument"
            )
        raise ValueError(
            f"{nothing}; write {PLACE} where the number belongs in its arguments, or name a variable, such as"
            " --env OMP_NUM_THREADS"
        )
    return made


def check_program(of: Command, counts: Iterable[int]) -> None:
    """ValueError, with the remedy, where the program cannot be found or may not be run, for one of these workers."""
    if not hasattr(os, "wait4"):
        raise ValueError("this system does not tell what a program used (no wait4); measure it on Linux or macOS")
    for word in dict.fromkeys(of.argv(count)[0] for count in counts):
        if shutil.which(word, path=of.environment(1).get("PATH")) is None:
            raise ValueError(_missing(word))


def _missing(word: str) -> str:
    if os.path.isdir(word):
        return f"{word!r} is a folder; name the program in it"
    if os.path.dirname(word):
        if os.path.exists(word):
            return f"{word!r} may not be executed; make it so (chmod +x), or put its interpreter before it"
        return f"there is no program {word!r}; correct its path"
    if len(shlex_words := word.split()) > 1:
        return (
            f"there is no program {word!r}; write its words apart: -- {shlex_words[0]} …, and a line of a shell as"
            " -- sh -c 'LINE'"
        )
    here = f"; the file of that name in this folder is ./{word}" if os.path.isfile(word) else ""
    return f"there is no program {word!r} on PATH; install it, or give its path{here}"


def _base(word: str) -> str:
    """The last part of a path; every other word as it is."""
    return os.path.basename(word) or word if word.startswith(("/", "./", "../", "~")) else word


def _quoted(word: str) -> str:
    """The word as a shell takes it; braces, which no shell minds in `{workers}`, need no quotes."""
    bare = word.replace(PLACE, "workers")
    return word if shlex.quote(bare) == bare else shlex.quote(word)
