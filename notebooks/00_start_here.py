# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here
#
# *Next: [01 Captions and matching](01_captions_and_matching.ipynb)*
#
# "A small red house on the left." A system that draws pictures from text should put a house there, small and red, on
# the left. Did it? On photographs only a person can say. Here the pictures are **drawn by this project**, so every
# caption is true by construction and every answer can be checked. On such pictures you will train text-to-image GANs
# from scratch, take them apart, and measure which of their papers' claims hold. You will now
#
# 1. check what your machine has,
# 2. meet the four *toy worlds*, and the truth that comes with each picture,
# 3. get the map: which paper, which system, which notebook, and how to run them,
# 4. prepare a folder of **your own** pictures with captions.
#
# A few seconds at any profile; this notebook trains nothing. Code:
# [`data_prep/toyworld`](../data_prep/toyworld/__init__.py), [`data_prep/folder.py`](../data_prep/folder.py),
# [`t2i_core/doctor.py`](../t2i_core/doctor.py).

# %% tags=["parameters"]
profile = "mini"
seed = 0
run_dir = "runs/notebooks"
device = "auto"

# %%
import ipywidgets
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from data_prep import folder, toyworld
from t2i_core import config, data, doctor, explore, figures, systems, train

# %% [markdown]
# ## 1. What your machine has
#
# `t2i doctor` looks at everything that the project needs. The same findings as a table; where something is missing, the
# last column says what to do:


# %%
def brief(text):
    """Without the folder that this project lies in."""
    return text.replace(str(config.data_root()), "data").replace(str(config.project_root()), ".")


figures.style()
findings = doctor.examine()
table = pd.DataFrame([(f.name, "yes" if f.good else "NO", brief(f.says), brief(f.advice)) for f in findings])
table.columns = ["looked at", "good", "found", "what to do"]
table.style.hide().set_properties(**{"text-align": "left"})

# %% [markdown]
# The notebooks need a CPU and 4 GB of memory, and take a GPU where there is one. This notebook, like every other, has
# four parameters in its first cell, and nothing else to set:
#
# | parameter | means |
# |---|---|
# | `profile` | one of four sizes of the *same* code: how large the images and networks are, how long they train |
# | `seed` | of all that is drawn, shuffled or trained: the same seed gives the same result |
# | `run_dir` | where trained systems and numbers are kept; what lies there already is loaded, not trained again |
# | `device` | `auto`, `cpu` or `cuda` |

# %%
print(f"{profile=}, {seed=}, {run_dir=}, device={train.make_accelerator(device).device.type!r}")
shown = ["resolutions", "batch_size", "steps", "matcher_steps", "train_images", "evaluation_images"]
pd.DataFrame({p.name: {name: getattr(p, name) for name in shown} for p in config.PROFILES.values()})

# %% [markdown]
# `resolutions` are the sizes that a system of three stages draws in, coarse to fine; the others draw the last of them, or
# the last two. `smoke` asks only whether everything runs; at `mini`, the default, every whole system is really trained on a
# laptop; `paper` has the published constants, and there some systems have a size of their own.
#
# ## 2. Four toy worlds
#
# Each world stands for one dataset of the papers: `toy-scenes` for MS-COCO, `toy-birds` for CUB-200-2011, `toy-flowers`
# for Oxford-102 and `toy-faces` for CelebA. A picture is a function of (world, seed, index, size) and nothing else:


# %%
def tensor(scene):
    """(3, H, W) in [-1, 1], as every figure and every network here takes images."""
    return torch.from_numpy(np.array(scene.image)).permute(2, 0, 1) / 127.5 - 1


scenes = [toyworld.draw(world, seed, index, 96) for world in toyworld.WORLDS for index in range(4)]
figures.image_grid(torch.stack([tensor(s) for s in scenes]), [s.captions[0] for s in scenes], columns=4, width=2.1)

# %% [markdown]
# Captions come from a small grammar with paraphrases: "in the snow", "on a snowy field" and "in winter" all say *snow*.
# So no system can learn one sentence pattern by heart; it must learn words.
#
# The pictures are drawn as shapes, not as pixels, so one picture exists at every size, and the truth about it, boxes
# included, is the same at all of them. Let us check that claim on a scene in which two things are related:

