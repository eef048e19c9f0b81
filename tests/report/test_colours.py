"""The page's colours: words are readable, marks are seen, and colour-blind readers tell them apart, light and dark."""

import itertools

import pytest

from compute.report.page import colours
from compute.report.style import SHARES
from compute.scaling.tables.breakdown import ENTRIES

PAGES = {"light": colours.named(colours.PAPER, {}), "dark": colours.named(colours.NIGHT, colours.ON_DARK)}
# What colours look like to who lacks a kind of cones (Machado, Oliveira and Fernandes 2009), in linear light.
EYES = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}
APART = 11  # of CIE Lab: two patches beside each other are told apart at a glance from about 10 on
on_both = pytest.mark.parametrize("shades", PAGES.values(), ids=PAGES)


def linear(colour):
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]


def luminance(colour):
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(colour, eyes):
    light = linear(colour)
    red, green, blue = (min(max(sum(a * b for a, b in zip(row, light, strict=True)), 0), 1) for row in eyes)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@on_both
def test_words_are_readable_and_marks_are_seen(shades):
    for ground in ("page", "card"):
        for words in ("ink", "faint", "link", "alarm"):
            assert contrast(shades[words], shades[ground]) >= 4.5, (words, ground)
    assert all(contrast("#000000", colour) >= 4.5 for _, colour in SHARES)
    for name in ENTRIES:
        assert contrast(shades[f"on-{name}"], shades[f"entry-{name}"]) >= 4.5, name
    for name, colour in shades.items():
        if name.startswith("way-"):
            assert contrast(colour, shades["page"]) >= 2, name


@on_both
@pytest.mark.parametrize("eyes", EYES.values(), ids=EYES)
@pytest.mark.parametrize("kind", ["way-", "entry-", "share-"])
def test_colours_are_told_apart(shades, eyes, kind):
    seen = {name: lab(colour, eyes) for name, colour in shades.items() if name.startswith(kind)}
    for (a, one), (b, other) in itertools.combinations(seen.items(), 2):
        assert sum((x - y) ** 2 for x, y in zip(one, other, strict=True)) ** 0.5 >= APART, (a, b)
