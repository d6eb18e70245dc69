"""The matching model (DAMSM): text and image encoder, pre-trained together, frozen afterwards.

It gives the generators their words and sentence, and the DAMSM term of their loss. Its pre-training is the first step
of every run from scratch.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.config import Profile, UserError, atomic_write, write_json
from t2i_core.data import BatchStream, CaptionDataset
from t2i_core.image_encoder import ImageEncoder, InceptionEncoder, Regions
from t2i_core.matching import sentence_loss, word_loss
from t2i_core.text_encoder import Text, TextEncoder


@dataclass(frozen=True)
class MatcherConfig:
    """gamma1, 2, 3 are DAMSM's (attention over regions, over words, contrast between captions)."""

    text_dim: int = 64
    resolution: int = 32
    width: int = 24
    image_encoder: str = "conv"  # or "inception": frozen Inception-v3, the published one
    inception_weights: str | None = None
    gamma1: float = 5.0
    gamma2: float = 5.0
    gamma3: float = 10.0

    @classmethod
    def of(cls, p: Profile) -> MatcherConfig:
        if p.name == "paper":  # the published constants for CUB
            return cls(p.text_dim, p.resolutions[-1], image_encoder="inception", gamma1=4.0)
        return cls(p.text_dim, min(32, p.resolutions[-1]), width=16 if p.name == "smoke" else 24)


class DAMSM(nn.Module):
    """Text encoder and image encoder with one space of ``text_dim`` features between them."""

    def __init__(self, config: MatcherConfig, vocabulary: Vocabulary):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.text_encoder = TextEncoder(len(vocabulary), config.text_dim)
        if config.image_encoder == "inception":
            self.image_encoder: nn.Module = InceptionEncoder(config.text_dim, config.inception_weights)
        else:
            self.image_encoder = ImageEncoder(config.text_dim, config.resolution, config.width)

    def encode_text(self, captions: list[str] | Tokens) -> Text:
        tokens = captions if isinstance(captions, Tokens) else self.vocabulary.tokenize(captions)
        return self.text_encoder(tokens.to(next(self.text_encoder.parameters()).device))

    def encode_image(self, images: Tensor) -> Regions:
        return self.image_encoder(images)

    def losses(self, images: Tensor, text: Text, class_ids: Tensor | None) -> dict[str, Tensor]:
        """DAMSM's two terms, ``words`` and ``sentence``, for images (B, 3, R, R) and their captions."""
        seen = self.encode_image(images)
        c = self.config
        words = word_loss(seen.regions, text.words, text.mask, class_ids, c.gamma1, c.gamma2, c.gamma3)
        return {"words": words, "sentence": sentence_loss(seen.image, text.sentence, c.gamma3, class_ids)}

    def freeze(self) -> DAMSM:
        return self.eval().requires_grad_(False)

    def save(self, folder: str | Path, **facts) -> Path:
        """weights.safetensors, vocabulary.json and, last, matcher.json with the configuration and ``facts``."""
        folder = Path(folder)
        write_weights(folder / "weights.safetensors", self.vocabulary, {"": self})
        self.vocabulary.save(folder / "vocabulary.json")
        write_json(folder / "matcher.json", {"config": dataclasses.asdict(self.config), **facts})
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> DAMSM:
        """What :meth:`save` wrote, frozen. A UserError where it is missing, damaged or put together of two models."""
        model = cls.untrained(folder)
        read_weights(Path(folder) / "weights.safetensors", model.vocabulary, {"": model})
        return model.freeze()

    @classmethod
    def untrained(cls, folder: str | Path) -> DAMSM:
        """The model that matcher.json and vocabulary.json in ``folder`` describe, with fresh weights."""
        path = Path(folder) / "matcher.json"
        try:
            config = MatcherConfig(**_facts(path)["config"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} describes no matching model ({error!r}): train one in another folder") from error
        return cls(config, Vocabulary.load(path.with_name("vocabulary.json")))


def _facts(path: Path) -> dict:
    if not path.exists():
        raise UserError(f"{path.parent} holds no matching model: without --matcher, a run trains one as its first step")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete {path.parent} and train it again") from error


def write_weights(path: str | Path, vocabulary: Vocabulary, modules: dict[str, nn.Module]) -> Path:
    """A safetensors file of the modules' tensors, each name behind its module's prefix, that knows its vocabulary."""
    named = {prefix + name: tensor for prefix, m in modules.items() for name, tensor in m.state_dict().items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    return atomic_write(path, save_safetensors(tensors, {"vocabulary": vocabulary.hash}))


def read_weights(path: str | Path, vocabulary: Vocabulary, modules: dict[str, nn.Module]) -> None:
    """Load what :func:`write_weights` wrote. A UserError for a damaged file, another vocabulary or other layers."""
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("vocabulary", vocabulary.hash)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): train it again in another folder") from error
    if found != vocabulary.hash:
        raise UserError(
            f"{path} was trained with vocabulary {found}, the one beside it is {vocabulary.hash}: the words would mean "
            "something else; put the vocabulary.json it was trained with there"
        )
    try:
        for prefix, module in modules.items():
            chosen = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(chosen)
    except RuntimeError as error:
        raise UserError(f"{path} holds other layers than the configuration beside it: {error}") from error


def train_matcher(
    dataset: CaptionDataset,
    out: str | Path,
    profile: Profile,
    seed: int = 0,
    steps: int | None = None,
    learning_rate: float = 2e-3,
    config: MatcherConfig | None = None,
    progress=None,
) -> DAMSM:
    """Pre-train DAMSM on a split and save it to ``out``; a folder that already holds this very training is loaded.

    Adam with a one-cycle schedule, gradients clipped at 0.25 as in AttnGAN. ``progress(steps)`` gives an iterable of
    steps that shows how far it is.
    """
    out = Path(out)
    steps = steps or profile.matcher_steps
    config = config or MatcherConfig.of(profile)
    vocabulary = dataset.vocabulary(profile.max_words)
    asked = {
        "config": dataclasses.asdict(config),
        "seed": seed,
        "steps": steps,
        "batch_size": profile.matcher_batch,
        "learning_rate": learning_rate,
        "vocabulary": vocabulary.hash,
        "data": dataset.manifest["name"],
        "images": len(dataset),
    }
    if (out / "matcher.json").exists():
        found = _facts(out / "matcher.json")
        if all(found.get(key) == value for key, value in asked.items()):
            return DAMSM.load(out).to(dataset.device)
        raise UserError(f"{out} holds a matching model of another configuration: choose another folder or remove it")
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DAMSM(config, vocabulary).to(dataset.device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps + 1, pct_start=0.1)
    stream = BatchStream(dataset, vocabulary, profile.matcher_batch, seed)
    history: dict[str, list[Tensor]] = {"words": [], "sentence": []}
    for step in progress(range(steps)) if progress else range(steps):
        batch = stream.at(step)
        losses = model.losses(batch.images[-1], model.encode_text(batch.tokens), batch.class_ids)
        optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimiser.step()
        schedule.step()
        for name, loss in losses.items():
            history[name].append(loss.detach())
    log = {name: torch.stack(values).tolist() for name, values in history.items()}
    for name, values in log.items():
        if not torch.tensor(values).isfinite().all():
            raise FloatingPointError(f"the matching model's {name} loss became non-finite: lower the learning rate")
    model.freeze().save(out, **asked, train_seconds=time.perf_counter() - started, log=log)
    return model
