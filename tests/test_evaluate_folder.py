"""Images with captions from any program: what is read and refused, what is measured, and that it is what a run gives.

Beside it the stages of a run, which are measured with the same instruments.
"""

import json
import shutil
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from t2i_core.blocks import resize
from t2i_core.cli import main
from t2i_core.config import UserError
from t2i_core.data import load
from t2i_core.metrics import folder as reading
from t2i_core.metrics.evaluate import OF_IMAGES, caption_plan, draw, evaluate_folder, evaluate_run, evaluate_stages
from t2i_core.metrics.folder import read_folder
from t2i_core.metrics.instruments import GROUPS, OF_SYSTEM, OF_TRUTH
from t2i_core.runs import Run

RED, CLEAR = (255, 0, 0), (0, 0, 0, 0)
# all that 24 images are enough for
MANY = ("fid", "kid", "inception_score", "retrieval", "clip_score", "cmd", "precision_recall")
VALUES = {*MANY, "clip_score_x100", "itdis", "precision", "recall", "density", "coverage"}
VALUES |= {f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)}
VALUES -= {"retrieval", "precision_recall"}


def put(folder: Path, name: str, image: Image.Image | None = None, caption: str | None = "a red house") -> Path:
    folder.mkdir(exist_ok=True)
    (image or Image.new("RGB", (40, 40), RED)).save(folder / name)
    if caption is not None:
        (folder / name).with_suffix(".txt").write_text(caption)
    return folder / name


def as_picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


def listed(folder: Path, captions: dict[str, str | list[str]]) -> None:
    lines = (json.dumps({"file_name": name, "captions": said}) for name, said in captions.items())
    (folder / "metadata.jsonl").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def drawn(tiny_scenes, tiny_run, tmp_path_factory):
    """A folder with the 24 images that a run draws for its test captions, and the run's own numbers."""
    run = Run(shutil.copytree(tiny_run, tmp_path_factory.mktemp("measured") / "run"))
    found = evaluate_run(run, MANY, n=24, device="cpu")
    test = load(tiny_scenes, "test", (32,))
    captions = [test.caption(i, k) for i, k in zip(*caption_plan(test, 24), strict=True)]
    folder = tmp_path_factory.mktemp("drawn") / "images"
    for row, image in enumerate(draw(run.system(), captions, seed=0)):
        put(folder, f"{row:03}.png", as_picture(image), captions[row])
    return folder, found, run


@pytest.fixture
def images(drawn, tmp_path) -> Path:
    """A copy of those images that a test may change."""
    return Path(shutil.copytree(drawn[0], tmp_path / "images"))


# ---------------------------------------------------------------------------------------------------- the numbers


def test_a_folder_of_what_a_run_draws_gives_the_runs_numbers(drawn, tiny_scenes, tmp_path):
    folder, of_run, _ = drawn
    found = evaluate_folder(folder, tiny_scenes, MANY, out=tmp_path / "deep" / "out.json", device="cpu")
    assert set(found) == VALUES
    for name, entry in found.items():
        for part in ("value", "low", "high"):
            assert entry[part] == pytest.approx(of_run[name][part], rel=1e-5, abs=1e-6), (name, part)
        assert entry["n"] == entry["protocol"]["images"] == 24
    assert json.loads((tmp_path / "deep" / "out.json").read_text()) == found
    assert not (folder / "metrics.json").exists()
    told = found["fid"]["protocol"]
    assert told["images_from"] == str(folder) and told["sizes"] == {"32 x 32": 24} and told["converted"] == {}
    assert told["extractor"].startswith("toy-scenes inspector") and told["data"]["test"] == told["real_images"] == 24


def test_the_captions_matter_and_not_the_form_they_come_in(images, drawn, tiny_scenes):
    captions = {path.with_suffix(".png").name: path.read_text() for path in images.glob("*.txt")}
    for text in images.glob("*.txt"):
        text.unlink()
    listed(images, captions)
    expected = drawn[1]["clip_score"]["value"]
    as_listed = evaluate_folder(images, tiny_scenes, "clip_score", device="cpu")["clip_score"]["value"]
    assert as_listed == pytest.approx(expected, rel=1e-6)
    listed(images, dict(zip(captions, [*list(captions.values())[1:], "a green dog"], strict=True)))
    others = evaluate_folder(images, tiny_scenes, "clip_score", device="cpu")["clip_score"]["value"]
    assert abs(others - expected) > 1e-3


