"""OpenAI's CLIP RN101, whose image encoder is a ResNet: what GR-GAN's image-text matcher is built on.

The model is open_clip's, with the published weights read from a folder and frozen. Captions and images come out as
those of `clip.CLIP` do; what differs is the feature map, which a middle layer of the ResNet gives instead of the ViT's
patches: 14 x 14 regions of 1024 features after ``layer3``.

Shapes: B images or captions, D the common space, C and h x w the feature map's size, T tokens.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.clip import CLIP, DEVIATION, MEAN, Seen
from t2i_core.clip_tokens import BytePairs
from t2i_core.config import Profile, UserError, nearest, project_root
from t2i_core.data import CaptionDataset
from t2i_core.matcher import Matcher
from t2i_core.text_encoder import Text

FOLDER = "T2I_CLIP_RN101"  # the environment variable that names the published model's folder
ARCHITECTURE, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
FILES = (ARCHITECTURE, WEIGHTS, "vocab.json", "merges.txt")
PUBLISHED = "timm/resnet101_clip.openai"
LAYERS = ("layer1", "layer2", "layer3", "layer4")
NEVER_COMPARED = {"vision patch_size", "text hf_tokenizer_name", "text tokenizer_mode", "text tokenizer_kwargs"}


@dataclass(frozen=True)
class ResNetClipConfig:
    """Sizes of the ResNet and of the text transformer, and which of the ResNet's layers gives the feature map.

    ``preprocessing``: "once" brings images from [-1, 1] to CLIP's values by bicubic resizing, mean and deviation;
    "raw" is what GR-GAN's published code does: bilinear resizing alone, the network sees [-1, 1]. ``source``: the
    folder of published weights, or None for random ones.
    """

    text_dim: int = 512  # D
    resolution: int = 224
    stem: int = 64  # features in front of layer1
    layers: tuple[int, ...] = (3, 4, 23, 3)  # bottleneck blocks of each layer
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    context: int = 77  # tokens, with the start and the end of the caption
    feature_layer: str = "layer3"
    preprocessing: str = "once"
    source: str | None = None

    def __post_init__(self):
        nearest(self.preprocessing, ("once", "raw"), "preprocessing")
        nearest(self.feature_layer, LAYERS, "feature layer")
        if self.resolution % 32:
            raise UserError(
                f"the ResNet halves an image of {self.resolution} px five times: choose a resolution that is a "
                "multiple of 32"
            )
        if len(self.layers) != len(LAYERS) or self.stem % 2:
            raise UserError(f"the ResNet has {len(LAYERS)} layers and an even stem, not {self.layers} and {self.stem}")

    @property
    def _halvings(self) -> int:
        """How often the sides of layer1's output were halved in front of the feature map."""
        return LAYERS.index(self.feature_layer)

    @property
    def width(self) -> int:
        """C: the feature map's channels."""
        return 4 * self.stem * 2**self._halvings

    @property
    def grid(self) -> int:
        """h = w: regions along a side of the feature map."""
        return self.resolution // 4 // 2**self._halvings

    @classmethod
    def of(cls, p: Profile) -> ResNetClipConfig:
        """The published one at every profile: it comes in one size."""
        return cls.rn101(str(published_resnet_folder()))

    @classmethod
    def rn101(cls, source: str | None = None) -> ResNetClipConfig:
        """OpenAI's RN101, with the layer that GR-GAN takes its regions from."""
        return cls(source=source)


