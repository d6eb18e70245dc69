"""A user's own folder of images: every kind of picture and caption, and every way in which they can be wrong."""

from __future__ import annotations

import io
import itertools
import json
import os
import struct
import zlib
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from data_prep import folder
from data_prep.pictures import BadPicture, read_square
from t2i_core.config import UserError
from t2i_core.manifest import verify

RED, BLUE, WHITE = (200, 10, 10), (10, 10, 200), (255, 255, 255)


def picture(path: Path, color=RED, size=(20, 20), caption: str | None = "a red square", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def metadata(root: Path, *lines: dict | str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (root / "metadata.jsonl").write_text(text + "\n", encoding="utf-8")


def prepare(tmp_path: Path, **options) -> tuple[dict, dict[str, dict], dict[str, str]]:
    """The manifest, the rows by name, and the reasons for what was skipped by file."""
    options = {"size": 16, "workers": 1} | options
    manifest = folder.prepare(tmp_path / "photos", tmp_path / "out", **options)
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    rows = {row["name"]: row | {"split": split} for split in loaded for row in loaded[split]}
    assert len(rows) == sum(count["images"] for count in manifest["splits"].values())
    return manifest, rows, {item["file"]: item["reason"] for item in manifest["skipped"]}


def close(image: Image.Image, color, at=(8, 8), tolerance=6) -> bool:
    return max(abs(a - b) for a, b in zip(image.getpixel(at), color, strict=True)) <= tolerance


# ------------------------------------------------------------------------------------------------------------- captions


def test_captions_from_text_files(tmp_path):
    picture(tmp_path / "photos" / "one.png", caption="\ufeffa red  square\n\n a square that is red \na red square\n")
    picture(tmp_path / "photos" / "sub" / "two.jpg", caption="Größe \U0001f980 שלום")
    manifest, rows, skipped = prepare(tmp_path)
    assert rows["one.png"]["captions"] == ["a red square", "a square that is red"]
    assert rows["sub/two.jpg"]["captions"] == ["Größe \U0001f980 שלום"]
    assert rows["one.png"]["image"].size == (16, 16) and close(rows["one.png"]["image"], RED)
    assert (rows["one.png"]["class_id"], rows["one.png"]["truth"]) == (-1, "{}")
    assert not skipped and manifest["kind"] == "folder" and manifest["name"] == "photos"
    assert verify(tmp_path / "out") == manifest


def test_captions_from_metadata(tmp_path):
    root = tmp_path / "photos"
    for name in ("a.png", "b.png", "c.png", "sub/d.png", "sub/e.png"):
        picture(root / name, caption=None)
    metadata(
        root,
        {"file_name": "a.png", "text": "first"},
        {"file_name": "b.png", "captions": ["one", "two\nlines"], "extra": 3},
        {"file_name": "./sub/../c.png", "caption": "third"},
        {"file_name": "a.png", "text": "second"},
    )
    metadata(
        root / "sub", {"file_name": "d.png", "text": "half a pair \ud83d"}, {"file_name": "../sub/e.png", "text": "e"}
    )
    _, rows, skipped = prepare(tmp_path)
    captions = {name: row["captions"] for name, row in rows.items()}
    assert captions == {
        "a.png": ["first", "second"],
        "b.png": ["one", "two lines"],
        "c.png": ["third"],
        "sub/d.png": ["half a pair ?"],
        "sub/e.png": ["e"],
    }
    assert not skipped


def test_bad_lines_cost_only_themselves(tmp_path):
    root = tmp_path / "photos"
    picture(root / "a.png", caption=None)
    picture(root / "b.png", caption=None)
    picture(root / "beside.png", caption="from its text file")
    lines = [
        {"file_name": "a.png", "text": "good"},
        "{not json",
        "",
        {"text": "whose?"},
        ["a list"],
        {"file_name": "b.png", "text": 7},
        {"file_name": "gone.png", "text": "missing"},
        {"file_name": 3, "text": "a number"},
        "[" * 100_000,
    ]
    metadata(root, *[line if isinstance(line, str) else json.dumps(line) for line in lines])
    _, rows, skipped = prepare(tmp_path)
    assert set(rows) == {"a.png", "beside.png"}
    assert skipped["metadata.jsonl:2"] == skipped["metadata.jsonl:9"] == "not a line of JSON"
    assert "file_name" in skipped["metadata.jsonl:4"] and "file_name" in skipped["metadata.jsonl:5"]
    assert "not text" in skipped["metadata.jsonl:6"] and "no caption" in skipped["b.png"]
    assert skipped["gone.png"] == "no such file"
    assert "file_name" in skipped["metadata.jsonl:8"]
    assert len(skipped) == 8


def test_captionless_images(tmp_path):
    root = tmp_path / "photos"
    picture(root / "good.png")
    picture(root / "none.png", caption=None)
    picture(root / "empty.png", caption="")
    picture(root / "blank.png", caption=" \n\t\n")
    picture(root / "latin.png", caption=None)
    (root / "latin.txt").write_bytes("Größe".encode("latin-1"))
    picture(root / "listed.png", caption=None)
    metadata(root, {"file_name": "listed.png", "text": ""})
    _, rows, skipped = prepare(tmp_path)
    assert set(rows) == {"good.png"}
    assert "no caption" in skipped.pop("none.png") and "cannot be read" in skipped.pop("latin.png")
    assert skipped == dict.fromkeys(("empty.png", "blank.png", "listed.png"), "its caption is empty")


def test_paths_may_not_leave_the_folder(tmp_path):
    root = tmp_path / "photos"
    picture(root / "good.png")
    secret = picture(tmp_path / "secret.png", caption="a secret")
    (root / "link.png").symlink_to(secret)
    (root / "link.txt").write_text("a link")
    (root / "listed.png").symlink_to(secret)
    (root / "outside").symlink_to(tmp_path)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "inside.png").symlink_to(root / "good.png")
    (root / "inside.txt").write_text("a link inside")
    names = ["../secret.png", str(secret), str(root / "good.png"), "listed.png", "outside/secret.png", "a\0b.png"]
    names += ["sub/../../secret.png", "outside/../secret.png", "\ud800.png", "x" * 5000 + ".png"]
    metadata(root, *[{"file_name": name, "text": "out"} for name in names])
    _, rows, skipped = prepare(tmp_path)
    assert set(rows) == {"good.png", "inside.png"}
    for number in (1, 2, 3, 4, 5, 7, 9):
        assert "outside the folder" in skipped[f"metadata.jsonl:{number}"], number
    assert "outside the folder" in skipped["link.png"] and "outside the folder" in skipped["loop.png"]
    assert skipped["secret.png"] == "no such file"  # "outside/../secret.png" is a name in the folder, of nothing


# --------------------------------------------------------------------------------------------------------------- images


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def noise(form: str, size=(64, 64)) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


BAD = {
    "text.png": (b"this is a text", "not a picture"),
    "empty.jpg": (b"", "not a picture"),
    "truncated.jpg": (noise("JPEG")[:-700], "broken or truncated"),
    "truncated.png": (noise("PNG")[:-3000], "broken or truncated"),
    "truncated.webp": (noise("WEBP")[:-700], ""),
    "truncated.gif": (noise("GIF")[:-700], ""),
    "flipped.png": (noise("PNG")[:200] + b"\0" * 500 + noise("PNG")[700:], "broken or truncated"),
    "bomb.png": (bomb(), "too large"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(100), "not a picture"),
    "page.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
}


def test_bad_images_are_named_skipped_and_counted(tmp_path):
    root = tmp_path / "photos"
    picture(root / "good.png")
    for name, (content, _) in BAD.items():
        (root / name).write_bytes(content)
    metadata(root, *[{"file_name": name, "text": "bad"} for name in BAD], {"file_name": "sub", "text": "a folder"})
    picture(root / "sub" / "other.png")
    manifest, rows, skipped = prepare(tmp_path, workers=2)
    assert set(rows) == {"good.png", "sub/other.png"}
    assert set(skipped) == set(BAD) | {"sub"} and len(manifest["skipped"]) == len(BAD) + 1
    for name, (_, reason) in BAD.items():
        assert reason in skipped[name], (name, skipped[name])


def test_a_picture_above_the_limit_when_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.pictures.MAX_PIXELS", 300 * 300)
    with pytest.raises(BadPicture, match="too large: 400 x 400"):
        read_square(picture(tmp_path / "large.png", size=(400, 400)), 16)
    # a JPEG is decoded at a fraction of its size
    assert close(read_square(picture(tmp_path / "large.jpg", size=(400, 400)), 16), RED)


def test_exif_orientation(tmp_path):
    image = Image.new("RGB", (40, 40), RED)
    image.paste(BLUE, (0, 0, 40, 20))  # blue above red
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    seen = read_square(tmp_path / "turned.jpg", 16)
    assert close(seen, BLUE, (12, 8), 20) and close(seen, RED, (3, 8), 20)


def test_a_broken_exif_does_not_cost_the_picture(tmp_path):
    Image.new("RGB", (40, 40), RED).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20))
    assert close(read_square(tmp_path / "a.jpg", 16), RED)