def test_real_images_have_no_distance_whatever_size_they_come_in(tiny_scenes, tmp_path):
    test = load(tiny_scenes, "test", (32,))
    sizes = [(32, 32), (64, 64), (96, 64), (160, 160)]
    for i, image in enumerate(test.images(range(24))):
        whole = as_picture(image)
        width, height = sizes[i % 4]
        large = whole.resize((height, height), Image.Resampling.NEAREST)
        wide = Image.new("RGB", (width, height))
        wide.paste(large, ((width - height) // 2, 0))
        put(tmp_path / "real", f"{i:02}.png", wide, test.caption(i))
    told = evaluate_folder(tmp_path / "real", tiny_scenes, ("fid", "cmd"), device="cpu")
    assert told["fid"]["value"] < 0.5 and told["cmd"]["value"] < 0.02
    assert told["fid"]["protocol"]["sizes"] == {f"{w} x {h}": 6 for w, h in sizes}
    assert told["fid"]["protocol"]["cropped_to_the_middle"] == 6


def test_all_is_what_needs_no_truth_and_what_cannot_be_is_left_out(images, tiny_scenes):
    assert set(OF_IMAGES) == set(GROUPS) - {*OF_TRUTH, *OF_SYSTEM} and len(OF_IMAGES) == 8
    with pytest.warns(UserWarning, match="r_precision is left out: .* 99 captions .* among 24 images") as seen:
        found = evaluate_folder(images, tiny_scenes, device="cpu")
    assert len(seen) == 1 and set(found) == VALUES


@pytest.mark.parametrize("metrics", [*OF_TRUTH, ("fid", "soa")])
def test_what_asks_for_the_truth_is_refused_by_name(images, tiny_scenes, metrics):
    with pytest.raises(UserError, match="asks what the truth .* choose from fid, kid"):
        evaluate_folder(images, tiny_scenes, metrics, device="cpu")


@pytest.mark.parametrize(
    "metrics, keep, said",
    [
        ("r_precision", 24, "99 captions"),
        ("inception_score", 19, "19 images .* at least 20"),
        ("precision_recall", 5, "5 generated images .* at least 6 are needed"),
        ("fid", 1, "holds 1 image: every measure needs 2"),
        ("fidd", 3, "'fid'"),
    ],
)
def test_too_few_images_and_unknown_measures_are_refused(images, tiny_scenes, metrics, keep, said):
    for row in range(keep, 24):
        (images / f"{row:03}.png").unlink()
        (images / f"{row:03}.txt").unlink()
    with pytest.raises(UserError, match=said):
        evaluate_folder(images, tiny_scenes, metrics, device="cpu")
    assert not (images / "metrics.json").exists()


def test_the_world_says_who_looks(images, tiny_scenes, tmp_path):
    foreign = Path(shutil.copytree(tiny_scenes, tmp_path / "foreign"))
    manifest = json.loads((foreign / "manifest.json").read_text())
    (foreign / "manifest.json").write_text(json.dumps(manifest | {"name": "my-photographs"}))
    with pytest.raises(UserError, match="no scorer knows the words"):
        evaluate_folder(images, foreign, "cmd", device="cpu")
    with pytest.raises(UserError, match="did you mean 'toy-scenes'"):
        evaluate_folder(images, foreign, "cmd", world="toy-scene", device="cpu")
    put(images, "023.png", caption="a xylophone, a zither")
    told = evaluate_folder(images, foreign, "cmd", world="toy-scenes", device="cpu")["cmd"]["protocol"]
    assert told["scorer"].startswith("toy-scenes scorer") and told["world"] == "toy-scenes"
    assert set(told["unknown_words"]) == {"xylophone", "zither"} and told["captions_with_unknown_words"] == 0.0417


def test_what_is_not_asked_anew_is_kept_while_the_images_are_the_same(images, tiny_scenes):
    def asked(name):
        return set(evaluate_folder(images, tiny_scenes, name, device="cpu"))

    assert asked("fid") == {"fid"} and asked("cmd") == {"fid", "cmd", "itdis"}
    assert set(json.loads((images / "metrics.json").read_text())) == {"fid", "cmd", "itdis"}
    put(images, "024.png")
    assert asked("kid") == {"kid"}


@pytest.mark.parametrize("content", ["{broken", '{"lr": 0.1}', "[1]", '{"a": {"value": 1}}'])
def test_a_file_of_somebody_else_is_not_overwritten(images, tiny_scenes, content):
    (images / "metrics.json").write_text(content)
    with pytest.raises(UserError, match="not written by `t2i evaluate`: choose another file"):
        evaluate_folder(images, tiny_scenes, "fid", device="cpu")
    assert (images / "metrics.json").read_text() == content


# ---------------------------------------------------------------------------------------------------- how it is read


def test_images_are_shrunk_with_antialias_and_not_sampled(tmp_path):
    """Stripes of 4 px, shrunk 8 times, are grey; picking pixels would give full black or full white."""
    columns = np.where((np.arange(256) + 2) % 8 < 4, 0, 255).astype(np.uint8)
    stripes = Image.fromarray(np.broadcast_to(columns[None, :, None], (256, 256, 3)).copy())
    for name in ("a.png", "b.png"):
        put(tmp_path / "in", name, stripes)
    seen = read_folder(tmp_path / "in", 32).images
    assert seen.shape == (2, 3, 32, 32) and seen[..., 2:-2].abs().max() < 0.05
    pixels = torch.from_numpy(np.array(stripes)).permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.testing.assert_close(seen[:1], resize(pixels, 32), atol=1e-6, rtol=0)


def test_grey_palette_and_transparent_pictures_become_what_the_eye_sees(tmp_path):
    see_through = Image.new("RGBA", (20, 20), (*RED, 255))
    see_through.paste(CLEAR, (0, 0, 20, 10))
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, *RED])
    for name, image in {"a.png": see_through, "b.png": palette, "c.png": Image.new("L", (20, 20), 102)}.items():
        put(tmp_path / "in", name, image)
    put(tmp_path / "in", "d.png")
    read = read_folder(tmp_path / "in", 20)
    top, bottom = read.images[:, :, 2, 10], read.images[:, :, 17, 10]
    red, white, grey = torch.tensor([1.0, -1, -1]), torch.ones(3), torch.full((3,), 102 / 127.5 - 1)
    for seen, expected in ((top, [white, red, grey, red]), (bottom, [red, red, grey, red])):
        torch.testing.assert_close(seen, torch.stack(expected), atol=1e-5, rtol=0)
    assert read.told["converted"] == {
        "grey to RGB": 1, "palette to RGB": 1, "transparency laid over white": 1,
    }  # fmt: skip
    assert read.told["sizes"] == {"20 x 20": 3, "40 x 40": 1}


