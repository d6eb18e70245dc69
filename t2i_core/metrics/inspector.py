"""The inspector: a small network that reads a picture of a prepared dataset, and whose features serve FID.

For every image-level attribute it says which value; for every part name whether it is there, where (a heat map, a box),
in which colour and size. Truth trains it (see `build`), so that "did the system draw the red house on the left?" has an
answer that no other network's taste enters.

Shapes: B images, P part names, V values of a quality, G x G cells of the heat map, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.blocks import resize

READ_BATCH = 64  # what fits into a processor's cache: 256 take a tenth longer
MARGINS = 4  # of a box: distance of its sides from the heat map's centre, as (dx, dy, width, height)


@dataclass(frozen=True)
class InspectorConfig:
    """What an inspector can read, and its size.

    qualities: what a part may be told to be ("color", "size", "shape", ...) and the values it has.
    places, levels: name -> x (or y) of the middle of the things the truth calls so, in 0..1; a reading takes the
    nearest one. classes: the variables whose joint distribution is the Inception Score's p(y|x).
    """

    attributes: dict[str, list[str]] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    qualities: dict[str, list[str]] = field(default_factory=dict)
    places: dict[str, float] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    classes: list[list[str]] = field(default_factory=list)  # ["presence"], ["attribute", name] or ["color", part]
    width: int = 20
    features: int = 64
    resolution: int = 32

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def read(self) -> str:
        """How images come in, for the protocol."""
        return f"antialiased bilinear to {self.resolution} px, [-1, 1]"


@dataclass(frozen=True)
class Reading:
    """What the inspector sees in B images; probabilities on the CPU, float32.

    attributes {name: (B, V)}, presence (B, P), qualities {"color": (B, P, V), ...}, heat (B, P, G, G) with sum 1,
    box (B, P, 4) as x0, y0, x1, y1 in 0..1, centre (B, P, 2) its middle, features (B, F), classes (B, K) log-odds.
    Qualities, heat and box of a part that is not there mean nothing: ask `found` first.
    """

    config: InspectorConfig
    attributes: dict[str, Tensor]
    presence: Tensor
    qualities: dict[str, Tensor]
    heat: Tensor
    box: Tensor
    features: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.features)

    @property
    def color(self) -> Tensor:
        return self.qualities["color"]

    @property
    def size(self) -> Tensor:
        return self.qualities["size"]

    @property
    def centre(self) -> Tensor:
        return (self.box[..., :2] + self.box[..., 2:]) / 2

    @property
    def found(self) -> Tensor:
        """(B, P) True where the part is more likely there than not."""
        return self.presence > 0.5

    def attribute(self, name: str) -> list[str]:
        """The most likely value of an attribute, an image."""
        values = self.config.attributes[name]
        return [values[k] for k in self.attributes[name].argmax(1).tolist()]

    def says(self, kind: str) -> list[list[str]]:
        """(B, P) words for a kind of `kinds`, whether the part was found or not."""
        if kind in self.qualities:
            names = self.config.qualities[kind]
            chosen = self.qualities[kind].argmax(2)
        else:
            rule = self.config.places if kind == "place" else self.config.levels
            names = list(rule)
            where = self.centre[..., 0 if kind == "place" else 1]
            chosen = (where[..., None] - torch.tensor([rule[name] for name in names])).abs().argmin(2)
        return [[names[k] for k in row] for row in chosen.tolist()]

    def kinds(self) -> tuple[str, ...]:
        """What this inspector can say of a part: its qualities, "place" and "level" where the world has them."""
        layout = {"place": self.config.places, "level": self.config.levels}
        return (*self.config.qualities, *(kind for kind, rule in layout.items() if rule))


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    padding = 1 if kernel > 1 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Inspector(nn.Module):
    """Images (B, 3, R, R) in [-1, 1], any R, resized to 32 px with antialias.

    A pyramid of 32, 16 and 8 px; the heat maps live on half the input's grid. Softmax of a part's heat map over the
    grid weights the features from which its presence, qualities and box are read, so they are read *at* the part. In
    eval mode an image reads the same alone and in a batch.
    """

    name = "inspector"

    def __init__(self, config: InspectorConfig):
        super().__init__()
        self.config = config
        w, parts, hidden = config.width, len(config.parts), 4 * config.width
        self.fine = nn.Sequential(_conv(3, w), _conv(w, 2 * w, 4, 2), _Residual(2 * w))
        self.coarse = nn.Sequential(_conv(2 * w, 4 * w, 4, 2), _Residual(4 * w))
        cells = config.resolution // 8
        self.summary = nn.Sequential(
            _conv(4 * w, 2 * w, 4, 2), nn.Flatten(), nn.Linear(2 * w * cells * cells, config.features)
        )
        # features are given in units of their spread over the training images, so that a kernel or a distance of them
        # does not hang on how large the layer's weights happened to grow
        self.register_buffer("middle", torch.zeros(config.features))
        self.register_buffer("spread", torch.ones(config.features))
        self.attribute_heads = nn.ModuleDict(
            {_key(name): nn.Linear(config.features, len(values)) for name, values in config.attributes.items()}
        )
        if parts:
            colors = len(config.qualities.get("color", ()))
            self.contents = nn.Linear(config.features, parts + colors)  # keeps objects and colours in the features
            self.back = _conv(4 * w, 2 * w, 1)
            self.mix = _conv(4 * w, 2 * w)
            self.heat_head = nn.Conv2d(2 * w, parts, 1)
            self.part_code = nn.Parameter(torch.randn(parts, 8))
            self.reader = nn.Sequential(
                nn.Linear(2 * w + 8 + 6, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
            )
            self.part_head = nn.Linear(hidden, 1 + MARGINS + sum(len(values) for values in config.qualities.values()))

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Raw outputs: features, attributes {name: logits} and, where there are parts, presence and heat (logits), box,
        qualities {kind: logits}, contents (B, P + colours): logits of what the picture holds, from the features."""
        c = self.config
        fine, coarse, features = self._look(images)
        seen = F.relu(features)
        out: dict[str, Any] = {"features": (features - self.middle) / self.spread}
        out["attributes"] = {name: self.attribute_heads[_key(name)](seen) for name in c.attributes}
        if c.parts:
            up = F.interpolate(self.back(coarse), scale_factor=2.0, mode="bilinear", align_corners=False)
            out |= self._read_parts(self.mix(torch.cat([fine, up], 1))) | {"contents": self.contents(seen)}
        return out

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(resize(images, self.config.resolution))
        coarse = self.coarse(fine)
        return fine, coarse, self.summary(coarse).float()

    def _read_parts(self, fields: Tensor) -> dict[str, Any]:
        c = self.config
        batch, side = len(fields), fields.shape[-1]
        heat = self.heat_head(fields).float()
        flat = heat.flatten(2)
        weight = flat.softmax(2)
        pooled = torch.einsum("bpn,bcn->bpc", weight.to(fields.dtype), fields.flatten(2))
        place = (torch.arange(side, device=fields.device) + 0.5) / side
        x, y = place.repeat(side), place.repeat_interleave(side)
        centre = torch.stack([weight @ x, weight @ y], 2)
        spread = torch.stack([weight @ (x * x), weight @ (y * y)], 2) - centre.square()
        spread = spread.clamp(min=1e-6).sqrt()
        peak = torch.stack([flat.amax(2), flat.logsumexp(2)], 2) / 4
        code = self.part_code.expand(batch, -1, -1)
        read = self.part_head(self.reader(torch.cat([pooled.float(), code, peak, centre, spread], 2))).float()
        presence, margins, *rest = read.split([1, MARGINS, *(len(values) for values in c.qualities.values())], 2)
        middle = centre + 0.1 * margins[..., :2]
        half = spread * (1.5 * margins[..., 2:] * 0.2).exp()
        box = torch.cat([middle - half, middle + half], 2)
        qualities = dict(zip(c.qualities, rest, strict=True))
        return {"presence": presence.squeeze(2), "qualities": qualities, "heat": heat, "box": box}

    @torch.no_grad()
    def standardise(self, batches: Iterable[Tensor]) -> Inspector:
        """Fix mean and spread of the features as those of the images in ``batches``."""
        self.middle.zero_()
        self.spread.fill_(1.0)
        seen = torch.cat([self.eval()(images)["features"].double() for images in batches])
        self.middle.copy_(seen.mean(0))
        self.spread.copy_(seen.std(0).clamp(min=1e-3))
        return self

    @torch.no_grad()
    def read(self, images: Tensor, batch_size: int = READ_BATCH) -> Reading:
        """Read all images, ``batch_size`` at a time; only the number of images decides, never the batch size."""
        parts = [self._one_reading(self(part)) for part in self._batches(images, batch_size)]
        return Reading(self.config, **{name: _joined([part[name] for part in parts]) for name in parts[0]})

    def _one_reading(self, raw: dict[str, Any]) -> dict[str, Any]:
        c, batch, side = self.config, len(raw["features"]), self.config.resolution // 2
        if not c.parts:
            none = raw["features"].new_zeros(batch, 0)
            raw = raw | {"presence": none, "qualities": {}, "box": none[..., None].expand(-1, -1, 4)}
            raw["heat"] = none[..., None, None].expand(-1, -1, side, side)
        return {
            "attributes": {name: logits.softmax(1) for name, logits in raw["attributes"].items()},
            "presence": raw["presence"].sigmoid(),
            "qualities": {kind: logits.softmax(2) for kind, logits in raw["qualities"].items()},
            "heat": raw["heat"].flatten(2).softmax(2).view(batch, len(c.parts), side, side),
            "box": raw["box"].clamp(0, 1),
            "features": raw["features"],
            "classes": self._classes(raw),
        }

    def _classes(self, raw: dict[str, Any]) -> Tensor:
        """log p(y|x) (B, K) of the joint of the config's `classes`, taken as independent given the image."""
        joint = raw["features"].new_zeros(len(raw["features"]), 1)
        for kind, *which in self.config.classes:
            if kind == "presence":
                logits = raw["presence"]
            elif kind == "color":
                logits = raw["qualities"]["color"][:, self.config.parts.index(which[0])]
            else:
                logits = raw["attributes"][which[0]]
            joint = (joint[:, :, None] + logits.log_softmax(1)[:, None, :]).flatten(1)
        return joint

    @torch.no_grad()
    def features(self, images: Tensor, batch_size: int = READ_BATCH) -> Tensor:
        """The FID features (n, F) alone: those of :meth:`read`, without what looks for parts, a quarter of its work."""
        seen = [self._look(part)[2] for part in self._batches(images, batch_size)]
        return ((torch.cat(seen) - self.middle) / self.spread).cpu()

    def _batches(self, images: Tensor, batch_size: int) -> Iterator[Tensor]:
        device = next(self.parameters()).device
        for part in images.split(batch_size):
            # channels last, which convolutions on a CPU are quicker with; a GPU picks its own way
            yield part.to(device).float().contiguous(memory_format=torch.channels_last)


def _key(name: str) -> str:
    """A module name for an attribute: torch forbids dots."""
    return name.replace(".", "_")


def _joined(pieces: list) -> Any:
    if isinstance(pieces[0], dict):
        return {name: _joined([piece[name] for piece in pieces]) for name in pieces[0]}
    return torch.cat(pieces).cpu()
