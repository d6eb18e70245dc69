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
from safetensors.torch import load as load_safetensors
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
        atomic_write(folder / "weights.safetensors", save_safetensors(_contiguous(self.state_dict())))
        self.vocabulary.save(folder / "vocabulary.json")
        write_json(folder / "matcher.json", {"config": dataclasses.asdict(self.config), **facts})
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> DAMSM:
        folder = Path(folder)
        if not (folder / "matcher.json").exists():
            raise UserError(f"{folder} holds no matching model: train one with `t2i train --matcher-only --out {folder}`")
        config = MatcherConfig(**json.loads((folder / "matcher.json").read_text())["config"])
        model = cls(config, Vocabulary.load(folder / "vocabulary.json"))
        model.load_state_dict(load_safetensors((folder / "weights.safetensors").read_bytes()))
        return model.freeze()


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


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
        found = json.loads((out / "matcher.json").read_text())
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
