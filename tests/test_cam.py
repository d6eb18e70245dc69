"""Grad-CAM (RATLIP F3): against the definition written out, and shares of boxes by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from t2i_core.captions import Vocabulary
from t2i_core.damsm import DAMSM, MatcherConfig
from t2i_core.metrics.cam import cam_on_part, mass_inside, sentence_cam

CAPTIONS = ["a red bird", "a blue bird in the forest", "the bird flies"]


@pytest.fixture(scope="module")
def scorer() -> DAMSM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DAMSM(MatcherConfig(text_dim=16, width=8), Vocabulary.build(CAPTIONS)).freeze()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def written_out(scorer: DAMSM, image: torch.Tensor, caption: str) -> torch.Tensor:
    """ReLU(sum_k alpha_k A_k) of one image, with the gradient from autograd."""
    encoder = scorer.image_encoder
    maps = encoder.body(image[None]).detach().requires_grad_()
    embedded = encoder.image_head(encoder.tail(maps).flatten(1))
    cosine = F.cosine_similarity(embedded, scorer.encode_text([caption]).sentence)
    (gradient,) = torch.autograd.grad(cosine.sum(), maps)
    return F.relu((gradient.mean((2, 3), keepdim=True) * maps).sum(1))[0].detach()


def test_f3_the_map_is_grad_cams_definition(scorer, images):
    expected = torch.stack([written_out(scorer, *pair) for pair in zip(images, CAPTIONS, strict=True)])
    found = sentence_cam(scorer, images, CAPTIONS)
    assert found.shape == (3, 8, 8) and (found >= 0).all() and found.any()
    assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_f3_a_map_depends_on_its_own_image_and_caption_only(scorer, images):
    together = sentence_cam(scorer, images, CAPTIONS)
    assert_close(sentence_cam(scorer, images, CAPTIONS, batch_size=1), together, rtol=1e-4, atol=1e-7)
    order = [2, 0, 1]
    assert_close(sentence_cam(scorer, images[order], [CAPTIONS[i] for i in order]), together[order])
    other = sentence_cam(scorer, images, CAPTIONS[::-1])
    assert not torch.allclose(other[0], together[0])


def test_f3_it_leaves_images_and_weights_as_they_were(scorer, images):
    before = images.clone()
    sentence_cam(scorer, images, CAPTIONS)
    assert torch.equal(images, before) and not images.requires_grad
    assert not any(p.requires_grad or p.grad is not None for p in scorer.parameters())


def test_images_and_captions_must_be_as_many(scorer, images):
    with pytest.raises(ValueError, match="3 and 2"):
        sentence_cam(scorer, images, CAPTIONS[:2])


def test_f3_mass_is_counted_above_the_boxs_share():
    left = torch.zeros(4, 4)
    left[:, :2] = 1.0
    maps = torch.stack([left, left, torch.ones(4, 4), torch.zeros(4, 4)])
    boxes = torch.tensor([[0, 0, 0.5, 1.0], [0.5, 0, 1.0, 1.0], [0, 0, 0.5, 0.5], [0, 0, 1.0, 1.0]])
    found = mass_inside(maps, boxes)
    assert found[:3].tolist() == [0.5, -0.5, 0.0] and found[3].isnan()
    assert_close(mass_inside(7 * maps[:2], boxes[:2]), found[:2])  # a map's scale says nothing


class Reader:
    """Finds the bird in the left half of every picture but the last."""

    config = SimpleNamespace(parts=("crown", "bird"))

    def read(self, images):
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]]).expand(len(images), 2, 4)
        found = torch.ones(len(images), 2, dtype=torch.bool)
        found[-1, 1] = False
        return SimpleNamespace(box=box, found=found)


def test_f3_a_part_that_is_not_found_has_no_share(scorer, images):
    cams = cam_on_part(scorer, Reader(), images, CAPTIONS, "bird")
    assert cams.found.tolist() == [True, True, False]
    assert cams.inside.isnan().tolist() == [False, False, True]
    assert_close(cams.inside[:2], mass_inside(cams.maps, cams.boxes)[:2])
    assert_close(cams.boxes[0], torch.tensor([0.0, 0.0, 0.5, 1.0]))
    with pytest.raises(ValueError):
        cam_on_part(scorer, Reader(), images, CAPTIONS, "house")