# %%
first = (toyworld.draw("toy-scenes", seed, k, 32) for k in range(500))
chosen = next(k for k, s in enumerate(first) if any(kind == "relation" for *_, kind in s.truth["words"][0]))
sizes = {f"{size} px": toyworld.draw("toy-scenes", seed, chosen, size) for size in (16, 32, 256)}
for one in sizes.values():
    assert one.captions == sizes["256 px"].captions
    for part, same in zip(one.truth["parts"], sizes["256 px"].truth["parts"], strict=True):
        assert part["name"] == same["name"] and np.allclose(part["box"], same["box"], atol=1 / 32)
enlarged = torch.cat([F.interpolate(tensor(s)[None], size=256) for s in sizes.values()])
figures.image_grid(enlarged, titles=list(sizes), width=2.4)

# %% [markdown]
# Sixteen pixels are enough for the setting and the colours, 32 for most objects. That is why the small profiles,
# which draw at 32, can be judged at all.
#
# ## 3. The truth beside a picture
#
# With each picture comes what no real dataset has: for every part its **box** and mask, for the whole picture its
# attributes, and for every caption **which of its words state what**.


# %%
def outlined(world, index, caption=0):
    """A picture of a world with a frame and a name for each of its parts, and one of its captions."""
    scene = toyworld.draw(world, seed, index, 128)
    figure = figures.image_grid(tensor(scene)[None], [scene.captions[caption]], width=3.4)
    for part, color in zip(scene.truth["parts"], figures.PALETTE, strict=False):
        x0, y0, x1, y1 = (128 * side for side in part["box"])
        figure.axes[0].plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=color, linestyle="-", linewidth=2.5)
        label = dict(color="white", fontsize=8, backgroundcolor=color, va="bottom")
        figure.axes[0].text(x0 + 2, y0 - 2, part["name"], **label)
    return figure


outlined("toy-scenes", chosen)

# %% [markdown]
# And the words of that caption, as the truth lists them: characters `start` to `end`, what they state, and of which
# part.


# %%
def stated(scene, caption=0):
    """One row for each word of a caption that states something."""
    text, rows = scene.captions[caption], []
    for start, end, index, kind in scene.truth["words"][caption]:
        if kind == "relation":
            relation = scene.truth["relations"][index]
            of = " → ".join(scene.truth["parts"][relation[role]]["name"] for role in ("subject", "object"))
        else:
            of = scene.truth["parts"][index]["name"] if index >= 0 else "the whole picture"
        rows.append((text[start:end], kind, of))
    return pd.DataFrame(rows, columns=["word", "states the", "of"])


scene = toyworld.draw("toy-scenes", seed, chosen, 128)
stated(scene)

# %% [markdown]
# A caption states only what this table lists. Later, colour accuracy is asked only where a caption names a colour,
# layout accuracy only where it names a place; a system is never blamed for what nobody told it.
#
# The boxes are no guesses, and you can check that by hand: take the mask's pixels of each part, and see how far they
# reach.

# %%
mask = np.array(scene.mask)
for part in scene.truth["parts"]:
    rows, columns = np.nonzero(mask == part["mask"])
    reach = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
    beyond = np.array(part["box"]) - reach  # positive left and above, negative right and below: out of the box
    assert beyond[:2].max() <= 2 / 128 and beyond[2:].min() >= -2 / 128, part["name"]
    print(f"{part['name']:8s} mask reaches {reach.round(2)}, box {np.round(part['box'], 2)}")

# %% [markdown]
# What is seen of a part never reaches out of its box (to the pixel's width). It may fill less: a part in front of it,
# or the picture's edge, can hide some of it.
#
# Move through the worlds yourself. The static figure above comes from the same function.

# %%
explore.figure_explorer(
    outlined,
    world=ipywidgets.Dropdown(options=toyworld.WORLDS, description="world"),
    index=ipywidgets.IntSlider(chosen, 0, 500, description="picture"),
    caption=ipywidgets.IntSlider(0, 0, 4, description="caption"),
)

