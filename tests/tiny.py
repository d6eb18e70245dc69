"""Small systems, captions and batches that several test files share: float64, so that only a real difference shows."""

from __future__ import annotations

import torch

from t2i_core import systems
from t2i_core.captions import Tokens, Vocabulary
from t2i_core.damsm import DAMSM, MatcherConfig
from t2i_core.data import Batch

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


def matcher(text_dim: int = 12, seed: int = 0) -> DAMSM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DAMSM(MatcherConfig(text_dim, resolution=32, width=8), VOCABULARY).double().freeze()


def system(name: str, variant: str = "default", seed: int = 0, **switches) -> systems.System:
    """A system in float64 and eval mode, whose batch norms have statistics and scales of their own."""
    built = systems.create(name, "smoke", variant=variant, damsm=matcher(), seed=seed, **(SIZES | switches)).double()
    draw = torch.Generator().manual_seed(7)
    for part in (built.generator, built.discriminators):
        for norm in (m for m in part.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)):
            norm.running_mean.copy_(0.1 * torch.randn(norm.num_features, generator=draw))
            norm.running_var.copy_(0.5 + torch.rand(norm.num_features, generator=draw))
    for stage in built.generator.stages:
        stage.attention.project.weight.data *= 20  # an untrained matcher's words are small: attention would be uniform
    return built.eval()


def batch(captions=CAPTIONS, class_ids=None, seed: int = 0) -> Batch:
    """Random images of every stage's size beside the captions."""
    draw = torch.Generator().manual_seed(seed)
    count = len(captions)
    images = [2 * torch.rand(count, 3, r, r, generator=draw, dtype=torch.float64) - 1 for r in RESOLUTIONS]
    classes = torch.arange(count) if class_ids is None else torch.tensor(class_ids)
    tokens: Tokens = VOCABULARY.tokenize(captions)
    return Batch(images, tokens, classes, torch.arange(count), torch.zeros(count, dtype=torch.long))


def noise(count: int, seed: int = 3) -> torch.Tensor:
    size = SIZES["noise_dim"] + SIZES["condition_dim"]
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layouts(batch_size: int, words: int, regions: int, seed: int = 0) -> torch.Tensor:
    """Theta (B, T, N): for every region some distribution over the words."""
    return (2 * randn(batch_size, words, regions, seed=seed)).softmax(1)