class ResNetCLIP(Matcher):
    """Reads captions into ``Text`` and images into ``clip.Seen``, whose features are the map of one layer (L = 1).

    Embeddings are not normalised, and words know only those before them, as in `clip.CLIP`. GR-GAN's code takes the
    words before the text projection; here they are projected, like those of every CLIP.

    Published weights are frozen from the start, and their batch norms keep their statistics whatever mode is set.
    """

    kind, title, Config = "clip-resnet", "CLIP RN101", ResNetClipConfig
    stored = False

    def __init__(self, config: ResNetClipConfig, vocabulary: Vocabulary | BytePairs):
        super().__init__(config, vocabulary)
        self.start, self.end = vocabulary.start, vocabulary.end
        self.stored = config.source is None
        architecture = _architecture(config, self.end)
        self.model = _published(config.source, architecture) if config.source else _open_clip().CLIP(**architecture)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        if config.source:
            self.freeze()

    def train(self, mode: bool = True) -> ResNetCLIP:
        return super().train(mode and self.stored)

    def knows(self, dataset: CaptionDataset) -> bool:
        return not self.stored or super().knows(dataset)  # the published one reads any caption

    @classmethod
    def read_vocabulary(cls, path: Path) -> Vocabulary | BytePairs:
        return CLIP.read_vocabulary(path)

    # ------------------------------------------------------------------ captions

    def encode_text(self, captions: list[str] | Tokens) -> Text:
        """Captions longer than the context are cut at a word; `Tokens.notes` says so."""
        tokens = captions if isinstance(captions, Tokens) else self.vocabulary.tokenize(captions)
        tokens = tokens.to(self.mean.device)
        ids, m = self._with_ends(tokens), self.model
        count = ids.shape[1]  # padding up to the context would change nothing: no token sees a later one
        x = m.token_embedding(ids) + m.positional_embedding[:count]
        states = m.ln_final(m.transformer(x, attn_mask=m.attn_mask[:count, :count])) @ m.text_projection
        words = states[:, 1:-1].transpose(1, 2) * tokens.mask[:, None]
        return Text(words, states[torch.arange(len(ids), device=ids.device), ids.argmax(1)], tokens.mask)

    def _with_ends(self, tokens: Tokens) -> Tensor:
        """(B, T + 2): start, words, end, and zeros where a caption is shorter; the end has the highest id."""
        room = self.config.context - 2
        if tokens.ids.shape[1] > room:
            raise UserError(
                f"a caption has {tokens.ids.shape[1]} tokens and CLIP reads {room}: cut captions at max_words={room}"
            )
        ids = F.pad(self.vocabulary.model_ids(tokens.ids).masked_fill(~tokens.mask, 0), (1, 1))
        ids[:, 0] = self.start
        return ids.scatter(1, tokens.mask.sum(1, keepdim=True) + 1, self.end)

    # ------------------------------------------------------------------ images

    def preprocess(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to the ResNet's resolution and the values its ``preprocessing`` says."""
        size = (self.config.resolution,) * 2
        if self.config.preprocessing == "raw":
            return F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        images = (images + 1) / 2
        if images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
        return (images - self.mean) / self.deviation

    def encode_image(self, images: Tensor) -> Seen:
        """One pass through the ResNet for images (B, 3, H, W) in [-1, 1]: image (B, D), features (B, 1, C, h, w)."""
        visual = self.model.visual
        x = visual.stem(self.preprocess(images))
        for name in LAYERS:
            x = getattr(visual, name)(x)
            if name == self.config.feature_layer:
                features = x
        return Seen(visual.attnpool(x), features[:, None])


def published_resnet_folder() -> Path:
    """Where OpenAI's RN101 lies: ``$T2I_CLIP_RN101``, the project's ``models`` folder, or Hugging Face's cache.

    Raises a UserError that says which files to put where.
    """
    asked = os.environ.get(FOLDER)
    ours = Path(asked) if asked else project_root() / "models" / "clip-rn101"
    if not _lacking(ours):
        return ours
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(PUBLISHED, local_files_only=True, allow_patterns=list(FILES)))
    except Exception as error:  # the hub reports a missing cache by many exception types
        raise UserError(f"the published CLIP RN101 is not here: {_how(ours)}") from error
    if _lacking(cached):
        raise UserError(f"the published CLIP RN101 is not here: {_how(ours)}")
    return cached


def _lacking(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).exists()]


def _how(folder: Path) -> str:
    return (
        f"put {', '.join(FILES)} of {PUBLISHED} (huggingface.co) into {folder}, or set {FOLDER} to the folder that "
        "holds them"
    )


def _open_clip():
    try:
        import open_clip
    except ImportError as error:
        raise UserError(
            f"CLIP RN101 needs the library open_clip, which cannot be imported ({error}): pip install open_clip_torch"
        ) from error
    return open_clip


def _architecture(c: ResNetClipConfig, end: int) -> dict:
    """The sizes as open_clip writes them down; OpenAI's models use the quick GELU."""
    vision = {"image_size": c.resolution, "layers": list(c.layers), "width": c.stem}
    text = {"context_length": c.context, "vocab_size": end + 1, "width": c.text_width}
    text |= {"heads": c.text_heads, "layers": c.text_layers}
    return {"embed_dim": c.text_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def _complete(architecture: dict) -> dict:
    """Name -> value of all that open_clip builds from an architecture, with open_clip's own defaults."""
    library = _open_clip()
    parts = {"vision": library.CLIPVisionCfg, "text": library.CLIPTextCfg}
    found = {k: v for k, v in architecture.items() if k.removesuffix("_cfg") not in parts}
    for part, cls in parts.items():
        found |= {f"{part} {k}": v for k, v in asdict(cls(**architecture[f"{part}_cfg"])).items()}
    return {k: v for k, v in found.items() if k not in NEVER_COMPARED}


def _published(source: str, architecture: dict) -> nn.Module:
    folder = Path(source)
    if _lacking(folder):
        raise UserError(f"{folder} lacks {', '.join(_lacking(folder))}: {_how(folder)}")
    wanted = _complete(architecture)
    try:
        found = _complete(json.loads((folder / ARCHITECTURE).read_text(encoding="utf-8"))["model_cfg"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / ARCHITECTURE} describes no CLIP ({error!r}): {_how(folder)}") from error
    different = [k for k in wanted | found if wanted.get(k) != found.get(k)]
    if different:
        listed = "; ".join(f"{k} is {found.get(k)}, not {wanted.get(k)}" for k in different)
        raise UserError(f"{folder} holds a CLIP of another architecture ({listed}): {_how(folder)}")
    model = _open_clip().CLIP(**architecture)
    model.load_state_dict(_read_weights(folder, model.state_dict()))
    return model


def _read_weights(folder: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the weights' file, each of the name, shape and type of ``wanted``; nothing is unpickled."""
    path = folder / WEIGHTS
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_how(folder)}") from error
    odd = [f"{k} is missing" for k in wanted if k not in found]
    odd += [f"{k} belongs to no layer" for k in found if k not in wanted]
    shapes = {k: (tuple(found[k].shape), tuple(wanted[k].shape)) for k in wanted.keys() & found.keys()}
    odd += [f"{k} is {there}, not {needed}" for k, (there, needed) in sorted(shapes.items()) if there != needed]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise UserError(f"{path} holds other weights ({'; '.join(odd[:3])}{more}): {_how(folder)}")
    return {k: tensor.to(wanted[k].dtype) for k, tensor in found.items()}