def modes() -> dict[str, tuple[Image.Image, tuple[int, int, int]]]:
    clear = Image.new("RGBA", (20, 20), (*RED, 255))
    clear.paste((0, 0, 0, 0), (5, 5, 15, 15))
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, *RED])
    see_through = palette.copy()
    see_through.info["transparency"] = 1
    return {
        "rgba.png": (clear, WHITE),
        "half.png": (Image.new("RGBA", (20, 20), (200, 0, 0, 128)), (227, 127, 127)),
        "grey.png": (Image.new("L", (20, 20), 100), (100, 100, 100)),
        "grey-alpha.png": (Image.new("LA", (20, 20), (100, 0)), WHITE),
        "palette.png": (palette, RED),
        "palette-clear.png": (see_through, WHITE),
        "one-bit.png": (Image.new("1", (20, 20), 1), WHITE),
        "sixteen.png": (Image.fromarray(np.full((20, 20), 40_000, np.uint16)), (156, 156, 156)),
        "sixteen.tif": (Image.fromarray(np.full((20, 20), 40_000, np.uint16)), (156, 156, 156)),
        "float.tif": (Image.fromarray(np.full((20, 20), 0.5, np.float32)), (128, 128, 128)),
        "cmyk.jpg": (Image.new("CMYK", (20, 20), (0, 255, 255, 0)), (255, 0, 0)),
        "cmyk.tif": (Image.new("CMYK", (20, 20), (0, 255, 255, 0)), (255, 0, 0)),
        "animated.gif": (Image.new("RGB", (20, 20), RED), RED),
        "photo.webp": (Image.new("RGB", (20, 20), RED), RED),
        "bitmap.bmp": (Image.new("RGB", (20, 20), RED), RED),
    }


