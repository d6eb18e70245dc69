"""ITM: what its layers make of a frozen CLIP, how it is trained, kept and read again."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from tiny import CAPTIONS, CLIP_SIZES, VOCABULARY, batch, clip, itm
from torch.testing import assert_close

from t2i_core import encoders
from t2i_core.clip import ClipConfig
from t2i_core.config import PROFILES, UserError
from t2i_core.data import load
from t2i_core.itm import ITM, ITMConfig
from t2i_core.matching import sentence_loss, word_loss


@pytest.fixture(scope="module")
def dataset(tiny_scenes):
    return load(tiny_scenes, "train", (8, 16, 32)).to("cpu")


def test_words_and_regions_by_hand():
    model, images = itm(), batch().images[-1]
    below, text = model.clip, model.encode_text(list(CAPTIONS))
    states = below.encode_text(list(CAPTIONS))
    linear, norm = model.words
    for i, mask in enumerate(states.mask):
        for t in range(int(mask.sum())):
            x = linear.weight @ states.words[i, :, t] + linear.bias
            expected = (x - x.mean()) / (x.var(unbiased=False) + norm.eps).sqrt() * norm.weight + norm.bias
            assert_close(text.words[i, :, t], expected)
    assert not text.words.masked_select(~text.mask[:, None]).any()
    assert_close(text.sentence, F.linear(states.sentence, model.sentence.weight, model.sentence.bias))
    seen, found = below.encode_image(images), model.encode_image(images)
    chosen = seen.features[:, -1]  # of the last block that is looked at: the third, as CLIP_SIZES says
    assert_close(found.regions, torch.einsum("dc,bchw->bdhw", model.regions.weight[:, :, 0, 0], chosen))
    assert_close(found.image, F.linear(seen.image, model.image.weight, model.image.bias))


def test_sentence_and_image_start_as_clips_own():
    torch.manual_seed(0)
    model = ITM(ITMConfig(ClipConfig(**CLIP_SIZES)), VOCABULARY, clip()).double()
    images = batch().images[-1]
    assert_close(model.encode_text(list(CAPTIONS)).sentence, clip().encode_text(list(CAPTIONS)).sentence)
    assert_close(model.encode_image(images).image, clip().encode_image(images).image)


def test_e8_e9_the_two_terms():
    model, given = itm(), batch(class_ids=[0, 1, 0, 2])
    text = model.encode_text(given.tokens)
    seen = model.encode_image(given.images[-1])
    found = model.losses(given.images[-1], text, given.class_ids)
    assert_close(found["sentence"], sentence_loss(seen.image, text.sentence, 10.0, given.class_ids))
    assert_close(found["words"], word_loss(seen.regions, text.words, text.mask, given.class_ids, 4.0, 5.0, 10.0))
    for term in found:
        assert model.losses(given.images[-1], text, given.class_ids, (term,)) == {term: found[term]}


def test_images_of_any_stage_are_read_and_pass_gradients():
    model = itm()
    for images in batch().images:
        leaf = images.clone().requires_grad_()
        text = model.encode_text(list(CAPTIONS))
        sum(model.losses(leaf, text, None).values()).backward()
        assert leaf.grad.abs().amax((1, 2, 3)).min() > 0


def test_a_caption_and_an_image_are_read_alike_alone_and_in_a_batch():
    model, images = itm(), batch().images[-1]
    whole, seen = model.encode_text(list(CAPTIONS)), model.encode_image(images)
    for i, caption in enumerate(CAPTIONS):
        alone = model.encode_text([caption])
        length = int(alone.mask.sum())
        assert_close(alone.words[0, :, :length], whole.words[i, :, :length])
        assert_close(alone.sentence[0], whole.sentence[i])
        for part, of_all in zip(model.encode_image(images[i : i + 1]), seen, strict=True):
            assert_close(part[0], of_all[i])


def test_training_moves_the_layers_and_leaves_clip_bit_for_bit(tmp_path, dataset):
    p = PROFILES["smoke"]
    model = encoders.trained("itm", dataset, tmp_path / "itm", p, base=tmp_path / "clip")
    below = encoders.load(tmp_path / "clip")
    for name, tensor in below.state_dict().items():
        assert torch.equal(tensor, model.clip.state_dict()[name]), name
    assert (model.words[0].weight - torch.eye(p.text_dim)).abs().max() > 0
    assert (model.sentence.weight - torch.eye(p.text_dim)).abs().max() > 1e-4
    log = json.loads((tmp_path / "itm" / "matcher.json").read_text())["log"]
    assert set(log) == {"words", "sentence"} and sum(log["words"][-5:]) < sum(log["words"][:5])
    assert not any(p.requires_grad for p in model.parameters())
    again = encoders.load(tmp_path / "itm")
    assert again.knows(dataset)
    for a, b in zip(model.encode_text(["a red house"]), again.encode_text(["a red house"]), strict=True):
        assert torch.equal(a, b)


def test_without_a_place_for_it_the_clip_is_trained_beside(tmp_path, dataset):
    encoders.trained("itm", dataset, tmp_path / "itm", PROFILES["smoke"])
    assert encoders.load(tmp_path / "itm" / "clip").kind == "clip"


def test_a_folder_of_another_kind_is_named(tmp_path):
    clip().float().save(tmp_path)
    with pytest.raises(UserError, match="holds a clip model, where a itm model is needed"):
        ITM.load(tmp_path)
