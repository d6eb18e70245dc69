"""CLIP: text and image in one space, as the encoder, the judge and the critic's eyes of GALIP and RATLIP.

Two models with one interface, both transformers' CLIPModel: a tiny one, trained contrastively on the dataset at hand as
the first step of a run; and OpenAI's ViT-B/32, read from a folder. Both are frozen while a GAN trains.

Shapes: B images or captions, D the common space, C the ViT's width, G x G its grid of patches, T tokens.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.clip_tokens import BytePairs
from t2i_core.config import Profile, UserError, nearest, project_root
from t2i_core.data import CaptionDataset
from t2i_core.matcher import Matcher
from t2i_core.matching import sentence_loss
from t2i_core.text_encoder import Text

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP's training images
FOLDER = "T2I_CLIP"  # the environment variable that names the published model's folder
FILES = ("config.json", "model.safetensors", "vocab.json", "merges.txt")
PUBLISHED = "openai/clip-vit-base-patch32"


@dataclass(frozen=True)
class ClipConfig:
    """Sizes of both transformers, and which of the ViT's blocks GALIP looks at and prompts (numbered from 0).

    ``preprocessing``: "once" brings images from [-1, 1] to CLIP's values by bicubic resizing, mean and deviation;
    "double" is what GALIP's and RATLIP's published code does: it rescales twice, so that [-1, 1] arrives as [0.5, 1],
    and takes the nearest pixels. ``source``: the folder of published weights, or None for a model trained here.
    """

    text_dim: int = 64  # D
    resolution: int = 32
    patch: int = 4
    width: int = 48  # C
    layers: int = 3
    heads: int = 4
    text_width: int = 64
    text_layers: int = 2
    text_heads: int = 4
    context: int = 20  # tokens, with the start and the end of the caption
    feature_blocks: tuple[int, ...] = (0, 1)
    prompt_blocks: tuple[int, ...] = (0, 1, 2)
    preprocessing: str = "once"
    source: str | None = None

    def __post_init__(self):
        nearest(self.preprocessing, ("once", "double"), "preprocessing")
        if self.resolution % self.patch:
            raise UserError(
                f"the ViT's patches of {self.patch} px do not divide an image of {self.resolution} px: choose a "
                f"resolution that is a multiple of {self.patch}"
            )
        if any(not 0 <= k < self.layers for k in (*self.feature_blocks, *self.prompt_blocks)):
            raise UserError(f"feature and prompt blocks are numbered 0 to {self.layers - 1}")
        if not self.feature_blocks:
            raise UserError("without a feature block there is nothing for a discriminator to look at: choose one")

    @property
    def grid(self) -> int:
        """G: patches along a side."""
        return self.resolution // self.patch

    @classmethod
    def of(cls, p: Profile) -> ClipConfig:
        if p.name == "paper":
            return cls.vit_b_32(str(published_folder()))
        resolution = min(64, p.resolutions[-1])
        small = {"width": 32, "text_layers": 1, "text_width": 32} if p.name == "smoke" else {}
        return cls(p.text_dim, resolution, resolution // 8, context=p.max_words + 2, **small)

    @classmethod
    def vit_b_32(cls, source: str | None = None) -> ClipConfig:
        """OpenAI's ViT-B/32, with the blocks that GALIP and RATLIP choose."""
        return cls(512, 224, 32, 768, 12, 12, 512, 12, 8, 77, (1, 4, 8), tuple(range(1, 9)), source=source)


class Seen(NamedTuple):
    """image (B, D), the embedding; features (B, L, C, G, G), the patches after each of the L feature blocks."""

    image: Tensor
    features: Tensor