# %% [markdown]
# ## 4. The map
#
# | paper | what it brings | system | notebook |
# |---|---|---|---|
# | AttnGAN (Xu et al., 2018) | a matching model of words and regions | | [01](01_captions_and_matching.ipynb) |
# | | three stages that look at the words again before each refinement | `attngan` | [02](02_attngan_baseline.ipynb) |
# | ALR-GAN (2023) | a layout made of words, and one for the real image | | [03](03_ssm_tvm_reconstruction.ipynb) |
# | | adaptive weights for what is hard and easy to match | | [04](04_alr_weights.ipynb) |
# | | texture and style inside the layout | | [05](05_lvr.ipynb) |
# | | all of it in one system, its ablations, its comparison with AttnGAN | `alr-gan` | [06](06_training_alr_gan.ipynb) |
# | RATLIP (2024) | one LSTM through all affine transforms, shuffle attention | | [07](07_rat_lstm.ipynb) |
# | | the whole system on CLIP, beside what it stands on | `ratlip`, `galip`, `df-gan` | [08](08_training_ratlip.ipynb) |
# | GR-GAN (2022) | a memory for words, and text from coarse to fine | `dm-gan`, `gr-gan` | [09](09_gradual_refinement.ipynb) |
# | | one distance for pictures and captions, and what it misses | | [10](10_cross_model_distance.ipynb) |
# | a comparison study | eleven systems, the same captions | `cgan`, `gan-cls`, `stackgan`, `sdn` | [11](11_comparison.ipynb) |
# | all of them | every claim, with its verdict | | [12](12_results.ipynb) |
# | | type a caption, and see what each system draws | all | [13](13_explorer.ipynb) |
#
# A paper's ablation is a *variant* of its system: one switch of its configuration, the same code otherwise.

# %%
for name in systems.available():
    print(f"{name:8s} variants: {', '.join(systems.variants(name))}")

# %% [markdown]
# Every notebook goes the same way: a claim, its equation with the paper's number (or ours, where the paper has none),
# the equation by hand on a toy, the package's function, an `assert` that both agree, a figure, and a sentence that
# reads it. Where a paper leaves something open, the text says what we decided. At the end stand exercises, with hints and
# solutions to unfold; one at least waits for an answer in a cell and tells you whether it is right. A label such as
# *ALR-GAN E1* is an entry of the project's index of the papers, which names the code and the tests too
# ([`coverage.toml`](../t2i_core/coverage.toml); E is an equation, and what has no number in its paper has ours).
#
# ## 5. Three ways to run it
#
# **In JupyterLab** (`make lab`): step through a notebook. What takes long is trained once into `run_dir` and loaded the
# next time, so running a notebook again is quick. (Only to read: `make book` makes pages of the notebooks as they were
# saved, which any browser opens.)
#
# **All at once**: `make reproduce`, which is `t2i reproduce --profile mini`, runs all notebooks by papermill with the
# same four parameters and writes `results.json` and a report. One notebook alone:
#
# ```sh
# papermill notebooks/02_attngan_baseline.ipynb out.ipynb -p profile smoke -p run_dir runs/mine
# ```
#
# **From the command line**, without notebooks: `t2i prepare`, `train`, `sample`, `evaluate`; each explains itself with
# `--help`. For instance, once a system is trained:
#
# ```sh
# t2i train --system attngan --world toy-scenes --profile mini --out runs/attngan
# t2i sample --run runs/attngan --caption "a small red house on the left" --seed 3 --enlarge 8 --out house.png
# ```
#
# All three write the same kind of run folder, so a run trained by one can be opened by another. These are the finished
# ones in `run_dir` at the moment (none, if you start here):

# %%
runs = config.project_root() / run_dir / "runs"
print([path.parent.name for path in sorted(runs.glob("*/summary.json"))])

# %% [markdown]
# ## 6. Your own pictures and captions
#
# Put a text file with captions, one a line, beside each image (`cat.jpg`, `cat.txt`), or one `metadata.jsonl` with
# lines like `{"file_name": "cat.jpg", "text": "a cat on a sofa"}`. Then `t2i prepare folder --source photos --name
# photos`, and train on it with `--world photos`. The same from Python; let us play the user, with ten pictures of
# which two are bad:

# %%
import tempfile
from pathlib import Path