def test_the_middle_square_counts(tmp_path):
    tall = Image.new("RGB", (20, 60), (0, 0, 255))
    tall.paste(RED, (0, 20, 20, 40))
    put(tmp_path / "in", "a.png", tall)
    put(tmp_path / "in", "b.png", tall.rotate(90, expand=True))
    seen = read_folder(tmp_path / "in", 10).images
    assert torch.equal(seen[:, 0], torch.ones(2, 10, 10)) and (seen[:, 1:] == -1).all()


def test_each_picture_is_read_once_and_none_is_kept(tmp_path, monkeypatch):
    for k in range(40):
        put(tmp_path / "in", f"{k:02}.png", Image.new("RGB", (64, 64), (6 * k, 0, 0)))
    read, whole, most = [], [], []

    def watched(path, original=reading.read_rgb):
        picture = original(path)
        read.append(path.name)
        whole.append(weakref.ref(picture.image))
        most.append(sum(one() is not None for one in whole))
        return picture

    monkeypatch.setattr(reading, "read_rgb", watched)
    filters = warnings.filters
    found = read_folder(tmp_path / "in", 8)
    assert sorted(read) == [f"{k:02}.png" for k in range(40)]
    assert max(most) <= 8, "whole pictures may be as many as threads read them"
    assert warnings.filters is filters, "the threads leave the user's warning filters alone"
    expected = torch.tensor([6 * k / 127.5 - 1 for k in range(40)])
    torch.testing.assert_close(found.images[:, 0].mean((1, 2)), expected)


