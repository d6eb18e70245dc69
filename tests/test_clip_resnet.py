"""CLIP RN101 against open_clip's own model, read by open_clip from the same folder; preprocessing by hand; what is
refused. The model is as small as its layers allow and has random weights."""

from __future__ import annotations

import copy
import importlib.util
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from short_runs import assert_same_bits, tensors
from small_clip import tokens, write_tokeniser
from tiny import VOCABULARY, stirred
from torch import Tensor
from torch.testing import assert_close

from t2i_core import clip_resnet
from t2i_core.clip_resnet import ResNetCLIP, ResNetClipConfig, published_resnet_folder
from t2i_core.clip_tokens import BytePairs, Ends
from t2i_core.config import UserError, profile

SIZES = dict(text_dim=12, resolution=64, stem=4, layers=(1, 1, 1, 1))
SIZES |= dict(text_width=8, text_layers=2, text_heads=2, context=10)
CAPTIONS = ["red house", "a red hat", "red", "The house's red."]  # 2, 5, 1 and 8 tokens
NUMBERS = {token: i for i, token in enumerate(tokens())}
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's CLIP
ORDER = torch.tensor([2, 0, 3, 1])
FILES = ("open_clip_config.json", "open_clip_model.safetensors", "vocab.json", "merges.txt")
HOW = (
    r"put open_clip_config\.json, open_clip_model\.safetensors, vocab\.json, merges\.txt of timm/resnet101_clip\.openai"
)
exact = {"rtol": 1e-10, "atol": 1e-10}
single = {"rtol": 1e-5, "atol": 1e-6}


def config(folder: Path | None, **sizes) -> ResNetClipConfig:
    return ResNetClipConfig(**(SIZES | {"source": None if folder is None else str(folder)} | sizes))


def write_folder(folder: Path) -> Path:
    """As timm/resnet101_clip.openai is laid out, and as small as :func:`config`."""
    import open_clip

    write_tokeniser(folder)
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 4, "patch_size": None}
    text = {"context_length": 10, "vocab_size": len(tokens()), "width": 8, "heads": 2, "layers": 2}
    sizes = {"embed_dim": 12, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.CLIP(**sizes)
        stirred(model, 0.5)  # as open_clip starts it, the residual branches of the ResNet do nothing
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0  # the statistics become those of one batch, so that images differ in every layer
        with torch.no_grad():
            model.visual(images(count=16))
    preprocessing = {"mean": MEAN, "std": DEVIATION, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / FILES[0]).write_text(json.dumps({"model_cfg": sizes, "preprocess_cfg": preprocessing}))
    save_file(model.state_dict(), folder / FILES[1])
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Tests read it and never change it."""
    return write_folder(tmp_path_factory.mktemp("published"))


@pytest.fixture
def folder(published, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(published, tmp_path / "clip"))


@pytest.fixture(scope="module")
def theirs(published):
    """open_clip's model and preprocessing of that folder."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{published}")
    return model.eval().requires_grad_(False), preprocess


@pytest.fixture(scope="module")
def pairs(published) -> BytePairs:
    return BytePairs(published, 8)


@pytest.fixture(scope="module")
def build(published, pairs):
    return lambda **sizes: ResNetCLIP(config(published, **sizes), pairs)


def images(side: int = 64, count: int = 4) -> Tensor:
    """Coarse and fine noise: each image has colours of its own."""
    draw = torch.Generator().manual_seed(1)
    coarse = F.interpolate(torch.rand(count, 3, 3, 3, generator=draw), size=(side, side))
    return 1.4 * coarse + 0.6 * torch.rand(count, 3, side, side, generator=draw) - 1


def without_statistics(pixels: Tensor) -> Tensor:
    return torch.stack([pixels[:, c] * DEVIATION[c] + MEAN[c] for c in range(3)], 1)


def their_ids(caption: str) -> list[int]:
    """Start, tokens, end, and zeros up to the context, by hand from the vocabulary."""
    words = {"red": ["red</w>"], "house": ["house</w>"], "a": ["a</w>"], "hat": ["h", "a", "t</w>"]}
    words |= {"The": ["t", "h", "e</w>"], "house's": ["house</w>", "'", "s</w>"], "red.": ["red</w>", ".</w>"]}
    ids = [NUMBERS[piece] for word in caption.split() for piece in words[word]]
    ids = [NUMBERS["<|startoftext|>"], *ids, NUMBERS["<|endoftext|>"]]
    return ids + [0] * (10 - len(ids))


# ---------------------------------------------------------------- images


def test_an_image_is_seen_as_open_clip_sees_it(build, theirs):
    """From the picture file's pixels on: open_clip's preprocessing of uint8, ours of [-1, 1]."""
    model, preprocess = theirs
    pixels = (255 * (images() + 1) / 2).round().to(torch.uint8)
    pictures = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]
    expected = model.encode_image(torch.stack([preprocess(picture) for picture in pictures]))
    assert expected.shape == (4, 12) and expected.std(0).min() > 1e-3
    ours, given = build(), pixels / 127.5 - 1
    assert_close(ours.preprocess(given), torch.stack([preprocess(p) for p in pictures]), **single)
    assert_close(ours.encode_image(given).image, expected, **single)