place = tempfile.TemporaryDirectory()
photos = Path(place.name, "photos")
photos.mkdir()
for k, picture in enumerate(scenes[:9]):
    picture.image.save(photos / f"picture{k}.png")
    (photos / f"picture{k}.txt").write_text("\n".join(picture.captions[:2]))
(photos / "picture8.txt").unlink()  # nobody described this one
(photos / "broken.jpg").write_bytes(b"not a picture at all")
(photos / "broken.txt").write_text("a cat on a sofa")

# %%
manifest = folder.prepare(photos, Path(place.name, "prepared"), size=32, test_fraction=0.2, seed=seed, workers=1)
print({split: counts["images"] for split, counts in manifest["splits"].items()})
for item in manifest["skipped"]:
    print(f"skipped {item['file']}: {item['reason']}")
assert {item["file"] for item in manifest["skipped"]} == {"broken.jpg", "picture8.png"}

# %% [markdown]
# The two bad ones are named, skipped and counted; the other eight are prepared, and their captions make the vocabulary:

# %%
own = data.load(Path(place.name, "prepared"), "train", resolutions=(8, 16, 32))
print(f"{len(own)} images to train on; the vocabulary has {len(own.vocabulary())} tokens")
print(own.caption(0), "→", own.vocabulary().tokenize([own.caption(0)]).ids.tolist())

# %% [markdown]
# Your pictures come without boxes, and no scorer knows their words. So what is measured on them leaves out the questions
# that need boxes or a scorer, and what is left compares trainings on the same pictures with one another only.
#
# ## 7. Failure case: what happens when you get it wrong
#
# A mistake that you can mend gets a message that says how, here and on the command line (exit status 2):

# %%
for mistake in (
    lambda: toyworld.draw("toy-scene", seed, 0, 64),
    lambda: config.profile("tiny"),
    lambda: data.load("data/nothing-here"),
    lambda: own.vocabulary().tokenize(["a red house", "  "]),
):
    try:
        mistake()
        raise AssertionError("this should have been refused")
    except config.UserError as error:
        print("•", brief(str(error)))

# %% [markdown]
# One mistake gets no error, because it may be what you meant: a caption with words that the pictures' captions never
# had. Such words are replaced by one token for everything unknown, and you are told:

# %%
print(own.vocabulary().tokenize(["a glass submarine in the snow"]).notes())
place.cleanup()

# %% [markdown]
# ## Takeaways
#
# * In a toy world the truth about each picture is known, so "did it draw what the caption says?" has an answer.
# * Four parameters, four sizes, one code path: what runs at `smoke` is what trains at `paper`.
# * Your own pictures need a caption each, and nothing else.
#
# ## Exercises
#
# 1. *How much do captions tell?* In what share of the captions of `toy-scenes` is the place of some object stated, and
#    in what share its size? Begin with a function for any list of captions, each a list of words as in
#    `scene.truth["words"]`. It may fail as often as you like: the cell says whether it is right, or which property
#    fails.

# %%
from t2i_core import exercises


def share(captions, kind):
    return None  # your answer


exercises.check("00.1", share)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The fourth entry of a word says what it states.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Places are told in most captions, sizes in fewer. A metric that blamed a system for a wrong size would be unfair to it
# wherever the caption does not state one.
#
# ```python
# def share(captions, kind):
#     return sum(any(word[3] == kind for word in caption) for caption in captions) / len(captions)
#
#
# assert exercises.check("00.1", share)
# every = [caption for k in range(100) for caption in toyworld.draw("toy-scenes", 0, k, 32).truth["words"]]
# assert share(every, "color") == 1.0  # a colour is always told
# assert share(every, "place") > share(every, "size") > 0.2
# ```
#
# </details>
#
# 2. *New to the test.* Birds and flowers are split by species: no species of the test split is in training. Show it for
#    `toy-birds`.
#
# <details><summary>Hint</summary>
#
# `class_id`; test pictures are those from index $2^{30}$ on.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# train_species = {toyworld.draw("toy-birds", 0, k, 32).class_id for k in range(200)}
# test_species = {toyworld.draw("toy-birds", 0, 2**30 + k, 32).class_id for k in range(100)}
# assert train_species and test_species and not train_species & test_species
# ```
#
# </details>
#
# *Next: [01 Captions and matching](01_captions_and_matching.ipynb)*