def test_of_several_captions_an_image_takes_the_next_one(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        put(tmp_path / "in", name, caption=f"{name} one\n{name} two")
    read = read_folder(tmp_path / "in", 8)
    assert read.captions == ["a.png one", "b.png two", "c.png one"] and "i mod k" in read.told["which_caption"]


def test_many_sizes_are_summed_up(tmp_path):
    for k in range(9):
        put(tmp_path / "in", f"{k}.png", Image.new("RGB", (8 + max(k, 2), 8 + max(k, 2))))
    sizes = read_folder(tmp_path / "in", 8).told["sizes"]
    assert sizes["10 x 10"] == 3 and sizes["2 other sizes"] == 2 and sum(sizes.values()) == 9


# ---------------------------------------------------------------------------------------------------- what is refused


def nothing(folder):
    folder.mkdir()


def no_captions(folder):
    for k in range(7):
        put(folder, f"{k}.png", caption=None)


def one_without(folder):
    put(folder, "a.png")
    put(folder, "grid.png", caption=None)


def one_missing(folder):
    put(folder, "a.png", caption=None)
    listed(folder, {"a.png": "a house", "gone.png": "a dog"})


def lonely_text(folder):
    put(folder, "a.png")
    put(folder, "b.png").unlink()


def shared_text(folder):
    put(folder, "a.png")
    put(folder, "a.jpg")


def more_captions_than_images(folder):
    put(folder, "a.png", caption=None)
    put(folder, "b.png", caption=None)
    listed(folder, {"a.png": "a house", "b.png": ["a dog", "a cat"]})


def bad_line(folder):
    put(folder, "a.png", caption=None)
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a house"}\n{"file_name": 3}')


def broken(folder):
    for k in range(7):
        put(folder, f"{k}.png").write_bytes(b"no picture")
    whole = put(folder, "cut.jpg", Image.effect_noise((64, 64), 60))
    whole.write_bytes(whole.read_bytes()[:-500])
    put(folder, "good.png")


def large(folder):
    put(folder, "a.png")
    put(folder, "b.png", Image.new("1", (10_000, 9_500)))


def huge(folder):
    put(folder, "a.png")
    put(folder, "b.png", Image.new("1", (14_000, 13_000)))


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda folder: None, "there is no folder"),
        (lambda folder: folder.write_text("PK"), "is a file; unpack it"),
        (nothing, r"there are no images .*metadata\.jsonl"),
        (no_captions, r"do not fit together.*0\.png: no caption.*and 2 more"),
        (one_without, r"grid\.png: no caption"),
        (one_missing, r"gone\.png: it has a caption and is not there"),
        (lonely_text, r"b\.txt: there is no image beside it"),
        (shared_text, r"a\.txt: is beside a\.jpg and a\.png"),
        (more_captions_than_images, r"2 images and 3 captions do not fit: .*b\.png: 2"),
        (bad_line, r'metadata\.jsonl:2: has no "file_name"'),
        (broken, r"8 of the 9 images .*0\.png: not a picture.*and 3 more"),
        (large, r"b\.png: too large: 10,000 x 9,500 pixels, the limit is"),
        (huge, r"1 of the 2 images .*b\.png: too large"),
        (lambda folder: put(folder, "a.png"), "holds 1 image: every measure needs 2"),
    ],
)
def test_numbers_are_of_every_image_or_there_are_none(tiny_scenes, tmp_path, make, said):
    make(tmp_path / "in")
    with pytest.raises(UserError, match=said):
        evaluate_folder(tmp_path / "in", tiny_scenes, "fid", device="cpu")
    assert not list(tmp_path.rglob("metrics.json"))


def test_other_texts_beside_listed_images_do_no_harm(tmp_path):
    for name in ("a.png", "b.png"):
        put(tmp_path / "in", name, caption=None)
    listed(tmp_path / "in", {"a.png": "a house", "b.png": "a dog"})
    (tmp_path / "in" / "README.txt").write_text("made yesterday")
    assert read_folder(tmp_path / "in", 8).captions == ["a house", "a dog"]