@pytest.mark.parametrize(
    ("layer", "channels", "grid"), [("layer1", 16, 16), ("layer2", 32, 8), ("layer3", 64, 4), ("layer4", 128, 2)]
)
def test_features_are_the_map_of_the_chosen_layer(build, theirs, layer, channels, grid):
    ours, kept = build(feature_layer=layer), []
    handle = getattr(theirs[0].visual, layer).register_forward_hook(lambda *call: kept.append(call[-1].clone()))
    image = theirs[0].encode_image(ours.preprocess(images()))
    handle.remove()
    seen = ours.encode_image(images())
    assert seen.features.shape == (4, 1, channels, grid, grid)
    assert (ours.config.width, ours.config.grid) == (channels, grid)
    assert_close(seen.features[:, 0], kept[0], **single)
    assert_close(seen.image, image, **single)


def test_the_features_are_layer3s_where_nothing_else_is_said(build):
    assert torch.equal(build().encode_image(images()).features, build(feature_layer="layer3").encode_image(images())[1])


def cubic(x: float) -> float:
    """Keys' kernel with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def cubic_weights(side: int, target: int) -> Tensor:
    """(target, side): antialiased, so the kernel is as wide as a new pixel."""
    step = side / target
    rows = [[cubic((j + 0.5 - step * (i + 0.5)) / max(step, 1.0)) for j in range(side)] for i in range(target)]
    weights = torch.tensor(rows, dtype=torch.float64)
    return weights / weights.sum(1, keepdim=True)


def linear_weights(side: int, target: int) -> Tensor:
    """(target, side): between the two pixels around the new one's centre, the border's own beyond it."""
    weights = torch.zeros(target, side, dtype=torch.float64)
    for i in range(target):
        centre = min(max((i + 0.5) * side / target - 0.5, 0), side - 1)
        left = min(int(centre), side - 2)
        weights[i, left], weights[i, left + 1] = 1 - (centre - left), centre - left
    return weights


@pytest.mark.parametrize("side", [32, 48, 64, 100])
def test_preprocessing_by_hand(build, side):
    given = images(side).double()
    once = without_statistics(build().double().preprocess(given))
    weights = torch.eye(64).double() if side == 64 else cubic_weights(side, 64)
    assert_close(once, weights @ ((given + 1) / 2) @ weights.T, rtol=0, atol=1e-6)
    raw, weights = build(preprocessing="raw").double().preprocess(given), linear_weights(side, 64)
    assert_close(raw, weights @ given @ weights.T, rtol=0, atol=1e-6)


def test_raw_values_reach_the_network(build, theirs):
    given = images()
    seen = build(preprocessing="raw").encode_image(given)
    assert_close(seen.image, theirs[0].encode_image(given), **single)
    assert (seen.image - build().encode_image(given).image).abs().max() > 1e-2


def test_an_image_is_seen_the_same_alone_and_in_any_order(build):
    model, given = build().double(), images(48).double()
    together = model.encode_image(given)
    for rows in (*torch.arange(4).split(1), ORDER, torch.tensor([1, 1])):
        for some, whole in zip(model.encode_image(given[rows]), together, strict=True):
            assert_close(some, whole[rows], **exact)


@pytest.mark.parametrize("preprocessing", ["once", "raw"])
def test_gradients_reach_the_pixels_and_no_weight(build, preprocessing):
    model, given = build(preprocessing=preprocessing), images(32, 1).requires_grad_()
    seen = model.encode_image(given)
    (of_image,) = torch.autograd.grad(seen.image.sum(), given, retain_graph=True)
    (of_features,) = torch.autograd.grad(seen.features.square().sum(), given)
    assert (of_image != 0).double().mean() > 0.5 and (of_features != 0).double().mean() > 0.5
    assert not any(p.requires_grad for p in model.parameters())


def test_the_published_batch_norms_keep_their_statistics(build):
    model = build()
    before, given = copy.deepcopy(model.state_dict()), images()
    seen = model.encode_image(given)
    assert torch.equal(model.train().encode_image(given).image, seen.image)
    torch.nn.Sequential(model).train()
    assert not model.model.visual.bn1.training
    assert_same_bits(tensors(model.state_dict()), tensors(before))


# ---------------------------------------------------------------- captions


@pytest.mark.parametrize("caption", CAPTIONS)
def test_the_sentence_is_open_clips_own(build, theirs, caption):
    expected = theirs[0].encode_text(torch.tensor([their_ids(caption)]))
    assert_close(build().encode_text([caption]).sentence, expected, **single)
    together = build().encode_text(["red", caption, CAPTIONS[3]])
    assert_close(together.sentence[1:2], expected, **single)
    assert (together.sentence[0] - together.sentence[2]).abs().max() > 1e-2


def test_words_are_the_projected_states_of_their_tokens(build, theirs):
    text = build().encode_text(CAPTIONS)
    assert text.words.shape == (4, 12, 8) and text.mask.sum(1).tolist() == [2, 5, 1, 8]
    kept = []
    handle = theirs[0].ln_final.register_forward_hook(lambda *call: kept.append(call[-1].clone()))
    theirs[0].encode_text(torch.tensor([their_ids(caption) for caption in CAPTIONS]))
    handle.remove()
    for row, length in enumerate([2, 5, 1, 8]):
        for t in range(length):  # the start is token 0
            projected = kept[0][row, t + 1] @ theirs[0].text_projection
            assert_close(text.words[row, :, t], projected, **single)
        assert (text.words[row, :, length:] == 0).all()


def test_a_caption_means_the_same_alone_and_beside_longer_ones(build):
    model = build().double()
    together = model.encode_text(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        alone = model.encode_text([caption])
        length = int(together.mask[row].sum())
        assert alone.words.shape == (1, 12, length)
        assert_close(alone.words[0], together.words[row, :, :length], **exact)
        assert_close(alone.sentence[0], together.sentence[row], **exact)
    other = model.encode_text([CAPTIONS[i] for i in ORDER])
    for mine, whole in zip(other, together, strict=True):
        assert_close(mine, whole[ORDER], **exact)


def test_ids_of_the_published_byte_pairs_are_open_clips(tmp_path):
    """open_clip carries the published tokeniser, so the true one can be written as vocab.json and merges.txt."""
    import open_clip

    tokeniser = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    (tmp_path / "vocab.json").write_text(json.dumps({names.get(k, k): i for k, i in tokeniser.encoder.items()}))
    ranked = sorted(tokeniser.bpe_ranks, key=tokeniser.bpe_ranks.get)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, ranked)) + "\n")
    captions = ["A man's 2 red-hot   surfboards, café!", "dog", "skateboarders doing ollies at 10:30 on the half-pipe"]
    with torch.device("meta"):
        model = ResNetCLIP(ResNetClipConfig.rn101(), BytePairs(tmp_path))
    found = model._with_ends(model.vocabulary.tokenize(captions))
    expected = tokeniser(captions)
    assert torch.equal(F.pad(found, (0, 77 - found.shape[1])), expected)
    assert (model.start, model.end) == (49406, 49407) and expected[0, 0] == 49406


def test_more_tokens_than_the_context_are_refused(published):
    model = ResNetCLIP(config(published), BytePairs(published, 9))
    model.encode_text(["red " * 8])
    with pytest.raises(UserError, match="a caption has 9 tokens and CLIP reads 8: cut captions at max_words=8"):
        model.encode_text(["red " * 9])


# ---------------------------------------------------------------- the folder


def test_the_folders_weights_are_read_as_they_are_and_frozen(build, published, theirs):
    model = build()
    assert_same_bits(tensors(model.model.state_dict()), tensors(load_file(published / FILES[1])))
    assert_same_bits(tensors(model.model.state_dict()), tensors(theirs[0].state_dict()))
    assert not model.stored and not model.training and not any(p.requires_grad for p in model.parameters())
    twin = copy.deepcopy(model)
    assert torch.equal(twin.encode_image(images()).image, model.encode_image(images()).image)


def test_half_precision_on_disk_becomes_single(folder, pairs):
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in load_file(folder / FILES[1]).items()},
        folder / FILES[1],
    )
    model = ResNetCLIP(config(folder), pairs)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.encode_image(images()).image.isfinite().all()


def test_a_saved_one_says_where_its_weights_lie(build, pairs, tmp_path):
    model = build(preprocessing="raw", feature_layer="layer2")
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["matcher.json", "vocabulary.json"]
    again = ResNetCLIP.load(tmp_path)
    assert again.config == model.config and again.vocabulary.hash == pairs.hash
    assert torch.equal(again.encode_image(images()).features, model.encode_image(images()).features)
    assert again.knows(None)  # any caption, so any dataset


def test_one_with_random_weights_is_stored(tmp_path):
    model = ResNetCLIP(config(None), VOCABULARY)
    assert model.stored and model.training and all(p.requires_grad for p in model.parameters())
    model.encode_image(images())  # the batch norms' statistics leave their start
    model.freeze().save(tmp_path)
    again = ResNetCLIP.load(tmp_path)
    assert again.vocabulary.hash == VOCABULARY.hash and not again.training
    text, expected = again.encode_text(["the blue dog", "red"]), model.encode_text(["the blue dog", "red"])
    assert torch.equal(text.words, expected.words) and torch.equal(text.sentence, expected.sentence)
    assert torch.equal(again.encode_image(images()).image, model.encode_image(images()).image)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_lacks_a_file_is_refused_by_its_name(folder, pairs, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{folder} lacks {name}: {HOW} \S+ into {folder}, or set T2I_CLIP_RN101"):
        ResNetCLIP(config(folder), pairs)


def told(folder: Path, **sizes) -> None:
    """Change what the folder says of its architecture; None deletes."""
    path = folder / FILES[0]
    whole = json.loads(path.read_text())
    for name, value in sizes.items():
        part, _, key = name.rpartition("__")
        place = whole["model_cfg"][f"{part}_cfg"] if part else whole["model_cfg"]
        place.pop(key, None)
        if value is not None:
            place[key] = value
    path.write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (dict(embed_dim=16), r"\(embed_dim is 16, not 12\)"),
        (dict(vision__width=8, text__layers=3), r"\(vision width is 8, not 4; text layers is 3, not 2\)"),
        (dict(vision__layers=[3, 4, 6, 3]), r"\(vision layers is \[3, 4, 6, 3\], not \[1, 1, 1, 1\]\)"),
        (dict(vision__layers=12, vision__patch_size=32), r"\(vision layers is 12, not \[1, 1, 1, 1\]\)"),
        (dict(quick_gelu=None), r"\(quick_gelu is None, not True\)"),
        (dict(custom_text=True), r"\(custom_text is True, not None\)"),
        (dict(vision__timm_model_name="resnet50"), r"\(vision timm_model_name is resnet50, not None\)"),
        (dict(text__hf_model_name="roberta-base"), r"\(text hf_model_name is roberta-base, not None\)"),
        (dict(text__vocab_size=49408), rf"\(text vocab_size is 49408, not {len(NUMBERS)}\)"),
    ],
)
def test_a_folder_of_another_architecture_is_refused(folder, pairs, sizes, said):
    told(folder, **sizes)
    with pytest.raises(UserError, match=f"{folder} holds a CLIP of another architecture {said}: {HOW}"):
        ResNetCLIP(config(folder), pairs)


def test_what_does_not_change_the_model_is_not_asked(folder, pairs, build):
    told(folder, vision__patch_size=16, text__hf_tokenizer_name="timm/resnet101_clip.openai", text__tokenizer_kwargs={})
    assert torch.equal(
        ResNetCLIP(config(folder), pairs).encode_image(images()).image, build().encode_image(images()).image
    )


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_cfg": {"embed_dim": 12}}', "\u0000"])
def test_a_damaged_description_is_refused(folder, pairs, content):
    (folder / FILES[0]).write_text(content)
    with pytest.raises(UserError, match=rf"{folder / FILES[0]} describes no CLIP \(.*\): {HOW}"):
        ResNetCLIP(config(folder), pairs)


def test_a_size_that_open_clip_does_not_know_is_refused(folder, pairs):
    told(folder, vision__wings=2)
    with pytest.raises(UserError, match=rf"describes no CLIP \(.*wings.*\): {HOW}"):
        ResNetCLIP(config(folder), pairs)


@pytest.mark.parametrize("damage", [lambda b: b[:-1000], lambda b: b"", lambda b: pickle.dumps({"logit_scale": 1})])
def test_a_damaged_weights_file_is_refused(folder, pairs, damage):
    path = folder / FILES[1]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{path} cannot be read \(.*\): {HOW}"):
        ResNetCLIP(config(folder), pairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("text_projection"), "text_projection is missing"),
        (lambda w: w.update(extra=torch.zeros(2)), "extra belongs to no layer"),
        (lambda w: w.update(logit_scale=torch.zeros(3)), r"logit_scale is \(3,\), not \(\)"),
        (lambda w: [w.pop(k) for k in list(w) if k.startswith("visual.bn")], r"\S+ is missing; .* and 12 more"),
    ],
)
def test_weights_of_other_layers_are_refused(folder, pairs, change, said):
    weights = load_file(folder / FILES[1])
    change(weights)
    save_file(weights, folder / FILES[1])
    with pytest.raises(UserError, match=rf"{folder / FILES[1]} holds other weights \({said}\): {HOW}"):
        ResNetCLIP(config(folder), pairs)


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_never_opened(folder, pairs, tmp_path):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    pickle.loads(trap)
    (tmp_path / "sprung").unlink()  # it works
    for name in ("open_clip_pytorch_model.bin", "open_clip_model.safetensors.bin", FILES[1]):
        (folder / name).write_bytes(trap)
    with pytest.raises(UserError, match="cannot be read"):
        ResNetCLIP(config(folder), pairs)
    (folder / FILES[1]).unlink()
    with pytest.raises(UserError, match=f"lacks {FILES[1]}"):
        ResNetCLIP(config(folder), pairs)
    assert not (tmp_path / "sprung").exists()


def empty_caches(monkeypatch, place: Path) -> None:
    import huggingface_hub.constants

    place.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setenv("HF_HUB_CACHE", str(place))
    monkeypatch.setenv("HF_HOME", str(place))


def test_the_published_folder_is_where_it_was_said_to_be(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("T2I_CLIP_RN101", str(folder))
    assert published_resnet_folder() == folder
    assert ResNetClipConfig.of(profile("mini")) == ResNetClipConfig.rn101(str(folder))
    empty_caches(monkeypatch, tmp_path / "hub")
    (folder / "merges.txt").unlink()
    said = rf"the published CLIP RN101 is not here: {HOW} \(\S+\) into {folder}, or set T2I_CLIP_RN101 to"
    with pytest.raises(UserError, match=said):
        published_resnet_folder()
    monkeypatch.delenv("T2I_CLIP_RN101")
    (tmp_path / "t2i_core").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "models" / "clip-rn101"
    with pytest.raises(UserError, match=f"into {place}"):
        published_resnet_folder()
    shutil.copytree(folder, place)
    (place / "merges.txt").write_text("")
    assert published_resnet_folder() == place


def test_the_published_folder_is_found_in_the_cache(folder, tmp_path, monkeypatch):
    empty_caches(monkeypatch, tmp_path / "hub")
    monkeypatch.setenv("T2I_CLIP_RN101", str(tmp_path / "nothing"))
    cached = tmp_path / "hub" / "models--timm--resnet101_clip.openai"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    snapshot = Path(shutil.copytree(folder, cached / "snapshots" / ("0" * 40)))
    assert published_resnet_folder() == snapshot
    (snapshot / "vocab.json").unlink()
    with pytest.raises(UserError, match="the published CLIP RN101 is not here"):
        published_resnet_folder()


# ---------------------------------------------------------------- sizes, and the library


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"preprocessing": "double"}, "unknown preprocessing 'double'; .*choose one of: once, raw"),
        (
            {"feature_layer": "layer5"},
            "unknown feature layer 'layer5'; .*choose one of: layer1, layer2, layer3, layer4",
        ),
        ({"resolution": 48}, "halves an image of 48 px five times: choose a resolution that is a multiple of 32"),
        ({"layers": (1, 1, 1)}, r"4 layers and an even stem, not \(1, 1, 1\) and 4"),
        ({"stem": 3}, r"4 layers and an even stem, not \(1, 1, 1, 1\) and 3"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, said):
    with pytest.raises(UserError, match=said):
        config(None, **sizes)


def test_the_published_sizes():
    c = ResNetClipConfig.rn101()
    assert (c.text_dim, c.resolution, c.context, c.feature_layer, c.width, c.grid) == (512, 224, 77, "layer3", 1024, 14)
    with torch.device("meta"):
        model = ResNetCLIP(c, Ends(49406, 49407))
        seen = model.encode_image(torch.empty(2, 3, 256, 256))
    assert sum(p.numel() for p in model.model.parameters()) == 119_688_033
    assert seen.image.shape == (2, 512) and seen.features.shape == (2, 1, 1024, 14, 14)


def test_without_open_clip_one_is_told_how_to_get_it(published, pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    said = r"needs the library open_clip, which cannot be imported \(.*\): pip install open_clip_torch"
    for source in (published, None):
        with pytest.raises(UserError, match=said):
            ResNetCLIP(config(source), pairs)


def test_open_clip_is_imported_only_when_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    spec = importlib.util.spec_from_file_location("fresh_clip_resnet", clip_resnet.__file__)
    monkeypatch.setitem(sys.modules, spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(sys.modules[spec.name])
    assert sys.modules[spec.name].ResNetClipConfig.rn101().width == 1024
