"""The writer of prepared datasets and the check of its files: all or nothing, hashed, idle when the work is done."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
from PIL import Image

from data_prep import place, prepared
from t2i_core.config import UserError
from t2i_core.manifest import read_manifest, verify

ARGUMENTS = {"dataset": "test", "seed": 0, "sizes": (8, 16)}


def row(index: int, **changes) -> dict:
    image = Image.new("RGB", (8, 8), (index % 256, index // 256, 7))
    mask = Image.new("L", (8, 8), 1)
    return {
        "image": prepared.encode_png(image),
        "mask": prepared.encode_png(mask),
        "captions": [f"picture {index}", f"number {index} é\U0001f980"],
        "class_id": index % 3,
        "name": f"test/{index:04d}",
        "truth": {"attributes": {"setting": "beach"}, "words": [[], [[0, 6, -1, "setting"]]]},
    } | changes


def write(out: Path, train=None, test=None, arguments=ARGUMENTS, **options) -> dict:
    splits = {
        "train": (row(index) for index in range(5)) if train is None else train,
        "test": (row(index) for index in range(100, 102)) if test is None else test,
    }
    common = dict(name="test", kind="toy", size=8, seed=0, split_rule="by hand", class_disjoint=False)
    return prepared.write(out, splits, **common, arguments=arguments, licence="MIT", source="a test", **options)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def failing_rows(error: BaseException, after: int = 3):
    yield from (row(index) for index in range(after))
    raise error


def test_datasets_reads_what_was_written(tmp_path):
    manifest = write(tmp_path / "data" / "test", extra_files={"LICENSES/a.txt": b"free"})
    loaded = datasets.load_from_disk(str(tmp_path / "data" / "test"))
    assert loaded["train"].column_names == ["image", "captions", "class_id", "name", "truth", "mask"]
    assert (len(loaded["train"]), len(loaded["test"])) == (5, 2)
    item = loaded["test"][1]
    assert item["image"].mode == "RGB" and item["image"].getpixel((3, 3)) == (101, 0, 7)
    assert item["mask"].mode == "L" and item["mask"].getpixel((0, 0)) == 1
    assert item["captions"] == ["picture 101", "number 101 é\U0001f980"]
    assert (item["class_id"], item["name"]) == (101 % 3, "test/0101")
    assert json.loads(item["truth"])["words"] == [[], [[0, 6, -1, "setting"]]]
    assert manifest["splits"] == {"train": {"images": 5, "captions": 10}, "test": {"images": 2, "captions": 4}}
    assert manifest == verify(tmp_path / "data" / "test")
    on_disk = {name for name in state(tmp_path / "data" / "test") if name != "manifest.json"}
    assert set(manifest["files"]) == on_disk and "LICENSES/a.txt" in on_disk


def test_rows_without_masks_and_an_empty_split(tmp_path):
    plain = [{key: row(0)[key] for key in ("image", "captions", "name")}]
    write(tmp_path / "test", train=plain, test=[])
    loaded = datasets.load_from_disk(str(tmp_path / "test"))
    assert "mask" not in loaded["train"].column_names and len(loaded["test"]) == 0
    assert (loaded["train"][0]["class_id"], loaded["train"][0]["truth"]) == (-1, "{}")


def test_the_same_call_writes_the_same_bytes(tmp_path):
    assert write(tmp_path / "a")["files"] == write(tmp_path / "b")["files"]


def test_several_shards_and_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "_BATCH_ROWS", 3)
    monkeypatch.setattr(prepared, "_SHARD_BYTES", 2000)
    manifest = write(tmp_path / "test", train=(row(index) for index in range(20)))
    shards = [name for name in manifest["files"] if name.startswith("train/data-")]
    assert len(shards) == 7 and shards[-1] == "train/data-00006-of-00007.arrow"
    loaded = datasets.load_from_disk(str(tmp_path / "test" / "train"))
    assert loaded["name"] == [f"test/{index:04d}" for index in range(20)]


def test_a_second_call_does_nothing(tmp_path):
    out = tmp_path / "test"
    assert not prepared.is_current(out, ARGUMENTS)
    first = write(out)
    before = state(out)
    assert prepared.is_current(out, ARGUMENTS)
    assert write(out, train=failing_rows(AssertionError("drawn again"), after=0)) == first
    assert state(out) == before
    assert not prepared.is_current(out, ARGUMENTS | {"seed": 1})


def test_other_arguments_replace_the_old_dataset(tmp_path):
    write(tmp_path / "test")
    write(tmp_path / "test", train=[row(7)], arguments={"seed": 1})
    assert verify(tmp_path / "test")["splits"]["train"]["images"] == 1
    assert os.listdir(tmp_path) == ["test"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), MemoryError()])
def test_a_crash_leaves_nothing_new_and_the_old_dataset_whole(tmp_path, error):
    with pytest.raises(type(error)):
        write(tmp_path / "test", train=failing_rows(error))
    assert os.listdir(tmp_path) == []
    write(tmp_path / "test")
    before = state(tmp_path)
    with pytest.raises(type(error)):
        write(tmp_path / "test", test=failing_rows(error), arguments={"seed": 1})
    assert state(tmp_path) == before


def test_a_full_disk_is_the_users_to_mend(tmp_path):
    write(tmp_path / "test")
    before = state(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as good as a full disk: a real write really fails
    try:
        with pytest.raises(UserError, match="choose another place with --out"):
            write(tmp_path / "test", train=(row(index) for index in range(2000)), arguments={"seed": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert state(tmp_path) == before


def test_which_errors_are_the_users(tmp_path):
    with pytest.raises(UserError, match="disk is full"), place.explained(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="Bad address"), place.explained(tmp_path):
        raise OSError(errno.EFAULT, "Bad address")


def test_an_unwritable_folder(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        with pytest.raises(UserError, match="permission denied"):
            write(folder / "test")
    finally:
        os.seteuid(user)
    assert os.listdir(folder) == []


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        write(tmp_path / "file")
    with pytest.raises(UserError, match="is a file, not a folder"):
        write(tmp_path / "file" / "test")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("mine")
    with pytest.raises(UserError, match="not a prepared dataset, so it is left alone"):
        write(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "mine"
    write(tmp_path / "test")
    (tmp_path / "test" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        write(tmp_path / "test", arguments={"seed": 1})
    (tmp_path / "test" / "notes.txt").rename(tmp_path / "test" / "train" / "cache-123.arrow")  # litter of `datasets`
    write(tmp_path / "test", arguments={"seed": 1})
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "big disk").mkdir()
    (tmp_path / "test").symlink_to(tmp_path / "big disk")
    write(tmp_path / "test")
    write(tmp_path / "test", arguments={"seed": 1})
    assert (tmp_path / "test").is_symlink() and verify(tmp_path / "big disk")


def test_stopped_between_the_two_renames(tmp_path):
    write(tmp_path / "test")
    (tmp_path / "test").rename(tmp_path / ".test.old")
    assert prepared.is_current(tmp_path / "test", ARGUMENTS)
    assert os.listdir(tmp_path) == ["test"]


def test_sweeping_brings_the_old_dataset_back_before_it_removes_anything(tmp_path):
    write(tmp_path / "test")
    (tmp_path / "test").rename(tmp_path / ".test.old")
    with place.building(tmp_path / "test"):
        verify(tmp_path / "test")


def test_two_writers_do_not_sweep_each_other(tmp_path):
    def rows():
        yield row(0)
        write(tmp_path / "test", train=[row(1)], arguments={"seed": 1})  # a whole writer meanwhile
        yield row(2)

    write(tmp_path / "test", train=rows())
    assert verify(tmp_path / "test")["splits"]["train"]["images"] == 2
    assert os.listdir(tmp_path) == ["test"]


KILLED = """
import sys, time
sys.path[:0] = [{tests!r}, {root!r}]
from test_prepared import row, write
def rows():
    yield row(0)
    print("writing", flush=True)
    time.sleep(60)
