"""The emoji dataset, made from tiny packages of the same form as the real ones. Nothing here needs a network."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import datasets
import pytest
from PIL import Image

from data_prep import emoji, npm
from data_prep.emoji_words import Emoji, captions_of, parse, say_label
from data_prep.npm import Package, read_files
from t2i_core.config import UserError
from t2i_core.manifest import sha256, verify

FOODS = [f"1F{number:03X}" for number in range(0x340, 0x360)]
GROUPS = {
    "groups": {"0": "smileys-emotion", "1": "people-body", "4": "food-drink", "9": "flags"},
    "subgroups": {"0": "face-smiling", "16": "hand-fingers-open", "42": "food-fruit", "98": "country-flag"},
}


def record(hexcode: str, label: str, group: int, subgroup: int, **more) -> dict:
    return {"hexcode": hexcode, "label": label, "group": group, "subgroup": subgroup, "tags": ["tasty", "round"]} | more


def records() -> list[dict]:
    tones = [{"hexcode": f"1F44B-1F3F{letter}", "tone": tone} for tone, letter in enumerate("BCDEF", start=1)]
    pair = {"hexcode": "1FAF1-1F3FB-200D-1FAF2-1F3FF", "tone": [1, 5]}
    return [
        {"hexcode": "1F1E6", "label": "regional indicator A"},
        record("1F44B", "waving hand", 1, 16, skins=tones, tags=["hello", "<3", "g2g", "hand", "wave", "bye"]),
        record("1F91D", "handshake", 1, 16, skins=[pair]),
        record("1F1FA-1F1F8", "flag: United States", 9, 98, tags=[]),
        record("1F1FA-1F1F2", "flag: U.S. Outlying Islands", 9, 98, tags=["flag"]),
        record("2639", "frowning face", 0, 0),
        record("1FFFF", "not drawn yet", 0, 0),
        *[record(code, f"fruit {index}", 4, 42) for index, code in enumerate(FOODS)],
    ]


def png(color: tuple[int, ...], mode: str = "RGBA") -> bytes:
    """A disc-less emoji: a coloured middle on a transparent ground."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste(color, (16, 16, 48, 48))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def drawings(style: str) -> dict[str, bytes]:
    shade = 0 if style == "google" else 128
    codes = [
        "1f44b",
        *[f"1f44b-1f3f{letter}" for letter in "bcdef"],
        "1f91d",
        "1faf1-1f3fb-200d-1faf2-1f3ff",
        "2639-fe0f",
    ]
    codes += [code.lower() for code in FOODS]
    files = {code: png((index * 5, shade, 99, 255)) for index, code in enumerate(codes)}
    files["1f1fa-1f1f8"] = png((7, shade, 7, 255))
    files["1f1fa-1f1f2"] = png((7, shade, 7, 255), "P")  # the same flag, stored in another way
    if style == "google":
        files["1f44b-1f3fb"] = files["1f44b"]  # a skin tone that is not drawn
        files["1f341"] = files["1f341"][:60]
    return {f"img/{style}/64/{code}.png": content for code, content in files.items()}


def contents() -> dict[str, dict[str, bytes]]:
    packages = {
        emoji.WORDS.name: {
            "en/data.json": json.dumps(records()).encode(),
            "meta/groups.json": json.dumps(GROUPS).encode(),
            "LICENSE": b"free words",
        }
    }
    for style, package in emoji.PICTURES.items():
        packages[package.name] = drawings(style) | {"LICENSE": f"free {style}".encode(), "README.md": b"read me"}
    for package in (*emoji.PICTURES.values(), emoji.WORDS):
        packages[package.name]["package.json"] = json.dumps({"version": package.version}).encode()
    return packages


