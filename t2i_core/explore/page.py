"""The explorer's board as HTML: pictures with their descriptions, readings, captions. All text is escaped here."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from t2i_core.captions import Tokens, split_words
from t2i_core.explore.obeyed import Answer
from t2i_core.explore.said import Statement
from t2i_core.figures import PALETTE
from t2i_core.pictures import data_uri

BLUE, VERMILION = PALETTE[0], PALETTE[1]
MORE = 40  # words of a caption that are shown; what is cut off is counted
STYLE = f"""<style>
.t2i-board {{ border-collapse: collapse; margin: 2px 0; }}
.t2i-board th, .t2i-board td {{ padding: 3px 6px; text-align: left; vertical-align: top; border: 0; line-height: 1.3; }}
.t2i-board tr + tr {{ border-top: 1px solid var(--jp-border-color2, #ccc); }}
.t2i-board figure {{ margin: 0 8px 0 0; display: inline-block; vertical-align: top; }}
.t2i-board figcaption {{ font-size: 11px; max-width: 100px; white-space: normal; }}
.t2i-board td:first-of-type {{ white-space: nowrap; }}
.t2i-board td:last-child {{ min-width: 200px; white-space: normal; }}
.t2i-board a {{ color: inherit; text-decoration: underline; }}
.t2i-note {{ margin: 0 0 4px; line-height: 1.3; }}
.t2i-board img {{ image-rendering: pixelated; display: block; max-width: none; }}
.t2i-board ul {{ margin: 0; padding: 0; list-style: none; }}
.t2i-board li {{ display: inline-block; margin: 1px 3px 1px 0; padding: 0 5px; border: 1px solid; border-radius: 8px; }}
.t2i-yes {{ color: {BLUE}; }}
.t2i-no {{ color: {VERMILION}; border-style: dashed !important; }}
.t2i-unknown {{ background: none; color: inherit; text-decoration: underline wavy {VERMILION}; }}
.t2i-board code, .t2i-note code {{ white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; }}
</style>"""


@dataclass(frozen=True)
class Cell:
    """One picture of a row: PNG bytes, how wide it is shown in CSS pixels, what stands below, what it is in words."""

    data: bytes
    width: int
    label: str
    alt: str


@dataclass(frozen=True)
class Row:
    """A system's line of the board. ``aside`` is HTML already; everything else is text."""

    name: str
    cells: Sequence[Cell] = ()
    aside: str = ""
    message: str = ""  # instead of pictures: what is wrong and what to do


def board(rows: Sequence[Row], head: str, waiting: Sequence[str] = ()) -> str:
    """The table of all rows under ``head`` (HTML); systems that are still drawing are named."""
    lines = "".join(_row(row) for row in rows)
    still = f'<p class="t2i-note">drawing {html.escape(", ".join(waiting))} …</p>' if waiting else ""
    return f'{STYLE}{head}<table class="t2i-board">{lines}</table>{still}'


def _row(row: Row) -> str:
    name = f'<th scope="row">{html.escape(row.name)}</th>'
    if row.message:
        return f'<tr>{name}<td colspan="2">{alert(row.message)}</td></tr>'
    figures = "".join(_figure(cell) for cell in row.cells)
    return f"<tr>{name}<td>{figures}</td><td>{row.aside}</td></tr>"


def _figure(cell: Cell) -> str:
    alt, label = html.escape(cell.alt), html.escape(cell.label)
    picture = f'<img src="{data_uri(cell.data)}" alt="{alt}" style="width:{cell.width}px">'
    return f"<figure>{picture}<figcaption>{label}</figcaption></figure>"


def alert(message: str) -> str:
    """A message that a screen reader reads out at once."""
    return f"<p role='alert'>{html.escape(message)}</p>"


def caption_line(caption: str, tokens: Tokens) -> str:
    """The caption as it was read: unknown words underlined and named, what was cut off counted."""
    shown, at = [], 0
    for word, (start, end) in list(zip(tokens.words[0], tokens.spans[0], strict=True))[:MORE]:
        text = html.escape(caption[start:end])
        unknown = word in tokens.unknown[0]
        shown.append(html.escape(caption[at:start]))
        shown.append(f'<mark class="t2i-unknown" title="not in the vocabulary">{text}</mark>' if unknown else text)
        at = end
    cut = len(split_words(caption)) - min(MORE, len(tokens.words[0])) > 0
    notes = f"<br><small>{html.escape('; '.join(tokens.notes()))}</small>" if tokens.notes() else ""
    rest = " …" if cut else html.escape(caption[at:])
    return f'<p class="t2i-note" role="status">“{"".join(shown)}{rest}”{notes}</p>'


def reading(answers: Sequence[Answer]) -> str:
    """What the inspector sees of what the caption states: a tick and blue, or a cross, orange and what it sees."""
    if not answers:
        return "<small>The caption states nothing that the inspector could look for.</small>"
    items = []
    for answer in answers:
        said = answer.statement
        known = answer.obeyed or (answer.seen.startswith("no ") and said.kind != "name")  # the noun's own chip says so
        text = html.escape(_what(said) if known else f"{_what(said)}: {answer.seen}")
        sign, word = ("✓", "obeyed") if answer.obeyed else ("✗", "not obeyed")
        kind = "yes" if answer.obeyed else "no"
        items.append(f'<li class="t2i-{kind}"><span role="img" aria-label="{word}">{sign}</span> {text}</li>')
    right = sum(answer.obeyed for answer in answers)
    return f"<small>{right} of {len(answers)} obeyed</small><ul>{''.join(items)}</ul>"


def _what(said: Statement) -> str:
    """A statement in two or three words: "red house", "house, left", "house above car", "snow"."""
    if said.kind == "relation":
        return f"{said.part} {said.answer} {said.other}"
    if not said.part or said.kind == "name":
        return said.text
    return f"{said.part}, {said.text}" if said.kind in ("place", "level") else f"{said.text} {said.part}"


def save_link(data: bytes, name: str) -> str:
    """A link that saves a PNG under a name, without a server and without a kernel."""
    return f'<a href="{data_uri(data)}" download="{html.escape(name)}">save PNG</a>'


def command(call: str) -> str:
    """A call to copy: one click, or Tab and Ctrl-A, marks all of it."""
    return f'<code tabindex="0" aria-label="call that draws this picture">{html.escape(call)}</code>'
