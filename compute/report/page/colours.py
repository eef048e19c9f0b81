"""The colours of style.py as variables of a style sheet, once for light pages and once for dark ones."""

from __future__ import annotations

from compute.report.style import COLOURS, DARK, ENTRY_COLOURS, SHARES

# Colours that would be too dark on a dark page are lighter there.
ON_DARK = {"#000000": "#e8e8e8", "#0072B2": "#2b86c8", "#4d4d4d": "#e0e2e6", "#7a5195": "#b98fe0", "#c1272d": "#e5575c",
           "#d9d9d9": "#82807c", "#2a7f8e": "#2e8a9a", "#D55E00": "#e8792b", "#009E73": "#2bb58c"}  # fmt: skip
PAPER = {"page": "#ffffff", "ink": "#1c1e21", "faint": "#5f6368", "rule": "#dcdfe3", "card": "#f6f7f9",
         "link": "#0b57a4", "alarm": "#b3261e"}  # fmt: skip
NIGHT = {"page": "#14171b", "ink": "#e4e6ea", "faint": "#9aa1aa", "rule": "#343a42", "card": "#1c2026",
         "link": "#7db8f0", "alarm": "#ff8a80"}  # fmt: skip


def variables() -> str:
    """Rules that define every colour: light, dark where the reader's system asks for it or the page's switch does.

    Paper is light whatever the screen is.
    """
    light, dark = _lines(PAPER, {}), f"color-scheme: dark; {_lines(NIGHT, ON_DARK)}"
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        f"@media screen {{ :root[data-theme=dark] {{ {dark} }} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}"
    )


def _lines(shades: dict[str, str], instead: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in named(shades, instead).items())


def named(shades: dict[str, str], instead: dict[str, str]) -> dict[str, str]:
    """Every colour by the name of its variable. on-ENTRY is the colour of words on that entry's."""
    return {
        **shades,
        **{f"way-{k}": instead.get(colour, colour) for k, colour in enumerate(COLOURS)},
        **{f"entry-{name}": instead.get(colour, colour) for name, colour in ENTRY_COLOURS.items()},
        **{f"on-{name}": "#ffffff" if name in DARK and not instead else "#111111" for name in ENTRY_COLOURS},
        **{f"share-{k}": colour for k, (_, colour) in enumerate(SHARES)},  # under black letters everywhere
    }