class CLIP(Matcher):
    """Reads captions into ``Text`` and images into :class:`Seen`; lends its frozen blocks to GALIP's mapper.

    Embeddings are not normalised: a cosine is for the caller to take. Words are the text transformer's states, each
    projected as the sentence is; since its attention is causal, a word knows those before it and not those after.
    """

    kind, title, Config = "clip", "CLIP", ClipConfig
    learning_rate, clip_gradient = 2e-3, 1.0

    def __init__(self, config: ClipConfig, vocabulary: Vocabulary | BytePairs):
        super().__init__(config, vocabulary)
        c = config
        self.start, self.end = vocabulary.start, vocabulary.end
        self.model = _published(c) if c.source else _transformers_model(c, self.start, self.end)
        self.stored = c.source is None
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    @classmethod
    def steps(cls, profile: Profile) -> int:
        return profile.clip_steps

    @classmethod
    def optimiser(cls, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05)

    def knows(self, dataset: CaptionDataset) -> bool:
        return not self.stored or super().knows(dataset)  # the published one reads any caption

    @classmethod
    def read_vocabulary(cls, path: Path) -> Vocabulary | BytePairs:
        return BytePairs.load(path) if BytePairs.wrote(path) else Vocabulary.load(path)

    # ------------------------------------------------------------------ captions

    def encode_text(self, captions: list[str] | Tokens) -> Text:
        """Captions longer than the context are cut at a word; `Tokens.notes` says so."""
        tokens = captions if isinstance(captions, Tokens) else self.vocabulary.tokenize(captions)
        tokens = tokens.to(self.mean.device)
        states = self.model.text_model(self._with_ends(tokens))
        projection = self.model.text_projection
        words = projection(states.last_hidden_state[:, 1:-1]).transpose(1, 2) * tokens.mask[:, None]
        return Text(words, projection(states.pooler_output), tokens.mask)

    def _with_ends(self, tokens: Tokens) -> Tensor:
        """(B, T + 2): start, words, end, and more ends where a caption is shorter; the first end is read."""
        ids = self.vocabulary.model_ids(tokens.ids).masked_fill(~tokens.mask, self.end)
        ids = F.pad(ids, (1, 1), value=self.end)
        ids[:, 0] = self.start
        return ids

    # ------------------------------------------------------------------ images

    def preprocess(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to what the ViT was trained on: its resolution, its mean and deviation."""
        size = (self.config.resolution,) * 2
        if self.config.preprocessing == "double":
            images = ((images + 1) / 2 + 1) / 2
            images = F.interpolate(images, size=size, mode="nearest")
        else:
            images = (images + 1) / 2
            if images.shape[-2:] != size:
                images = F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
        return (images - self.mean) / self.deviation

    def encode_image(self, images: Tensor) -> Seen:
        """One pass through the ViT for images (B, 3, H, W) in [-1, 1]."""
        vision, kept = self.model.vision_model, []
        x = vision.pre_layrnorm(vision.embeddings(self.preprocess(images)))
        for k, block in enumerate(vision.encoder.layers):
            x = block(x, None)
            if k in self.config.feature_blocks:
                kept.append(self._as_map(x))
        return Seen(self.model.visual_projection(vision.post_layernorm(x[:, 0])), torch.stack(kept, 1))

    def through(self, bridge: Tensor, prompts: Tensor) -> Tensor:
        """GALIP's mapper: a bridge feature (B, C, G, G) takes the place of the patches, runs through the frozen blocks,
        and comes out as (B, C, G, G). ``prompts`` (B, P, C): one more token for each prompted block, dropped after it.
        """
        vision, waiting = self.model.vision_model, iter(prompts.unbind(1))
        first = vision.embeddings.class_embedding.expand(len(bridge), 1, -1)
        x = torch.cat([first, bridge.flatten(2).transpose(1, 2)], 1)
        x = vision.pre_layrnorm(x + vision.embeddings.position_embedding.weight)
        for k, block in enumerate(vision.encoder.layers):
            if k in self.config.prompt_blocks:
                x = block(torch.cat([x, next(waiting)[:, None]], 1), None)[:, :-1]
            else:
                x = block(x, None)
        return self._as_map(x)

    def _as_map(self, x: Tensor) -> Tensor:
        """Tokens (B, 1 + G G, C) without the class token, as (B, C, G, G)."""
        return x[:, 1:].transpose(1, 2).unflatten(2, (self.config.grid, self.config.grid))

    def losses(self, images: Tensor, text: Text, class_ids: Tensor | None) -> dict[str, Tensor]:
        """CLIP's contrast of all pairs of the batch, with its learned scale; images of one class (the same species with
        captions that fit both) are no negatives of each other."""
        scale = self.model.logit_scale.exp().clamp(max=100.0)
        return {"contrast": sentence_loss(self.encode_image(images).image, text.sentence, scale, class_ids)}

    @property
    def frozen_parameters(self) -> int:
        """Parameters of the ViT that a GALIP or RATLIP generator runs through (its projection apart)."""
        return sum(p.numel() for p in self.model.vision_model.parameters())


def similarity(image: Tensor, sentence: Tensor) -> Tensor:
    """S of RATLIP E8: the cosine of image and sentence embeddings (B, D), (B,)."""
    wide = torch.promote_types(image.dtype, torch.float32)  # under autocast half precision comes in
    return F.cosine_similarity(image.to(wide), sentence.to(wide), dim=1)


def published_folder() -> Path:
    """Where OpenAI's ViT-B/32 lies: ``$T2I_CLIP``, the project's ``models`` folder, or Hugging Face's cache.

    Raises a UserError that says which files to put where.
    """
    asked = os.environ.get(FOLDER)
    ours = Path(asked) if asked else project_root() / "models" / "clip-vit-base-patch32"
    if all((ours / name).exists() for name in FILES):
        return ours
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(PUBLISHED, local_files_only=True, allow_patterns=list(FILES)))
    except Exception as error:  # the hub reports a missing cache by many exception types
        raise UserError(_how(ours)) from error
    if not all((cached / name).exists() for name in FILES):
        raise UserError(_how(ours))
    return cached


def _how(folder: Path) -> str:
    return (
        f"the published CLIP is not here: put {', '.join(FILES)} of {PUBLISHED} (huggingface.co) into {folder}, or set "
        f"{FOLDER} to the folder that holds them"
    )


def _transformers_model(c: ClipConfig, start: int, end: int) -> nn.Module:
    from transformers import CLIPConfig as Config
    from transformers import CLIPModel

    text = {"hidden_size": c.text_width, "num_hidden_layers": c.text_layers, "num_attention_heads": c.text_heads}
    text |= {"intermediate_size": 4 * c.text_width, "max_position_embeddings": c.context, "vocab_size": end + 1}
    text |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    vision = {"hidden_size": c.width, "num_hidden_layers": c.layers, "num_attention_heads": c.heads}
    vision |= {"intermediate_size": 4 * c.width, "image_size": c.resolution, "patch_size": c.patch}
    return CLIPModel(Config(text_config=text, vision_config=vision, projection_dim=c.text_dim))


def _published(c: ClipConfig) -> nn.Module:
    from transformers import CLIPConfig as Config
    from transformers import CLIPModel

    missing = [name for name in FILES if not (Path(c.source) / name).exists()]
    if missing:
        raise UserError(f"{c.source} lacks {', '.join(missing)}: {_how(Path(c.source))}")
    try:
        found = Config.from_pretrained(c.source, local_files_only=True)
        v, t = found.vision_config, found.text_config
        sizes = {
            "text_dim": found.projection_dim, "resolution": v.image_size, "patch": v.patch_size, "width": v.hidden_size,
            "layers": v.num_hidden_layers, "heads": v.num_attention_heads, "text_width": t.hidden_size,
            "text_layers": t.num_hidden_layers, "text_heads": t.num_attention_heads,
            "context": t.max_position_embeddings,
        }  # fmt: skip
        different = [f"{k} is {size}, not {getattr(c, k)}" for k, size in sizes.items() if size != getattr(c, k)]
        if different:
            raise UserError(
                f"{c.source} holds a CLIP of another architecture ({'; '.join(different)}): {_how(Path(c.source))}"
            )
        model, loaded = CLIPModel.from_pretrained(
            c.source, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        if loaded["missing_keys"]:  # transformers fills them with random numbers and goes on
            raise UserError(f"its weights lack {', '.join(sorted(loaded['missing_keys'])[:3])}")
        return model
    except Exception as error:  # transformers and safetensors report a damaged file by many exception types
        if isinstance(error, UserError) and c.source in str(error):
            raise
        raise UserError(f"{c.source} holds no CLIP that can be read ({error}): {_how(Path(c.source))}") from error
