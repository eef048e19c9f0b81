"""What the documents say of the code: links and files that are there, words of the control, entries, private names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import compute
import kernels
from compute.lanes import control
from compute.scaling import ledger
from compute.scaling.verdict.causes import CODES
from compute.traits import Traits

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [path for folder in (".", "docs", "compute", "compute/*", "kernels") for path in ROOT.glob(f"{folder}/*.md")]
)
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in ARCHITECTURE.splitlines()
    if line.startswith("| ") and not line.startswith(("| word", "| name"))
]
FILE = re.compile(r"`((?:compute|kernels|tests|docs|bench|examples)/[\w/.-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_every_file_that_is_named_is_there(page):
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if "//" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in FILE.findall(text) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_has_one(page):
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        target = (page.parent / link if link else page).read_text()
        heads = [
            re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)", target, re.M)
        ]
        assert anchor in heads


MAPS = {
    path.parent: re.findall(r"^([\w/]+(?:\.py|/)) ", path.read_text(), re.MULTILINE)
    for room in ("compute", "kernels")
    for path in sorted((ROOT / room).rglob("__init__.py"))
}


@pytest.mark.parametrize("room", [room for room, named in MAPS.items() if named], ids=lambda room: room.name)
def test_a_room_s_own_map_names_the_files_that_are_there(room):
    there = {path.name for path in room.glob("*.py")} - {"__init__.py"}
    there |= {f"{path.parent.name}/" for path in room.glob("*/__init__.py")}
    assert sorted(MAPS[room]) == sorted(there)


PRIVATE = [row for row in ROWS if FILE.search(row[1])]


# Name, definition, who writes it, who reads it, what it holds.
WORD = re.compile(r"^([A-Z_]+) = (.+?)  # ([^>\n]+) -> ([^:\n]+): (.+)$", re.MULTILINE)


def test_every_word_of_the_control_says_who_writes_and_who_reads_it():
    words = {name for name, value in vars(control).items() if name.isupper() and type(value) is int}
    words -= {"WORDS_PER_LINE", "WORDS_PER_SPAN", "HEADER", "SPANS_BOUND", "READINGS", "UNKNOWN"}  # sizes, values
    described = [name for name, *_ in WORD.findall(Path(control.__file__).read_text())]
    assert sorted(described) == sorted(words)


def test_no_two_words_of_the_control_share_a_place():
    definitions = {name: definition for name, definition, *_ in WORD.findall(Path(control.__file__).read_text())}
    header = [getattr(control, name) for name, definition in definitions.items() if "HEADER" in definition]
    lanes = [getattr(control, name) for name, definition in definitions.items() if definition.isdecimal()]
    lanes.remove(control.TICKET)  # once: it is a line of its own
    lanes += range(control.BEFORE + 1, control.BEFORE + control.READINGS)
    for places, first in ((header, control.HEADER), (lanes, 0)):
        assert len(set(places)) == len(places)
        assert set(places) <= set(range(first, first + control.WORDS_PER_LINE))


@pytest.mark.parametrize("row", PRIVATE, ids=lambda row: row[0])
def test_what_is_private_of_others_is_used_where_the_table_says(row):
    names = re.findall(r"`([^`]+)`", row[0].partition(" (")[0])
    files = {path: (ROOT / path).read_text() for path in FILE.findall(row[1])}
    assert [name for name in names if not any(name in text for text in files.values())] == []
    assert [path for path, text in files.items() if not any(name in text for name in names)] == []


@pytest.mark.parametrize("word", [*ledger.ENTRIES, *CODES, *Traits.__dataclass_fields__])
def test_every_entry_cause_and_trait_is_in_the_glossary(word):
    assert f"**{word}**" in GLOSSARY or f"`{word}`" in GLOSSARY


def test_every_public_name_is_in_the_reference():
    told = re.findall(r"^\.\. auto\w+:: (\S+)", (ROOT / "docs/api/index.rst").read_text(), re.MULTILINE)
    public = {f"{package.__name__}.{name}" for package in (compute, kernels) for name in package.__all__}
    assert public <= set(told)
    assert len(told) == len(set(told))