def tgz(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return sha256(path)


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    for name, files in contents().items():
        version = json.loads(files["package.json"])["version"]
        tgz(folder / f"{name}-{version}.tgz", files)
    return folder


@pytest.fixture(autouse=True)
def tiny(archives, monkeypatch):
    """The tiny archives take the places of the published ones."""

    def pinned(package: Package) -> Package:
        return Package(package.name, package.version, sha256(archives / package.file))

    monkeypatch.setattr(emoji, "PICTURES", {style: pinned(package) for style, package in emoji.PICTURES.items()})
    monkeypatch.setattr(emoji, "WORDS", pinned(emoji.WORDS))


def load(out: Path) -> dict[str, dict]:
    loaded = datasets.load_from_disk(str(out))
    return {row["name"]: row | {"split": split} for split in loaded for row in loaded[split]}


def test_what_is_prepared(tmp_path, archives):
    manifest = emoji.prepare(tmp_path / "emoji", packages=archives, workers=1)
    rows = load(tmp_path / "emoji")
    assert manifest == verify(tmp_path / "emoji") and manifest["kind"] == "pictures" and manifest["class_disjoint"]
    # 2 styles x (5 single emoji with 5 + 1 skin tones, 32 fruit), less one broken picture and one that shows no skin
    assert len(rows) == 2 * (5 + 6 + 32) - 2
    assert "mask" not in next(iter(rows.values()))
    skipped = {item["file"]: item["reason"] for item in manifest["skipped"]}
    assert skipped.keys() == {"google/1f44b-1f3fb.png", "google/1f341.png", "1ffff.png"}
    assert "shows no skin" in skipped["google/1f44b-1f3fb.png"] and "broken" in skipped["google/1f341.png"]
    assert manifest["attributes"]["style"] == ["google", "twitter"]
    texts = {
        path: (tmp_path / "emoji" / path).read_bytes() for path in manifest["files"] if path.startswith("LICENSES/")
    }
    assert texts["LICENSES/emoji-datasource-google/LICENSE"] == b"free google"
    assert texts["LICENSES/emojibase-data/LICENSE"] == b"free words" and b"CC-BY 4.0" in texts["LICENSES/NOTICE.txt"]
    hand = rows["emoji/twitter/1f44b-1f3fd"]
    assert hand["image"].size == (64, 64) and hand["image"].getpixel((0, 0)) == (255, 255, 255)
    assert hand["image"].getpixel((32, 32)) == (15, 128, 99)
    truth = json.loads(hand["truth"])
    assert truth["attributes"] == {
        "style": "twitter", "group": "people-body", "subgroup": "hand-fingers-open", "tone": "medium"
    }  # fmt: skip
    assert json.loads(rows["emoji/google/1faf1-1f3fb-200d-1faf2-1f3ff"]["truth"])["attributes"]["tone"] == "mixed"
    for row in rows.values():
        attributes = json.loads(row["truth"])["attributes"]
        assert all(value in manifest["attributes"][key] for key, value in attributes.items())


@pytest.mark.parametrize("seed", range(4))
def test_no_test_emoji_and_no_test_picture_is_seen_in_training(tmp_path, archives, seed):
    emoji.prepare(tmp_path / "emoji", packages=archives, seed=seed, test_fraction=0.4, workers=1)
    rows = load(tmp_path / "emoji").values()
    sides = [[row for row in rows if row["split"] == split] for split in ("train", "test")]
    assert all(sides)
    for key in (
        lambda row: row["class_id"],
        lambda row: row["name"].split("/")[2].split("-")[0],
        lambda row: row["image"].tobytes(),  # two flags look the same
    ):
        train, test = ({key(row) for row in side} for side in sides)
        assert not train & test
    assert len({row["class_id"] for row in rows}) == 37


def test_tones_can_be_left_out_and_sizes_chosen(tmp_path, archives):
    manifest = emoji.prepare(tmp_path / "emoji", size=16, packages=archives, skin_tones=False, workers=1)
    rows = load(tmp_path / "emoji")
    assert len(rows) == 2 * (5 + 32) - 1 and not any("1f3f" in name for name in rows)
    assert manifest["size"] == 16 and all(row["image"].size == (16, 16) for row in rows.values())


def test_a_second_call_needs_no_packages_and_does_nothing(tmp_path, archives):
    first = emoji.prepare(tmp_path / "emoji", packages=archives, workers=1)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "emoji").rglob("*")}
    assert emoji.prepare(tmp_path / "emoji", packages=tmp_path / "nowhere") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "emoji").rglob("*")} == times
    again = emoji.prepare(tmp_path / "again", packages=archives, workers=2)
    assert again["files"] == first["files"]


