"""Emoji as a dataset of real pictures: drawn by artists in two styles, named and tagged by people.

Pictures: npm packages emoji-datasource-google (Noto Emoji) and emoji-datasource-twitter (Twemoji), 64 px PNG.
Words: npm package emojibase-data (labels, tags, group and subgroup). At the pinned versions that is 3,786 emoji
(1,911 without their skin tones), each in both styles: 7,567 pictures, after five that show no skin to have a tone.

The split goes by base emoji: both styles, all skin tones, and emoji with the very same picture (some flags, some
families) stay together, so the test split holds no emoji and no picture that was seen in training. By default that is
6,785 pictures for training and 782 (186 base emoji) for the test. Five captions a picture:

    label                     grapes
    label and style           grapes, drawn in google style
    label and tags            grapes, fruit, vine
    tags                      dionysus, fruit, vine
    group, label and style    a google style food emoji of grapes
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from data_prep.emoji_words import MIXED, TONES, Emoji, captions_of, normal_code, parse
from data_prep.npm import Package, obtain, read_files
from data_prep.pictures import over_white
from data_prep.prepared import encode_png, is_current, mapped, read_manifest, write
from t2i_core.config import UserError
from t2i_core.manifest import Manifest

PICTURES = {
    "google": Package(
        "emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
    ),
    "twitter": Package(
        "emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"
    ),
}
WORDS = Package("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
LICENCE = (
    "google: Noto Emoji pictures, Apache License 2.0 (https://github.com/googlefonts/noto-emoji); "
    "twitter: Twemoji pictures, CC-BY 4.0, copyright Twitter, Inc and other contributors "
    "(https://github.com/jdecked/twemoji); all laid over white here, and resized. "
    "The packages' own files and the words: MIT, Cal Henderson and Miles Johnson; their texts are in LICENSES/"
)
_RECIPE = 1  # part of the arguments; raise it when the same packages would give other pixels, captions or splits

Pictures = dict[tuple[str, str], bytes]  # (code, style) -> PNG
Job = tuple[Emoji, str, bytes]  # an emoji, a style, and the PNG


def prepare(
    out: str | Path,
    size: int = 64,
    test_fraction: float = 0.1,
    seed: int = 0,
    packages: str | Path | None = None,
    downloads: str | Path | None = None,
    skin_tones: bool = True,
    workers: int | None = None,
) -> Manifest:
    """Prepare the emoji dataset into the folder `out`; returns the manifest. Above 64 px the pictures are enlarged.

    packages    a folder that holds the three npm packages (.tgz as `npm pack` makes them, or unpacked); without it
                they are fetched with `npm pack` into `downloads` (default: a folder `downloads` beside `out`) and kept.
    skin_tones  False keeps only the emoji without skin tone: half the pictures, and fewer people among them.

    Raises UserError if the packages cannot be had; the message names the files and where to put them.
    """
    out = Path(out).expanduser().resolve()
    if not 8 <= size <= 1024:
        raise UserError(f"size is {size}; choose one from 8 to 1024 pixels, such as 64")
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction is {test_fraction}; choose one between 0 and 1, such as 0.1")
    wanted = (*PICTURES.values(), WORDS)
    arguments = {
        "dataset": "emoji", "recipe": _RECIPE, "size": size, "test_fraction": test_fraction, "seed": seed,
        "skin_tones": skin_tones, "packages": {package.name: package.version for package in wanted},
    }  # fmt: skip
    if is_current(out, arguments):
        return read_manifest(out)
    places = obtain(wanted, packages, Path(downloads or out.parent / "downloads").expanduser())
    emoji, pictures, licences = _load(places, skin_tones)
    skipped, looks = _look(emoji, pictures, workers)
    jobs = _deal(emoji, pictures, _test_bases(emoji, looks, seed, test_fraction), seed)
    bases = sorted({item.base for item in emoji.values()})
    render = functools.partial(_row, size, seed, {base: index for index, base in enumerate(bases)})
    return write(
        out,
        {split: mapped(render, items, workers) for split, items in jobs.items()},
        name="emoji",
        kind="pictures",
        size=size,
        seed=seed,
        split_rule=_split_rule(jobs, test_fraction),
        class_disjoint=True,
        arguments=arguments,
        licence=LICENCE,
        source="npm: " + ", ".join(f"{package.name}@{package.version}" for package in wanted),
        attributes=_attributes(emoji),
        skipped=skipped,
        totals={split: len(items) for split, items in jobs.items()},
        extra_files=licences,
    )


def _attributes(emoji: dict[str, Emoji]) -> dict[str, list[str]]:
    return {
        "style": list(PICTURES),
        "group": sorted({item.group for item in emoji.values()}),
        "subgroup": sorted({item.subgroup for item in emoji.values()}),
        "tone": ["none", *TONES, MIXED],
    }


def _load(places: dict[str, Path], skin_tones: bool) -> tuple[dict[str, Emoji], Pictures, dict[str, bytes]]:
    """Emoji by code, their pictures, and the packages' licence texts by path in the dataset."""
    words = read_files(places[WORDS.name], r"(en/data|meta/groups)\.json|LICENSE")
    try:
        emoji = parse(json.loads(words["en/data.json"]), json.loads(words["meta/groups.json"]), skin_tones)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{places[WORDS.name]} is not as published ({error!r}); fetch it again") from error
    licences = {"LICENSES/NOTICE.txt": (LICENCE.replace("; ", ";\n") + "\n").encode()}
    licences |= {f"LICENSES/{WORDS.name}/LICENSE": words["LICENSE"]} if "LICENSE" in words else {}
    pictures: Pictures = {}
    for style, package in PICTURES.items():
        for path, content in read_files(places[package.name], rf"img/{style}/64/.+\.png|LICENSE|README\.md").items():
            if not path.startswith("img/"):
                licences[f"LICENSES/{package.name}/{path}"] = content
            elif (code := normal_code(Path(path).stem)) in emoji:
                pictures[code, style] = content
    return emoji, pictures, licences


