"""What the text-image encoders share (DAMSM, CLIP): frozen once trained, saved with their vocabulary, trained as the
first step of a run from scratch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.config import Profile, UserError, atomic_write, write_json
from t2i_core.data import Batch, CaptionDataset
from t2i_core.falsify import Falsified
from t2i_core.image_encoder import Regions
from t2i_core.matching import FalseSentences, sentence_loss, word_loss
from t2i_core.text_encoder import Text


class Matcher(nn.Module):
    """Reads captions and images into one space. Gives the systems their words and sentence, and terms of their losses.

    Subclasses set ``kind``, ``Config`` (a frozen dataclass with ``text_dim`` and ``of(profile)``) and how they are
    trained, and define the three methods that raise here.
    """

    kind: ClassVar[str]
    Config: ClassVar[type]
    title: ClassVar[str]  # in messages and progress bars
    learning_rate: ClassVar[float]
    clip_gradient: ClassVar[float]
    stored: bool = True  # a run's own files hold its weights; else they are loaded from where they were published

    def __init__(self, config: Any, vocabulary: Vocabulary):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary

    def begin(self) -> None:
        """Read the published weights that its training starts from, if any. What was trained holds them itself."""

    def encode_text(self, captions: list[str] | Tokens) -> Text:
        raise TypeError(f"{type(self).__name__} must define encode_text")

    def encode_image(self, images: Tensor) -> Any:
        raise TypeError(f"{type(self).__name__} must define encode_image")

    def losses(self, images: Tensor, text: Text, class_ids: Tensor | None) -> dict[str, Tensor]:
        """What it is trained by: named scalars for images (B, 3, R, R) and their captions."""
        raise TypeError(f"{type(self).__name__} must define losses")

    @property
    def falsifies(self) -> bool:
        """Is it trained with captions made false, so that its batches must have them?"""
        return False

    def training_losses(self, batch: Batch, draw: torch.Generator, done: float = 1.0) -> dict[str, Tensor]:
        """The losses of one step of its training; ``draw`` is for whatever is random in them, ``done`` the share of the
        training that lies behind."""
        return self.losses(batch.images[-1], self.encode_text(batch.tokens), batch.class_ids)

    @classmethod
    def steps(cls, profile: Profile) -> int:
        """How long a profile trains it."""
        return profile.matcher_steps

    @classmethod
    def rate(cls, profile: Profile) -> float:
        """The learning rate at a profile."""
        return cls.learning_rate

    @classmethod
    def optimiser(cls, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.5, 0.999), fused=True)

    def knows(self, dataset: CaptionDataset) -> bool:
        """Was it trained on the captions of this dataset?"""
        return self.vocabulary.hash == dataset.vocabulary(self.vocabulary.max_words).hash

    def freeze(self) -> Matcher:
        return self.eval().requires_grad_(False)

    def save(self, folder: str | Path, **facts) -> Path:
        """weights.safetensors (if ``stored``), vocabulary.json and, last, matcher.json with the configuration and
        ``facts``."""
        folder = Path(folder)
        if self.stored:
            write_weights(folder / "weights.safetensors", self.vocabulary, {"": self})
        self.describe(folder, **facts)
        return folder

    def describe(self, folder: str | Path, **facts) -> None:
        """vocabulary.json and matcher.json: what the weights beside them are to be read with."""
        self.vocabulary.save(Path(folder) / "vocabulary.json")
        told = {"kind": self.kind, "config": dataclasses.asdict(self.config), **facts}
        write_json(Path(folder) / "matcher.json", told)

    @classmethod
    def load(cls, folder: str | Path) -> Matcher:
        """What :meth:`save` wrote, frozen. A UserError where it is missing, damaged or put together of two models."""
        model = cls.untrained(folder)
        if model.stored:
            read_weights(Path(folder) / "weights.safetensors", model.vocabulary, {"": model})
        return model.freeze()

    @classmethod
    def untrained(cls, folder: str | Path) -> Matcher:
        """The model that matcher.json and vocabulary.json in ``folder`` describe, with fresh weights."""
        path = Path(folder) / "matcher.json"
        found = read_facts(path)
        if found.get("kind", cls.kind) != cls.kind:
            raise UserError(f"{folder} holds a {found['kind']} model, where a {cls.kind} model is needed")
        try:
            config = cls.Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in found["config"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} describes no matching model ({error!r}): train one in another folder") from error
        return cls(config, cls.read_vocabulary(path.with_name("vocabulary.json")))

    @classmethod
    def read_vocabulary(cls, path: Path) -> Vocabulary:
        return Vocabulary.load(path)


class RegionMatcher(Matcher):
    """Those that compare images with captions as wholes and region by word (DAMSM, ITM).

    ``encode_image`` gives :class:`~t2i_core.image_encoder.Regions`; the configuration has gamma1, gamma2 and gamma3.
    """

    def losses(
        self,
        images: Tensor,
        text: Text,
        class_ids: Tensor | None,
        terms: Sequence[str] = ("words", "sentence"),
        false: FalseSentences | None = None,
    ) -> dict[str, Tensor]:
        """The two terms (GR-GAN E8, E9 without its weights), or one of them, for images (B, 3, R, R). ``false`` are
        more negatives of the sentence's."""
        return self.compared(self.encode_image(images), text, class_ids, terms, false)

    def compared(
        self,
        seen: Regions,
        text: Text,
        class_ids: Tensor | None,
        terms: Sequence[str] = ("words", "sentence"),
        false: FalseSentences | None = None,
    ) -> dict[str, Tensor]:
        """:meth:`losses` of images that were looked at before."""
        c, found = self.config, {}
        if "words" in terms:
            gammas = c.gamma1, c.gamma2, c.gamma3
            found["words"] = word_loss(seen.regions, text.words, text.mask, class_ids, *gammas)
        if "sentence" in terms:
            found["sentence"] = sentence_loss(seen.image, text.sentence, c.gamma3, class_ids, false)
        return found

    def encode_false(self, falsified: Falsified | None) -> FalseSentences | None:
        """The sentences of captions made false; None where there are none."""
        if falsified is None:
            return None
        sentences = self.encode_text(falsified.tokens).sentence
        return FalseSentences(sentences.unflatten(0, falsified.possible.shape), falsified.possible)


def read_facts(path: Path) -> dict:
    """The content of a matcher.json; a UserError where there is none, or a damaged one."""
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