@pytest.mark.parametrize("form", ["{name}", "{name}-{version}", "{name}/package"])
def test_unpacked_packages(tmp_path, archives, form):
    expected = emoji.prepare(tmp_path / "one", packages=archives, workers=1)
    for name, files in contents().items():
        folder = form.format(name=name, version=json.loads(files["package.json"])["version"])
        for path, content in files.items():
            (tmp_path / "packages" / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "packages" / folder / path).write_bytes(content)
    assert emoji.prepare(tmp_path / "two", packages=tmp_path / "packages", workers=1)["files"] == expected["files"]
    package = next((tmp_path / "packages").rglob("emojibase-data*/**/package.json"))
    package.write_text('{"version": "1.2.3"}')
    with pytest.raises(UserError, match=r"emojibase-data 1\.2\.3, and 17\.0\.0 is wanted"):
        emoji.prepare(tmp_path / "three", packages=tmp_path / "packages")


# ------------------------------------------------------------------------------------------------------------- captions


def test_labels_as_one_would_say_them():
    assert say_label("flag: Peru") == "flag of Peru"
    assert say_label("family: man, woman, boy") == "family of man, woman and boy"
    assert say_label("keycap: 8") == "keycap 8"
    assert say_label("person walking: facing right") == "person walking facing right"
    assert say_label("person: red hair") == "person with red hair"
    assert say_label("woman: bald") == "bald woman"
    assert say_label("kiss: woman, man") == "kiss, woman and man"
    assert say_label("grapes") == "grapes"


def test_tags_are_words_that_say_more():
    parsed = parse(records(), GROUPS)
    assert parsed["1f44b"].tags == ("hello", "wave", "bye")
    assert parsed["1f1fa-1f1f8"].tags == parsed["1f1fa-1f1f2"].tags == ("country flag",)
    assert "1f1e6" not in parsed and parsed["1f44b-1f3ff"].tone == "dark"


@pytest.mark.parametrize("style", ["google", "twitter"])
@pytest.mark.parametrize("tones", [(), ("medium-dark",), ("light", "light"), ("light", "dark")])
def test_captions_state_what_their_words_list(style, tones):
    item = Emoji("1f347-1f3fe", "1f347", "grapes", ("fruit", "vine", "wine"), "food-drink", "food-fruit", tones)
    captions, words = captions_of(item, style)
    assert len(set(captions)) == len(captions) == len(words) == 5
    stated = [{kind: caption[start:end] for start, end, part, kind in said if part == -1}
              for caption, said in zip(captions, words, strict=True)]  # fmt: skip
    tone = {"tone": tones[0]} if len(set(tones)) == 1 else {}
    assert stated == [tone, tone | {"style": style}, tone, {}, tone | {"style": style, "group": "food"}]
    for caption, said in zip(captions, stated, strict=True):
        assert (style in caption) == ("style" in said) and ("skin tone" in caption) == bool(
            tones and caption != captions[3]
        )
    assert captions[0].startswith("grapes") and set(captions[3].split(", ")) == {"fruit", "vine", "wine"}


def test_captions_vary_with_emoji_style_and_seed_alone():
    items = [Emoji(str(n), str(n), "grapes", ("fruit", "vine", "wine"), "food-drink", "food-fruit") for n in range(30)]
    said = [captions_of(item, "google")[0] for item in items]
    assert said == [captions_of(item, "google")[0] for item in items]
    assert all(len({captions[index] for captions in said}) > 1 for index in (1, 2, 3, 4))
    assert said != [captions_of(item, "google", seed=1)[0] for item in items]


# ------------------------------------------------------------------------------------------------- getting the packages


