"""What the explorer shows for what was asked, as pages that grow by one system after the other."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from t2i_core.config import UserError
from t2i_core.explore.drawing import (
    Drawer,
    Rendering,
    compare,
    inside_and_outside,
    noise_layout,
    render,
    walk,
    without_word,
)
from t2i_core.explore.obeyed import read_pictures
from t2i_core.explore.page import Cell, Row, alert, board, caption_line, command, reading, save_link
from t2i_core.explore.pictures import coloured, overlay, png, side_by_side
from t2i_core.explore.sources import Shelf
from t2i_core.figures import to_pixels
from t2i_core.metrics.inspector import Inspector

PICTURES, CHANGE, WALK = "pictures", "one word changed", "a walk"
VIEWS = (PICTURES, CHANGE, WALK)
EMPTY = "the caption is empty: write at least one word, or choose an example"
NO_WORD = -1
WIDTH = 96  # CSS pixels of a picture on the board
STEPS = 7
SEEN = 0.05  # a change below 5 % is hardly seen: it stays dark on a map


@dataclass(frozen=True)
class Asked:
    """One state of all controls: what a board is a function of, beside the systems."""

    caption: str
    systems: tuple[str, ...]
    seed: int = 0
    truncation: float = 1.0
    view: str = PICTURES
    word: int = NO_WORD
    other: str = ""  # the changed caption, or the walk's end
    other_seed: int = 0  # the walk's end


def pages(asked: Asked, shelf: Shelf, inspector: Inspector) -> Iterator[str]:
    """The board as HTML, again and again, with one more system each time; the last one is whole."""
    if not asked.systems or not asked.caption.strip():
        yield alert("no system is chosen: choose at least one" if not asked.systems else EMPTY)
        return
    rows: list[Row] = []
    head = ""
    draw = {PICTURES: _pictures, CHANGE: _change, WALK: _walk}[asked.view]
    for k, name in enumerate(asked.systems):
        try:
            drawer = shelf.drawer(name)
            head = head or caption_line(asked.caption, drawer.encode(asked.caption)[0])
            row = draw(name, drawer, asked, shelf, inspector)
        except UserError as error:
            row = Row(name, message=str(error))
        rows.append(row)
        yield board(rows, head, asked.systems[k + 1 :])


def _pictures(name: str, drawer: Drawer, asked: Asked, shelf: Shelf, inspector: Inspector) -> Row:
    drawn = render(drawer, asked.caption, asked.seed, asked.truncation)
    chosen = asked.word if 0 <= asked.word < len(drawn.words) else NO_WORD
    maps = _word_maps(drawer, drawn, chosen) if chosen != NO_WORD else [None] * len(drawn.images)
    cells = []
    for image, found in zip(drawn.images, maps, strict=True):
        size = image.shape[-1]
        alt = f"{name}, {size} px, seed {asked.seed}: {asked.caption[:200]}"
        cells.append(Cell(png(to_pixels(image)), WIDTH, f"{size} px", alt))
        if found is not None:
            heat, high, says = found
            says = f"{says}, bright = {high:.0%}"
            cells.append(Cell(png(overlay(image, heat, high)), WIDTH, says, f"{says}, over {alt}"))
    return Row(name, cells, _aside(name, drawer, drawn, asked, shelf, inspector))


def _word_maps(drawer: Drawer, drawn: Rendering, word: int) -> list[tuple[Tensor, float, str] | None]:
    """For every image where the word acts: (map, what is bright, in words). Attention where a stage has it; where no
    stage has, how the finest image changes without the word."""
    text = drawn.words[word]
    if any(theta is not None for theta in drawn.acts):
        says = f"attention to “{text}”"
        return [None if theta is None else (theta[word], float(theta[word].max()), says) for theta in drawn.acts]
    changed = without_word(drawer, drawn, word)
    if changed is None:
        return [None] * len(drawn.images)
    high = max(SEEN, float(changed[-1].max()))
    return [None] * (len(drawn.images) - 1) + [(changed[-1], high, f"change without “{text}”")]


def _aside(name: str, drawer: Drawer, drawn: Rendering, asked: Asked, shelf: Shelf, inspector: Inspector) -> str:
    """The inspector's reading of the finest image; the link that saves it; the call that draws it."""
    (answers,) = read_pictures(drawn.images[-1][None], [asked.caption], shelf.world, inspector)
    file = f"{name}-{shelf.world}-seed{asked.seed}.png"
    enlarge = max(1, 256 // drawn.images[-1].shape[-1])
    link = save_link(png(to_pixels(drawn.images[-1]), enlarge), file)
    call = command(shelf.call(name, asked.caption, asked.seed, asked.truncation))
    noise = " + ".join(f"{part} ({count})" for part, count in noise_layout(drawer.system))
    scaled = noise if asked.truncation == 1 else f"{asked.truncation:g} × [{noise}]"
    return (
        f"{reading(answers)}<small>{link} · noise {html.escape(scaled)}"
        f"<details><summary>the call that draws this</summary>{call}</details></small>"
    )


def _change(name: str, drawer: Drawer, asked: Asked, shelf: Shelf, inspector: Inspector) -> Row:
    change = compare(drawer, asked.caption, asked.other, asked.seed, asked.truncation)
    high = max(SEEN, float(change.differences[-1].max()))
    told = "; ".join(f"{old or 'nothing'} → {new or 'nothing'}" for old, new in change.words) or "no word changed"
    cells = [
        Cell(png(to_pixels(drawn.images[-1])), WIDTH, label, f"{name}, {label}: {drawn.caption[:200]}")
        for label, drawn in (("before", change.before), ("after", change.after))
    ]
    label = f"difference, bright = {high:.0%}"
    alt = f"{name}: where before and after differ"
    cells.append(Cell(png(coloured(change.differences[-1], high)), WIDTH, label, alt))
    region = change.regions[-1]
    if region is not None:
        label = f"where the changed words act, bright = {region.max():.0%}"
        shown = overlay(change.after.images[-1], region, float(region.max()))
        cells.append(Cell(png(shown), WIDTH, label, f"{name}: {label}"))
    inside = inside_and_outside(change)
    where = f"<br>mean change {inside[0]:.1%} where they act most, {inside[1]:.1%} elsewhere" if inside else ""
    both = [change.before, change.after]
    finest = torch.stack([drawn.images[-1] for drawn in both])
    answers = read_pictures(finest, [drawn.caption for drawn in both], shelf.world, inspector)
    labelled = zip(("before", "after"), answers, strict=True)
    read = "".join(f"<small>{label}:</small> {reading(found)}" for label, found in labelled)
    return Row(name, cells, f"<small>{html.escape(told)}{where}</small><br>{read}")


def _walk(name: str, drawer: Drawer, asked: Asked, shelf: Shelf, inspector: Inspector) -> Row:
    captions, seeds = (asked.caption, asked.other or asked.caption), (asked.seed, asked.other_seed)
    way = walk(drawer, captions, seeds, STEPS, asked.truncation)
    jumps = (way.images[1:] - way.images[:-1]).abs().mean((1, 2, 3)) / 2
    strip = side_by_side(way.images)
    alt = f"{name}: {STEPS} pictures on the way from “{captions[0][:99]}” to “{captions[1][:99]}”"
    width = STEPS * 80
    cell = Cell(png(strip), width, f"from seed {seeds[0]} to seed {seeds[1]}", alt)
    lengths = [len(drawer.encode(caption)[0].words[0]) for caption in captions]
    met = "" if lengths[0] == lengths[1] else f"{lengths[0]} and {lengths[1]} words meet in {math.lcm(*lengths)} places"
    told = f"steps change {jumps.min():.1%} to {jumps.max():.1%}"
    link = save_link(png(strip, 4), f"{name}-walk.png")
    return Row(name, [cell], f"<small>{'<br>'.join(filter(None, (told, met)))}<br>{link}</small>")