@pytest.mark.parametrize("name", list(modes()))
def test_every_mode_becomes_what_the_eye_sees(tmp_path, name):
    image, color = modes()[name]
    more = {"save_all": True, "append_images": [Image.new("RGB", (20, 20), BLUE)]} if name == "animated.gif" else {}
    image.save(tmp_path / name, **more)
    seen = read_square(tmp_path / name, 16)
    assert (seen.mode, seen.size) == ("RGB", (16, 16))
    assert close(seen, color), seen.getpixel((8, 8))


@pytest.mark.parametrize("size", [(60, 20), (20, 60)])
def test_the_middle_square_is_kept(tmp_path, size):
    image = Image.new("RGB", size, BLUE)
    left, top = (size[0] - 20) // 2, (size[1] - 20) // 2
    image.paste(RED, (left, top, left + 20, top + 20))
    image.save(tmp_path / "a.png")
    assert read_square(tmp_path / "a.png", 20).getcolors() == [(400, RED)]


# ------------------------------------------------------------------------------------------------ split, second call


def test_the_split_depends_on_the_name_alone(tmp_path):
    for index in range(40):
        picture(tmp_path / "photos" / f"{index}.png", size=(8, 8))
    _, before, _ = prepare(tmp_path, test_fraction=0.3)
    for index in range(40, 60):
        picture(tmp_path / "photos" / f"{index}.png", size=(8, 8))
    _, after, _ = prepare(tmp_path, test_fraction=0.3)
    assert len(after) == 60 and all(after[name]["split"] == row["split"] for name, row in before.items())
    assert 5 < sum(row["split"] == "test" for row in after.values()) < 30
    _, other, _ = prepare(tmp_path, test_fraction=0.3, seed=1)
    assert any(other[name]["split"] != row["split"] for name, row in after.items())