write({out!r}, train=rows(), arguments={{"seed": 1}})
"""


def test_killed_in_the_middle_and_no_litter_at_home(tmp_path):
    out, home, here = tmp_path / "data" / "test", tmp_path / "home", Path(__file__).parent
    home.mkdir()
    write(out)
    script = KILLED.format(tests=str(here), root=str(here.parent), out=str(out))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_"))}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | {"HOME": str(home)},
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    verify(out)
    assert len(os.listdir(out.parent)) == 2  # the dataset, and the hidden folder of the killed writer
    write(out, arguments={"seed": 2})
    assert os.listdir(out.parent) == ["test"]
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image": {"bytes": b"text"}}, "not a PNG"),
        ({"image": prepared.encode_png(Image.new("RGB", (8, 9)))}, "8x9"),
        ({"image": prepared.encode_png(Image.new("RGBA", (8, 8)))}, "colour type 6"),
        ({"mask": prepared.encode_png(Image.new("RGB", (8, 8)))}, "mask"),
        ({"captions": []}, "captions"),
        ({"captions": ["a", "  "]}, "captions"),
        ({"truth": {"words": [[]]}}, "words for 1 captions of 2"),
    ],
)
def test_a_row_that_breaks_the_format(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "test", train=[row(0), row(1, **changes)])
    assert os.listdir(tmp_path) == []


def test_masks_in_some_rows_only(tmp_path):
    without = {key: value for key, value in row(1).items() if key != "mask"}
    with pytest.raises(ValueError, match="every row or to none"):
        write(tmp_path / "test", train=[row(0), without])


def test_workers_give_the_same_in_the_same_order(tmp_path):
    jobs = [functools.partial(row, index) for index in range(60)]
    assert write(tmp_path / "two", train=jobs, workers=2)["files"] == write(tmp_path / "one", train=jobs)["files"]


def _fails_at_40(index: int) -> dict:
    if index == 40:
        raise RuntimeError("a worker's bug")
    return row(index)


def test_an_error_in_a_worker(tmp_path):
    with pytest.raises(RuntimeError, match="a worker's bug"):
        write(tmp_path / "test", train=[functools.partial(_fails_at_40, index) for index in range(60)], workers=2)
    assert os.listdir(tmp_path) == []


def _process(_: int) -> int:
    time.sleep(0.001)
    return os.getpid()


def test_mapped_uses_processes_and_runs_only_a_bounded_way_ahead():
    assert len(set(prepared.mapped(_process, range(200), 2)) - {os.getpid()}) == 2
    endless = itertools.count()
    results = prepared.mapped(float, endless, 2)
    assert list(itertools.islice(results, 5)) == [0.0, 1.0, 2.0, 3.0, 4.0]
    results.close()
    assert next(endless) < 1000


# ------------------------------------------------------------------------------------------------ reading and checking


@pytest.mark.parametrize("name, command", [("toy-scenes", "t2i prepare toy-scenes"), ("photos", "t2i prepare --help")])
def test_a_missing_dataset_says_how_to_make_it(tmp_path, name, command):
    with pytest.raises(UserError, match=f"no prepared dataset.*{command}"):
        read_manifest(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"not a prepared dataset.*{command}"):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "cannot read"),
        ("[1]", "not the manifest"),
        ('{"name": "an app"}', "not the manifest"),
        ('{"format": 99, "files": {}}', "format 99"),
        ('{"format": 1, "files": {}}', "lacks name"),
    ],
)
def test_a_foreign_or_damaged_manifest(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path)


def test_a_half_dataset(tmp_path):
    write(tmp_path / "test")
    file = tmp_path / "test" / "train" / "data-00000-of-00001.arrow"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"data-00000-of-00001\.arrow has"):
        read_manifest(tmp_path / "test")
    file.unlink()
    with pytest.raises(UserError, match=r"data-00000-of-00001\.arrow is missing"):
        read_manifest(tmp_path / "test")
    assert not prepared.is_current(tmp_path / "test", ARGUMENTS)
    write(tmp_path / "test")
    assert file.read_bytes() == content


def test_verify_finds_a_swapped_image(tmp_path):
    write(tmp_path / "test")
    file = tmp_path / "test" / "train" / "data-00000-of-00001.arrow"
    content = file.read_bytes()
    one, other = row(1)["image"]["bytes"], row(2)["image"]["bytes"]
    assert len(one) == len(other) and content.count(one) == 1
    swapped = content.replace(one, other)
    file.write_bytes(swapped)
    read_manifest(tmp_path / "test")  # the length is right, so a quick look sees nothing
    with pytest.raises(UserError, match=r"train/data-00000-of-00001\.arrow does not match"):
        verify(tmp_path / "test")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "train/../../outside"])
def test_a_manifest_may_not_name_files_outside(tmp_path, name):
    write(tmp_path / "test")
    (tmp_path / "outside").write_text("x")
    path = tmp_path / "test" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"bytes": 1, "sha256": ""}
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="outside its folder"):
        read_manifest(tmp_path / "test")
