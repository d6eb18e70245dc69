"""`t2i doctor`: every finding says what is there and what to do; the exit status says whether it is enough."""

import importlib.metadata
import json
import os
import shutil
from collections import namedtuple

import pytest

from t2i_core import doctor, torchvision_ops
from t2i_core.cli import main
from t2i_core.doctor import Finding


def finding(check, name: str) -> Finding:
    (found,) = (f for f in check() if f.name == name)
    return found


def test_this_environment_has_what_the_tests_need():
    found = {f.name: f for f in doctor.examine()}
    for name in (
        "Python",
        "torch",
        "device",
        "torchvision",
        "libraries",
        "notebook tools",
        "Jupyter widgets",
        "Jupyter kernel",
    ):
        assert found[name].good, found[name]
    assert {"npm", "free disk", "data folder", "memory", "weights"} <= set(found)


def test_the_table_marks_in_signs_and_words():
    lines = doctor.table(
        [
            Finding("a", True, "fine"),
            Finding("long name", False, "gone", "get it"),
            Finding("c", False, "none", needed=False),
        ]
    ).splitlines()
    assert lines[0].split() == ["✓", "ok", "a", "fine"]
    assert lines[1].split() == ["✗", "missing", "long", "name", "gone"]
    assert lines[2].split() == ["->", "get", "it"]
    assert lines[3].split() == ["✗", "without", "c", "none"]
    assert lines[-1] == "not usable yet: long name"
    assert lines[0].index("fine") == lines[1].index("gone"), "columns stand under each other"
    assert doctor.table([Finding("a", True, "fine")]).endswith("usable: everything that is needed is there")


@pytest.mark.parametrize(
    "findings, status",
    [
        ([Finding("a", True, "")], 0),
        ([Finding("a", True, ""), Finding("b", False, "", needed=False)], 0),
        ([Finding("a", True, ""), Finding("b", False, "")], 1),
    ],
)
def test_the_exit_status_is_whether_it_is_usable(monkeypatch, capsys, findings, status):
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor"]) == status
    assert capsys.readouterr().out.strip() == doctor.table(findings)


def test_a_package_that_breaks_on_import_is_one_line_of_the_table(monkeypatch):
    def check_torch():
        raise ImportError("libcudart.so.12 not found")

    monkeypatch.setattr(doctor, "CHECKS", (check_torch, doctor.check_python))
    broken, python = doctor.examine()
    assert (broken.name, broken.good, broken.needed) == ("torch", False, True)
    assert "libcudart.so.12" in broken.says and "constraints.txt" in broken.advice and python.good


def test_the_published_clip_is_found_or_it_is_said_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("T2I_CLIP", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    none, _ = doctor.check_clip()
    assert not none.good and not none.needed and str(tmp_path) in none.advice and "merges.txt" in none.advice
    for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
        (tmp_path / name).write_text("{}")
    there, _ = doctor.check_clip()
    assert there.good and str(tmp_path) in there.says


def test_a_missing_package_is_named(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "papermill":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    tools = finding(doctor.check_notebooks, "notebook tools")
    assert not tools.good and "papermill missing" in tools.advice and "jupytext" in tools.says


def test_widgets_without_their_browser_part_are_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *parts: [str(tmp_path)])
    widgets = finding(doctor.check_notebooks, "Jupyter widgets")
    assert not widgets.good and "not in JupyterLab" in widgets.says


@pytest.mark.parametrize("loads, says", [(True, "its compiled part loads"), (False, "does not load")])
def test_torchvision_is_usable_with_and_without_its_compiled_part(monkeypatch, loads, says):
    importlib.import_module("torchvision")  # as it is, before the test says otherwise: it is imported once a process
    monkeypatch.setattr(torchvision_ops, "compiled_part_loads", lambda: loads)
    found = finding(doctor.check_torchvision, "torchvision")
    assert found.good and says in found.says


def test_a_gpu_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *a: "Fast GPU")
    properties = namedtuple("Properties", "total_memory")(80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *a: properties)
    assert finding(doctor.check_torch, "device").says == "2 x Fast GPU, 80 GB; training uses it"


def test_a_cuda_build_without_a_gpu_gets_advice(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = finding(doctor.check_torch, "device")
    assert found.good and "nvidia-smi" in found.advice


def test_a_full_disk_makes_it_unusable(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: namedtuple("Usage", "free")(2**20))
    found = finding(doctor.check_room, "free disk")
    assert not found.good and found.needed and "T2I_DATA" in found.advice


def test_a_data_folder_that_cannot_be_written_makes_it_unusable(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("T2I_DATA", str(tmp_path / "file"))
    found = finding(doctor.check_room, "data folder")
    assert not found.good and found.needed and "T2I_DATA" in found.advice


def test_asking_whether_a_folder_can_be_written_leaves_no_trace(tmp_path):
    assert doctor.why_not_writable(tmp_path / "new" / "folder") == ""
    assert os.listdir(tmp_path) == []


def test_prepared_data_is_listed_and_damage_named(monkeypatch, tmp_path, tiny_scenes):
    monkeypatch.setenv("T2I_DATA", str(tmp_path))
    (none,) = doctor.check_prepared_data()
    assert not none.good and not none.needed and "t2i prepare toy-scenes" in none.advice
    shutil.copytree(tiny_scenes, tmp_path / "good")
    shutil.copytree(tiny_scenes, tmp_path / "bad")
    arrow = next((tmp_path / "bad" / "train").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:-1])
    bad, good = doctor.check_prepared_data()
    assert (good.name, good.good, good.says) == ("data good", True, "toy-scenes, 32 px, 48 train and 24 test images")
    assert not bad.good and arrow.name in bad.advice


def test_shipped_weights_are_listed_and_damage_named(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    (none,) = doctor.check_weights()
    assert not none.good and none.needed and "t2i inspector" in none.advice
    facts = {"kind": "inspector", "world": "toy-scenes", "bytes": 3}
    (tmp_path / "toy-scenes-inspector.json").write_text(json.dumps(facts))
    (tmp_path / "toy-scenes-inspector.safetensors").write_bytes(b"abc")
    (there,) = doctor.check_weights()
    assert there.good and there.says == "toy-scenes inspector"
    (tmp_path / "toy-scenes-inspector.safetensors").write_bytes(b"ab")
    (cut,) = doctor.check_weights()
    assert not cut.good and "toy-scenes-inspector" in cut.says and "--world toy-scenes" in cut.advice
