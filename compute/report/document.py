"""Document: sentences and tables, rendered as text, Markdown and HTML. `nfold compare` and `nfold check` use it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from compute.report.markdown import table_of
from compute.report.static_page import static_page
from compute.scaling.tables.sheet import WORDS, Row, Sheet, fit
from compute.texts import in_html, in_markdown, shown

STYLES = {"slower": "bold red", "too low": "bold red", "faster": "green", "unclear": "yellow", "alike": "dim"}
CSS = """\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem }
th, td { padding: .15rem .9rem .15rem 0; text-align: right; white-space: nowrap }
tr { border-bottom: 1px solid var(--rule) }
.word { text-align: left }
.flagged { color: var(--bad); font-weight: bold }
.faster { color: var(--good) }
.wide { overflow-x: auto }
h2 { margin: 2rem 0 0; font-size: 1.1rem }"""


@dataclass(frozen=True)
class Section:
    """A title, sentences, and a table under them. folded: whether Markdown shows it only at a click."""

    title: str = ""
    lines: tuple[str, ...] = ()
    sheet: Sheet | None = None
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """title: the result, in one line. sections: in their order."""

    title: str
    sections: tuple[Section, ...] = ()


def text(document: Document, width: int = 80) -> str:
    """The document as plain text, folded at the width."""
    page = io.StringIO()
    show(document, Console(file=page, width=width, force_terminal=False, color_system=None))
    return page.getvalue()


def show(document: Document, console: Console) -> None:
    """Print it to a rich console, in its width."""
    document = shown(document)
    _print(console, Text(document.title, style="bold"))
    for section in document.sections:
        console.print()
        if section.title:
            _print(console, Text(section.title, style="bold"))
        for line in section.lines:
            _print(console, Text(line))
        if section.sheet is not None:
            _print_sheet(section.sheet, console)


def _print(console: Console, line: Text) -> None:
    """Print the line, folded at the console's width; its further lines are indented by two."""
    for k, part in enumerate(line.wrap(Console(width=console.width, file=io.StringIO()), max(console.width - 2, 20))):
        part.rstrip()
        console.print(Text("  ") + part if k else part, soft_wrap=True)


def _print_sheet(sheet: Sheet, console: Console) -> None:
    layout = fit(sheet, console.width)
    gap = " " * layout.gap
    console.print(Text(gap.join(layout.head()).rstrip(), style="bold"), soft_wrap=True)
    console.print(Text(layout.rule()), soft_wrap=True)
    for k, row in enumerate(sheet.rows):
        if above := layout.line_above(row, first=k == 0):
            console.print(Text(above), soft_wrap=True)
        line = Text(gap).join(Text(cell, style=STYLES.get(cell.strip(), "")) for cell in layout.padded(row))
        line.rstrip()
        console.print(line, soft_wrap=True)


def markdown(document: Document) -> str:
    """The document as Markdown for GitHub, short enough for a comment."""
    document = shown(document)
    parts = [f"### {in_markdown(document.title)}"]
    for section in document.sections:
        body = ["\n".join(f"- {in_markdown(line)}" for line in section.lines)] if section.lines else []
        body += [table_of(section.sheet)] if section.sheet is not None else []
        if section.folded:
            summary = in_html(section.title)
            parts.append("\n\n".join([f"<details>\n<summary>{summary}</summary>", *body, "</details>"]))
        else:
            parts += [f"#### {in_markdown(section.title)}"] * bool(section.title) + body
    return "\n\n".join(parts) + "\n"


def html(document: Document) -> str:
    """The document as one HTML page that loads nothing and runs no script."""
    document = shown(document)
    body = []
    for section in document.sections:
        if section.title:
            body.append(f"<h2>{in_html(section.title)}</h2>")
        if section.lines:
            body.append("<ul>" + "".join(f"<li>{in_html(line)}</li>" for line in section.lines) + "</ul>")
        if section.sheet is not None:
            body.append(_table(section.sheet))
    return static_page(document.title, CSS, "\n".join(body))


def _table(sheet: Sheet) -> str:
    def cells(kind: str, texts: Sequence[str], row: Row | None = None) -> str:
        made = []
        for name, cell in zip(sheet.columns, texts, strict=True):
            words = ["word"] * (name in WORDS) + ["flagged"] * (row is not None and name in row.flagged)
            words += ["faster"] * (cell == "faster")
            made.append(f'<{kind} class="{" ".join(words)}">{in_html(cell)}</{kind}>')
        return f"<tr>{''.join(made)}</tr>"

    rows = "".join(cells("td", row.cells, row) for row in sheet.rows)
    head = cells("th", sheet.columns)
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


FORMS = {"text": text, "markdown": markdown, "html": html}
