"""The shipped instruments: safetensors in half precision, and beside each a JSON that says where it comes from.

    t2i_core/weights/<world>-inspector.safetensors   <world>-inspector.json
    t2i_core/weights/<world>-scorer.safetensors      <world>-scorer.json

The JSON holds the configuration, the sha256 of the weights, and the provenance: command, data (arguments and file
hashes), steps, seed, device, seconds, accuracy on held-out images.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from t2i_core.captions import Vocabulary
from t2i_core.config import UserError, atomic_write, write_json
from t2i_core.damsm import DAMSM, MatcherConfig
from t2i_core.metrics.inspector import Inspector, InspectorConfig

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
FALLBACK = "toy-scenes"
Module = TypeVar("Module", bound=nn.Module)


def halved(model: Module) -> Module:
    """A copy whose weights went through half precision once: what will be read back from the file."""
    model = copy.deepcopy(model).float().cpu()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    return model.eval().requires_grad_(False)


def save(
    folder: str | Path, world: str, kind: str, model: nn.Module, config: dict[str, Any], provenance: dict[str, Any]
) -> Path:
    """Write weights, then the JSON that vouches for them; returns the weights' path."""
    state = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in model.state_dict().items()}
    data = save_safetensors(state)
    path = atomic_write(Path(folder) / f"{world}-{kind}.safetensors", data)
    facts = {"kind": kind, "world": world, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_json(path.with_suffix(".json"), {**facts, "config": config, "provenance": provenance})
    return path


def read(folder: str | Path, world: str, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The JSON and the tensors (float32); weights that do not match their JSON's sha256 raise a UserError."""
    path = Path(folder) / f"{world}-{kind}.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise UserError(f"{path} does not match the sha256 in {path.stem}.json: fetch or build both again")
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in load_safetensors(data).items()}
    return card, tensors


def exists(world: str, kind: str, folder: str | Path | None = None) -> bool:
    path = Path(folder or SHIPPED) / f"{world}-{kind}.safetensors"
    return path.exists() and path.with_suffix(".json").exists()


def available(kind: str = "inspector", folder: str | Path | None = None) -> tuple[str, ...]:
    """The worlds that have one."""
    names = sorted(path.name for path in Path(folder or SHIPPED).glob(f"*-{kind}.json"))
    return tuple(name.removesuffix(f"-{kind}.json") for name in names)


def load_inspector(world: str, device: str | torch.device = "cpu", folder: str | Path | None = None) -> Inspector:
    """The inspector of a world, frozen, with ``card`` (its JSON) and ``told`` (its lines in a protocol).

    Looked for in ``folder``, then among the shipped. A dataset without one of its own (a user's folder) gets that of
    toy-scenes: its features still tell pictures apart, its answers about objects mean nothing there; ``told`` says so
    and ``own`` is False. ``accuracy`` {question: share of right answers on held-out pictures}.
    """
    place, own = _where(world, "inspector", folder), True
    if place is None:
        place, own = _where(FALLBACK, "inspector", folder), False
    if place is None:
        raise UserError(f"there is no inspector for {world!r}: build one with `t2i inspector --world {world}`")
    card, tensors = read(place, world if own else FALLBACK, "inspector")
    model = Inspector(InspectorConfig(**card["config"]))
    model.load_state_dict(tensors)
    model.card, model.own = card, own
    accuracy = {name: entry["value"] for name, entry in card["provenance"].get("held_out", {}).items()}
    model.accuracy = accuracy if own else {}
    model.told = {"extractor": _name(card), "resize": model.config.read}
    if not own:
        model.told["note"] = f"no inspector was trained on {world}: features of the {FALLBACK} inspector"
    return model.to(device).eval().requires_grad_(False)


def load_scorer(world: str, device: str | torch.device = "cpu", folder: str | Path | None = None) -> DAMSM | None:
    """The scoring text-image encoder of a world, frozen, with ``card`` and ``told``; None where there is none, because
    one of another world would not know the words."""
    place = _where(world, "scorer", folder)
    if place is None:
        return None
    card, tensors = read(place, world, "scorer")
    matcher = MatcherConfig(**card["config"]["matcher"])
    model = DAMSM(matcher, Vocabulary(tuple(card["config"]["words"]), card["config"]["max_words"]))
    model.load_state_dict(tensors)
    model.card = card
    model.told = {"scorer": _name(card), "resize": f"antialiased bilinear to {matcher.resolution} px, [-1, 1]"}
    return model.freeze().to(device)


def _where(world: str, kind: str, folder: str | Path | None) -> Path | None:
    places = [Path(folder)] if folder is not None else []
    return next((place for place in [*places, SHIPPED] if exists(world, kind, place)), None)


def _name(card: dict[str, Any]) -> str:
    return f"{card['world']} {card['kind']} {card['sha256'][:12]}"