def _look(
    emoji: dict[str, Emoji], pictures: Pictures, workers: int | None
) -> tuple[list[dict[str, str]], dict[tuple[str, str], str]]:
    """Look at every picture once: leave out what cannot be used, and give the others a digest of their pixels.

    A picture of a skin tone that equals its base emoji's shows no skin, so its captions would say what cannot be seen.
    """
    keys = sorted(pictures)
    looks = dict(zip(keys, mapped(_digest, (pictures[key] for key in keys), workers), strict=True))
    skipped = []
    for code, style in keys:
        base = emoji[code].base
        if not looks[code, style]:
            skipped.append({"file": f"{style}/{code}.png", "reason": "broken or truncated"})
        elif code != base and looks[code, style] == looks.get((base, style)):
            skipped.append({"file": f"{style}/{code}.png", "reason": f"shows no skin: the same picture as {base}.png"})
        else:
            continue
        del pictures[code, style], looks[code, style]
    if not pictures:
        raise UserError("the packages hold no picture that can be used; fetch them again")
    drawn = {code for code, _ in pictures}
    for code in sorted(set(emoji) - drawn):  # named once for a base emoji; its skin tones are then missing as well
        if code == emoji[code].base:
            skipped.append({"file": f"{code}.png", "reason": f"the packages have no picture of {emoji[code].label!r}"})
        del emoji[code]
    return skipped, looks


def _digest(content: bytes) -> str:
    """A digest of what the eye sees, whatever way it is stored; "" if nothing can be seen."""
    try:
        return hashlib.sha256(_picture(content).tobytes()).hexdigest()
    except Exception:  # a decoder meets broken bytes with almost any exception
        return ""


def _picture(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return over_white(image)


def _test_bases(
    emoji: dict[str, Emoji], looks: dict[tuple[str, str], str], seed: int, test_fraction: float
) -> set[str]:
    """The base emoji of the test split. Base emoji that share a picture go together, under the first of them."""
    leader = {item.base: item.base for item in emoji.values()}

    def lead(base: str) -> str:
        while leader[base] != base:
            base = leader[base]
        return base

    first_with: dict[str, str] = {}
    for (code, _), look in sorted(looks.items()):
        base = emoji[code].base
        one, other = sorted((lead(base), lead(first_with.setdefault(look, base))))
        leader[other] = one
    leaders = sorted({lead(base) for base in leader}, key=lambda base: _position(seed, base))
    if len(leaders) < 2:
        raise UserError("the packages hold fewer than two different emoji, too few to split; fetch them again")
    # At least one on either side
    test = {base for base in leaders[:-1] if _position(seed, base) < test_fraction} or {leaders[0]}
    return {base for base in leader if lead(base) in test}


def _deal(emoji: dict[str, Emoji], pictures: Pictures, test: set[str], seed: int) -> dict[str, list[Job]]:
    """Every picture in its split, in an order that is shuffled but fixed, so that the first hundred show all kinds."""
    jobs: dict[str, list[Job]] = {"train": [], "test": []}
    for code, style in sorted(pictures, key=lambda key: _position(seed, f"{key[0]}/{key[1]}")):
        item = emoji[code]
        jobs["test" if item.base in test else "train"].append((item, style, pictures[code, style]))
    return jobs


def _position(seed: int, key: str) -> float:
    """A number in [0, 1) that depends on seed and key only."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") / 2**64


def _split_rule(jobs: dict[str, list[Job]], test_fraction: float) -> str:
    counts = "; ".join(
        f"{split}: {len(items):,} pictures in {len(PICTURES)} styles of {len({item.code for item, _, _ in items}):,} "
        f"emoji, which are {len({item.base for item, _, _ in items}):,} without their skin tones"
        for split, items in jobs.items()
    )
    return f"by base emoji (styles, skin tones and equal pictures together), test if hash < {test_fraction}. {counts}"


def _row(size: int, seed: int, classes: dict[str, int], job: Job) -> dict[str, Any]:
    emoji, style, content = job
    picture = _picture(content)
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    captions, words = captions_of(emoji, style, seed)
    attributes = {"style": style, "group": emoji.group, "subgroup": emoji.subgroup, "tone": emoji.tone}
    return {
        "image": encode_png(picture),
        "captions": captions,
        "class_id": classes[emoji.base],
        "name": f"emoji/{style}/{emoji.code}",
        "truth": {"attributes": attributes, "parts": [], "relations": [], "words": words},
    }
