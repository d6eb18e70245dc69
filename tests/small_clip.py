"""A folder as OpenAI's CLIP is published in, of a model with random weights and few byte pairs."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tiny import CLIP_SIZES

from t2i_core.clip import ClipConfig

MERGES = ("r e", "re d</w>", "h o", "ho u", "hou s", "hous e</w>")
FILES = {"config.json", "model.safetensors", "vocab.json", "merges.txt"}


def alphabet() -> list[str]:
    """A byte each, as byte-level byte pairs write them: what cannot be printed stands beyond 255."""
    printed = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printed else next(others)) for byte in range(256)]


def tokens() -> list[str]:
    letters = alphabet()
    merged = [merge.replace(" ", "") for merge in MERGES]
    return [*letters, *(letter + "</w>" for letter in letters), *merged, "<|startoftext|>", "<|endoftext|>"]


def write_tokeniser(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens())}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return folder


def config(folder: Path, **sizes) -> ClipConfig:
    return ClipConfig(**(CLIP_SIZES | {"source": str(folder)} | sizes))


def write_clip(folder: Path) -> Path:
    """A small CLIPModel and its tokeniser, of the sizes of :func:`config`."""
    from transformers import CLIPConfig, CLIPModel

    write_tokeniser(folder)
    count = len(tokens())
    text = dict(hidden_size=8, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=count)
    text |= dict(max_position_embeddings=10, bos_token_id=count - 2, eos_token_id=count - 1, pad_token_id=count - 1)
    vision = dict(hidden_size=16, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2)
    vision |= dict(image_size=32, patch_size=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    assert FILES <= {path.name for path in folder.iterdir()}
    return folder
