"""Small systems, captions and batches that several test files share: float64, so that only a real difference shows."""

from __future__ import annotations

import torch

from t2i_core import systems
from t2i_core.captions import Tokens, Vocabulary
from t2i_core.clip import CLIP, ClipConfig
from t2i_core.damsm import DAMSM, MatcherConfig
from t2i_core.data import Batch
from t2i_core.falsify import Falsified
from t2i_core.itm import ITM, ITMConfig

CAPTIONS = (
    "a small red house stands on the left",  # 8 words
    "dog",
    "the blue house",
    "a red dog on the left",
)
VOCABULARY = Vocabulary.build(CAPTIONS, max_words=8)
RESOLUTIONS = (8, 16, 32)
# ngf, ndf and the noise are as small as the layers allow; 9 random numbers an image are no multiple of anything
SIZES = {"ngf": 8, "ndf": 4, "noise_dim": 5, "condition_dim": 4}
# a grid of 4 x 4 patches; one block is looked at and not prompted, one the other way round, one both
CLIP_SIZES = dict(text_dim=12, patch=8, width=16, layers=3, heads=2, text_width=8, text_layers=2, text_heads=2)
CLIP_SIZES |= dict(context=10, feature_blocks=(0, 2), prompt_blocks=(1, 2))


def matcher(text_dim: int = 12, seed: int = 0, **settings) -> DAMSM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DAMSM(MatcherConfig(text_dim, resolution=32, width=8, **settings), VOCABULARY).double().freeze()


def system(name: str, variant: str = "default", seed: int = 0, **switches) -> systems.System:
    """A system in float64 and eval mode, whose batch norms have statistics and scales of their own."""
    own = itm() if systems.matcher_kind(name, variant, switches) == "itm" else matcher()
    built = systems.create(name, "smoke", variant=variant, matcher=own, seed=seed, **(SIZES | switches)).double()
    own_statistics(built)
    for stage in built.generator.stages:
        if hasattr(stage.attention, "project"):
            stage.attention.project.weight.data *= (
                20  # an untrained matcher's words are small: attention would be uniform
            )
    return built.eval()


@torch.no_grad()
def own_statistics(built: systems.System) -> None:
    """Running means and variances of batch norm as after some training."""
    draw = torch.Generator().manual_seed(7)
    for part in (built.generator, built.discriminators):
        for norm in (m for m in part.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)):
            norm.running_mean.copy_(0.1 * torch.randn(norm.num_features, generator=draw))
            norm.running_var.copy_(0.5 + torch.rand(norm.num_features, generator=draw))


def clip(seed: int = 0, **sizes) -> CLIP:
    """A CLIP whose biases, positions and norms all count: as transformers starts them, many of them do nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(ClipConfig(**(CLIP_SIZES | sizes)), VOCABULARY).double()
        stirred(model.model, 0.5)
    return model.freeze()


def itm(seed: int = 0) -> ITM:
    """An ITM on that CLIP, whose own layers have left their start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        model = ITM(ITMConfig(ClipConfig(**CLIP_SIZES)), VOCABULARY, clip(seed)).double()
        stirred(model.sentence, 0.5)
        stirred(model.image, 0.5)
    return model.freeze()


def one_stage(name: str, variant: str = "default", seed: int = 0, matcher=None, **switches) -> systems.System:
    """DF-GAN, GALIP or RATLIP in float64 and eval mode, whose affines, gates and residuals have left their start."""
    matcher = matcher or (damsm() if systems.matcher_kind(name, variant, switches) == "damsm" else clip())
    sizes = {"ngf": 8, "ndf": 4, "noise_dim": 5} | ({} if name == "df-gan" else {"code_channels": 16})
    built = systems.create(name, "smoke", variant=variant, matcher=matcher, seed=seed, **(sizes | switches)).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        stirred(built.generator, 0.5)
        stirred(built.discriminators, 0.5)
    return built.eval()


def comparison(name: str, variant: str = "default", seed: int = 0, **switches) -> systems.System:
    """CGAN, GAN-CLS, StackGAN or SDN in float64 and eval mode, whose layers have left their start."""
    sizes = {"ngf": 8, "ndf": 4, "noise_dim": 5, "text_features": 6}
    sizes |= {"stackgan": {"condition_dim": 4}, "sdn": {"fc_width": 10}}.get(name, {})
    built = systems.create(name, "smoke", variant=variant, matcher=matcher(), seed=seed, **(sizes | switches)).double()
    own_statistics(built)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        stirred(built.generator, 1.5)
        stirred(built.discriminators, 1.5)
    return built.eval()


@torch.no_grad()
def stirred(module: torch.nn.Module, by: float) -> None:
    """Random numbers on top of all parameters, such that no layer's output grows or vanishes."""
    for parameter in module.parameters():
        inputs = parameter[0].numel() if parameter.dim() > 1 else 1
        parameter += by * torch.randn_like(parameter) / inputs**0.5


def batch(captions=CAPTIONS, class_ids=None, seed: int = 0) -> Batch:
    """Random images of every stage's size beside the captions."""
    draw = torch.Generator().manual_seed(seed)
    count = len(captions)
    images = [2 * torch.rand(count, 3, r, r, generator=draw, dtype=torch.float64) - 1 for r in RESOLUTIONS]
    classes = torch.arange(count) if class_ids is None else torch.tensor(class_ids)
    tokens: Tokens = VOCABULARY.tokenize(captions)
    return Batch(images, tokens, classes, torch.arange(count), torch.zeros(count, dtype=torch.long))


def false_captions() -> Falsified:
    """`CAPTIONS` made false: in a first way none of them, in a second all but the one that is a single word."""
    captions = ("a small blue house stands on the left", "dog", "the red house", "a blue dog on the left")
    possible = torch.tensor([[False] * 4, [True, False, True, True]])
    words = torch.tensor([VOCABULARY.index[word] for word in ("house", "dog", "red", "blue")])
    return Falsified(VOCABULARY.tokenize([*CAPTIONS, *captions]), possible, torch.tensor([1, 0, 1, 1]), words)


def noise(count: int, seed: int = 3) -> torch.Tensor:
    size = SIZES["noise_dim"] + SIZES["condition_dim"]
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_drawn_alike_in_any_company(built: systems.System, draws: torch.Tensor, **exact: float) -> None:
    """A caption and its row of noise give one image: alone, in a batch, in any order and twice over."""

    def run(rows: torch.Tensor) -> list[torch.Tensor]:
        out = built.generate([CAPTIONS[i] for i in rows], draws[rows])
        return [*out.images, *out.features, *out.extras.values()]

    together = run(torch.arange(4))
    for rows in ([0], [1], [2], [3], [0, 1], [2, 0, 3, 1], [1, 1]):
        for some, whole in zip(run(torch.tensor(rows)), together, strict=True):
            torch.testing.assert_close(some, whole[rows], **exact)


damsm = matcher  # where an argument has that name


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layouts(batch_size: int, words: int, regions: int, seed: int = 0) -> torch.Tensor:
    """Theta (B, T, N): for every region some distribution over the words."""
    return (2 * randn(batch_size, words, regions, seed=seed)).softmax(1)