@pytest.mark.parametrize("fraction", [0.0001, 0.5, 0.9999])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_both_splits_get_an_image_where_there_are_two(count, fraction):
    rows = [{"name": str(index)} for index in range(count)]
    position = {row["name"]: index / count for index, row in enumerate(rows)}.__getitem__
    stream = iter(rows)
    splits = folder._deal(list(itertools.islice(stream, 2)), stream, position, fraction)
    test, train = list(splits["test"]), list(splits["train"])
    assert test + train == rows and len(train) >= 1 and len(test) >= min(1, count - 1)
    if fraction == 0.5 and count > 2:
        assert len(test) == -(-count // 2)


def test_skipped_images_do_not_use_up_the_test_split(tmp_path):
    root = tmp_path / "photos"
    for index in range(6):
        picture(root / f"{index}.png")
    _, rows, _ = prepare(tmp_path)
    (lost,) = [name for name, row in rows.items() if row["split"] == "test"]
    (root / lost).write_bytes(b"broken")
    _, rows, skipped = prepare(tmp_path)
    assert lost in skipped and [row["split"] for row in rows.values()].count("test") == 1


def test_a_second_call_does_nothing_until_the_folder_changes(tmp_path, monkeypatch):
    root = tmp_path / "photos"
    picture(root / "a.png")
    picture(root / "b.png")
    first, _, _ = prepare(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(folder, "_read", lambda *_: pytest.fail("read again"))
        assert prepare(tmp_path)[0] == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times
    (root / "a.txt").write_text("another caption")
    assert prepare(tmp_path)[1]["a.png"]["captions"] == ["another caption"]
    assert prepare(tmp_path, size=8)[0]["size"] == 8


def test_a_file_name_that_is_no_text(tmp_path):
    root = tmp_path / "photos"
    picture(root / "a.png")
    try:
        os.rename(root / "a.png", os.fsencode(root) + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes only text as names")
    os.rename(root / "a.txt", os.fsencode(root) + b"/\xff.txt")
    picture(root / "b.png", caption=None)
    _, rows, _ = prepare(tmp_path)
    assert set(rows) == {"\ufffd.png"}


def test_hidden_files_are_no_images(tmp_path):
    root = tmp_path / "photos"
    picture(root / "a.png")
    picture(root / "._a.png", caption=None)
    picture(root / ".thumbnails" / "a.png")
    picture(root / "__MACOSX" / "a.png")
    _, rows, skipped = prepare(tmp_path)
    assert set(rows) == {"a.png"} and not skipped


# ------------------------------------------------------------------------------------------------ the user's errors


def test_nothing_usable(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    with pytest.raises(UserError, match=r"no images in .*metadata\.jsonl"):
        prepare(tmp_path)
    for index in range(7):
        picture(root / f"{index}.png", caption=None)
    with pytest.raises(UserError, match=r"none of the images .*0\.png: no caption.*and 2 more.*cat\.txt"):
        prepare(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [({"size": 4}, "size is 4"), ({"size": 5000}, "5000"), ({"test_fraction": 0.0}, "test_fraction is 0.0")],
)
def test_bad_options(tmp_path, options, message):
    picture(tmp_path / "photos" / "a.png")
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, **options)


def test_no_folder_an_archive_and_the_images_own_folder(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        prepare(tmp_path)
    (tmp_path / "photos").write_bytes(b"PK")
    with pytest.raises(UserError, match="unpack it"):
        prepare(tmp_path)
    picture(tmp_path / "mine" / "a.png")
    with pytest.raises(UserError, match="left alone"):
        folder.prepare(tmp_path / "mine", tmp_path / "mine")
    assert sorted(os.listdir(tmp_path / "mine")) == ["a.png", "a.txt"]