def fake_npm(folder: Path, script: str, monkeypatch) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_npm_pack_fetches_once(tmp_path, archives, monkeypatch):
    log = tmp_path / "log"
    fake_npm(
        tmp_path / "bin", f'echo "$@" >> {log}\nset -- "$(echo "$2" | tr @ -)"\ncp "{archives}/$1.tgz" .', monkeypatch
    )
    emoji.prepare(tmp_path / "data" / "emoji", workers=1)
    assert len(log.read_text().splitlines()) == 3 and "pack emojibase-data@17.0.0 --ignore-scripts" in log.read_text()
    assert sorted(os.listdir(tmp_path / "data")) == ["downloads", "emoji"]
    assert sorted(os.listdir(tmp_path / "data" / "downloads")) == sorted(os.listdir(archives))
    emoji.prepare(tmp_path / "data" / "emoji", size=32, workers=1)
    assert len(log.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "script, message",
    [
        ("echo npm error network request failed >&2; exit 1", "network request failed"),
        ("exit 0", "it made no file"),
        ('echo half > "$(echo "$2" | tr @ -).tgz"', "sha256 is wrong"),
    ],
)
def test_npm_fails(tmp_path, monkeypatch, script, message):
    fake_npm(tmp_path / "bin", script, monkeypatch)
    with pytest.raises(
        UserError, match=rf"{message}.*Put emoji-datasource-google-16\.0\.0\.tgz.*emojibase-data-17"
    ) as error:
        emoji.prepare(tmp_path / "data" / "emoji")
    assert str(tmp_path / "data" / "downloads") in str(error.value)
    assert os.listdir(tmp_path / "data") == ["downloads"] and os.listdir(tmp_path / "data" / "downloads") == []


def test_no_npm(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=r"npm is not installed.*Put .*twitter-16\.0\.0\.tgz \(from https://registry"):
        emoji.prepare(tmp_path / "emoji")


def test_packages_that_are_missing_or_damaged(tmp_path, archives):
    with pytest.raises(UserError, match="Put emoji-datasource-google"):
        emoji.prepare(tmp_path / "emoji", packages=tmp_path)
    shutil.copytree(archives, tmp_path / "packages")
    path = tmp_path / "packages" / emoji.WORDS.file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not the file that npm publishes"):
        emoji.prepare(tmp_path / "emoji", packages=tmp_path / "packages")
    with pytest.raises(UserError, match="cannot read"):
        read_files(path, ".*")
    assert not (tmp_path / "emoji").exists()


def test_other_words_than_published(tmp_path, archives, monkeypatch):
    shutil.copytree(archives, tmp_path / "packages")
    path = tmp_path / "packages" / emoji.WORDS.file
    digest = tgz(path, {"en/data.json": b'[{"group": 1}]', "meta/groups.json": b"{}"})
    monkeypatch.setattr(emoji, "WORDS", Package(emoji.WORDS.name, emoji.WORDS.version, digest))
    with pytest.raises(UserError, match="not as published"):
        emoji.prepare(tmp_path / "emoji", packages=tmp_path / "packages")


def test_a_hostile_archive_reaches_nothing(tmp_path, monkeypatch):
    path = tmp_path / "in" / "bad.tgz"
    path.parent.mkdir()
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, target in (
            ("package/../../../evil", tarfile.REGTYPE, ""),
            ("/evil", tarfile.REGTYPE, ""),
            ("package/link", tarfile.SYMTYPE, str(tmp_path / "secret")),
            ("package/hard", tarfile.LNKTYPE, str(tmp_path / "secret")),
            ("package/device", tarfile.CHRTYPE, ""),
            ("package/good", tarfile.REGTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"good") if member.size else None)
    assert read_files(path, "link|hard|device|good") == {"good": b"good"}
    read_files(path, ".*")
    assert sorted(os.listdir(tmp_path)) == ["in", "secret"] and os.listdir(tmp_path / "in") == ["bad.tgz"]
    monkeypatch.setattr(npm, "MAX_BYTES", 3)
    with pytest.raises(UserError, match="the limit is 3"):
        read_files(path, "good")