# ---------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_a_table_and_keeps_it_among_the_images(capsys, images, tiny_scenes):
    words = ["evaluate", "--folder", str(images), "--data", str(tiny_scenes), "--device", "cpu"]
    assert main([*words, "--metrics", "fid", "cmd"]) == 0
    *table, where = capsys.readouterr().out.splitlines()
    found = json.loads((images / "metrics.json").read_text())
    assert [line.split()[0] for line in table] == list(found) == ["fid", "cmd", "itdis"]
    assert f"{found['cmd']['value']:.4f}" in table[1] and table[1].endswith("n = 24")
    assert where.endswith(str(images / "metrics.json"))
    assert main([*words, "--metrics", "fid", "--out", str(images.parent / "x.json")]) == 0
    assert list(json.loads((images.parent / "x.json").read_text())) == ["fid"]
    with pytest.warns(UserWarning, match="r_precision is left out"):
        assert main([*words, "--metrics", "all", "--out", str(images.parent / "y.json")]) == 0


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "--run with a trained system's folder, or --folder"),
        (["--run", "r", "--folder", "f"], "one of the two"),
        (["--folder", "f"], "--folder needs --data"),
        (["--folder", "f", "--data", "d", "--images", "3"], "--images does not go with --folder"),
        (["--run", "r", "--data", "d"], "--data does not go with --run"),
        (["--run", "r", "--out", "o"], "--out does not go with --run"),
        (["--folder", "f", "--data", "d"], "there is no folder"),
        (["--folder", "f", "--data", "d", "--out", "file/o.json"], "choose another file with --out"),
        (["--folder", ".", "--data", "d", "--out", "."], "is a folder: choose the name of a file"),
        (["--folder", ".", "--data", "nowhere"], "no prepared dataset at nowhere"),
    ],
)
def test_mistakes_are_named(capsys, tmp_path, monkeypatch, tiny_scenes, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "d").symlink_to(tiny_scenes)
    assert main(["evaluate", *words]) == 2
    assert said in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- stages


def test_every_stage_is_measured_in_one_pass_and_the_last_is_the_run(drawn, tmp_path, monkeypatch):
    run = Run(shutil.copytree(drawn[2].folder, tmp_path / "run"))
    system, passes = run.system(), []
    generate = type(system).generate

    def counted(self, captions, *more, **options):
        passes.append(len(captions))
        return generate(self, captions, *more, **options)

    monkeypatch.setattr(type(system), "generate", counted)
    found = evaluate_stages(run, n=24, device="cpu")
    assert sum(passes) == 24
    assert json.loads((run.folder / "stages.json").read_text()) == found
    assert [set(one) for one in found] == [{"fid", "cmd", "itdis"}] * 3
    for stage, (one, px) in enumerate(zip(found, system.config.resolutions, strict=True), start=1):
        told = one["fid"]["protocol"]
        assert (told["stage"], told["stages"], told["resolution"], told["images"]) == (stage, 3, px, 24)
    assert len({one["fid"]["value"] for one in found}) == 3
    for name in ("fid", "cmd", "itdis"):
        assert found[-1][name]["value"] == pytest.approx(drawn[1][name]["value"], rel=1e-6)
    assert run.metrics == drawn[2].metrics, "the run's own numbers stay"


def test_a_stage_is_measured_as_its_picture_enlarged(drawn, tiny_scenes, tmp_path):
    """A folder of the first stage's images, enlarged by somebody else, gives that stage's numbers."""
    run = Run(shutil.copytree(drawn[2].folder, tmp_path / "run"))
    (first, *_) = evaluate_stages(run, "fid", n=24, device="cpu")
    captions = [path.read_text() for path in sorted(drawn[0].glob("*.txt"))]
    coarse = draw(run.system(), captions, seed=0, stage=0)
    assert coarse.shape == (24, 3, 8, 8)
    for row, image in enumerate(coarse):
        put(tmp_path / "in", f"{row:02}.png", as_picture(image), captions[row])
    found = evaluate_folder(tmp_path / "in", tiny_scenes, "fid", device="cpu")
    assert found["fid"]["value"] == pytest.approx(first["fid"]["value"], rel=1e-5)


def test_a_stage_that_is_not_there_is_refused(tiny_run):
    system = Run(tiny_run).system()
    assert torch.equal(draw(system, ["a house"], 0, stage=2), draw(system, ["a house"], 0))
    for stage in (3, -4):
        with pytest.raises(UserError, match=f"no stage {stage}: this system draws 3, from 0 to 2"):
            draw(system, ["a house"], 0, stage=stage)
