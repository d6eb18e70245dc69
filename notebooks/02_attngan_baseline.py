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
# # 02 · AttnGAN, the baseline
#
# *Previous: [01 Captions and matching](01_captions_and_matching.ipynb) · next:
# [03 SSM, TVM and reconstruction](03_ssm_tvm_reconstruction.ipynb)*
#
# AttnGAN draws in **three stages**: a small picture from the sentence and some noise, then twice a larger one, each
# time looking at the words again. ALR-GAN keeps all of it and adds losses. So this is the system to know well, and
# the baseline that everything later is measured against. You will
#
# 1. follow a caption through the three stages, each by hand once,
# 2. write the losses of generator and discriminators as the paper does, and find a formula that has no minimum,
# 3. count parameters, here and at the published size,
# 4. train it, watch it learn, and measure it against the untrained generator and the real pictures,
# 5. draw your own captions, and see what goes wrong.
#
# Half a minute at `smoke`; a few minutes of training on one core at `mini`, the first time (and about three more if
# notebook [01](01_captions_and_matching.ipynb) has not trained the matching model). Code:
# [`t2i_core/systems/attngan.py`](../t2i_core/systems/attngan.py), [`blocks.py`](../t2i_core/blocks.py),
# [`adversarial.py`](../t2i_core/adversarial.py), [`train.py`](../t2i_core/train.py). Papers: AttnGAN (Xu et al., 2018);
# ALR-GAN, section 4, prints the same losses, and we use its equations. Their numbers E12, E13, E15 are ours, since the
# close reading that we work from numbers none.

# %% tags=["parameters"]
profile = "mini"
seed = 0
run_dir = "runs/notebooks"
device = "auto"

# %%
from data_prep.for_profile import dataset_for
from t2i_core.workbench import open_workbench

bench = open_workbench(dataset_for("toy-scenes", profile), profile, seed, run_dir, device)
damsm, test = bench.damsm(), bench.test_set
real = bench.profile.name != "smoke"  # at smoke nothing is trained long enough for a statement about quality

# %%
import ipywidgets
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image

from t2i_core import claims, explore, figures, systems, teaching, zoo
from t2i_core.adversarial import bce_discriminator, bce_fake, bce_generator
from t2i_core.blocks import conditioning_kl
from t2i_core.config import PROFILES
from t2i_core.data import BatchStream
from t2i_core.metrics import soa, stats, weights
from t2i_core.metrics.evaluate import caption_plan, draw, evaluate_images, untrained
from t2i_core.ssm import similarity_matrix, text_vision_matrix
from t2i_core.systems.attngan import AttnGAN

figures.style()

# %% [markdown]
# ## 1. Three stages
#
# With the sentence $s$, the words $W$ and noise $z$ (AttnGAN's notation; $H_i$ are hidden features, $\hat I_i$ images):
#
# $$H_0 = F_0(z, F^{ca}(s)), \qquad H_i = F_i(H_{i-1}, F^{attn}_i(W, H_{i-1})), \qquad \hat I_i = G_i(H_i)$$
#
# A fresh system, and a batch that it draws from captions and noise:

# %%
system = systems.create("attngan", profile, matcher=damsm, seed=seed).train()
batch = BatchStream(bench.train_set, damsm.vocabulary, bench.profile.batch_size, seed).at(0)
noise = system.noise(len(batch), seed=seed)
out = system.generate(batch.tokens, noise)
rows = [(i, tuple(h.shape), tuple(x.shape)) for i, (h, x) in enumerate(zip(out.features, out.images, strict=True))]
table = pd.DataFrame(rows, columns=["stage i", "H_i", "image"])
table.assign(words_looked_at=["none: s only", *(f"Theta {tuple(theta.shape)}" for theta in out.attention)])

# %% [markdown]
# Every stage doubles the picture; from the second on, each region of the last features has its own mixture of words,
# the attention $\Theta$ of shape (batch, words, regions).
#
# ## 2. The condition: a sentence with some play
#
# Captions are few and sentence vectors lie far apart; a generator could learn them by heart, point by point. StackGAN's
# **conditioning augmentation**, which AttnGAN keeps, makes each point a small cloud:
#
# $$c = \mu(s) + \sigma(s) \odot \epsilon, \quad \epsilon \sim N(0, 1), \qquad
# L_{KL} = \mathrm{KL}\left(N(\mu, \sigma^2)\,\|\,N(0, 1)\right)$$
#
# By hand: one linear layer whose halves gate each other ($a \cdot \mathrm{sigmoid}(b)$, a *gated linear unit*) gives
# $\mu$ and $\log\sigma^2$. Then the package's module, and the KL against torch's own:

# %%
augment, sentence = system.generator.condition, out.text.sentence
z, epsilon = noise[:, : system.config.noise_dim], noise[:, system.config.noise_dim :]
a, b = augment.net[0](sentence).chunk(2, 1)
mu, log_variance = (a * b.sigmoid()).chunk(2, 1)
condition, *moments = augment(sentence, epsilon)
torch.testing.assert_close(condition, mu + (0.5 * log_variance).exp() * epsilon)
torch.testing.assert_close(moments, [mu, log_variance])
cloud, standard = torch.distributions.Normal(mu, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
torch.testing.assert_close(conditioning_kl(mu, log_variance), torch.distributions.kl_divergence(cloud, standard).mean())

# %% [markdown]
# What does the KL term want? One dimension of it, for a cloud of width $\sigma$ around $\mu$:

# %%
sigma = torch.linspace(0.05, 2.5, 80)
divergence = {
    f"mu = {m}": pd.DataFrame(
        {"sigma": sigma, "KL": [float(conditioning_kl(torch.tensor([m]), 2 * s.log()[None])) for s in sigma]}
    )
    for m in (0.0, 1.0)
}
figures.curves(divergence, ["KL"], smoothing=0, x="sigma", titles=["KL of one dimension"])

# %% [markdown]
# It has its minimum at $\sigma = 1$ and explodes as the cloud shrinks to a point: so the noise stays alive. Its
# weight is 1, as in the published code; no equation of ALR-GAN mentions it.
#
# ## 3. The first picture: from a vector to $H_0$
#
# ALR-GAN calls this stage IFTM. A linear layer turns condition and noise into $4 \times 4$ positions; each up-block
# then doubles the size and halves the channels. Step by step:

# %%
initial = system.generator.initial
vector = torch.cat([condition, z], 1)
h = initial.start(vector).unflatten(1, (-1, 4, 4))
trail = [("condition and noise", tuple(vector.shape)), ("linear, batch norm, gate", tuple(h.shape))]
for up in initial.up:
    h = up(h)
    trail.append(("up: nearest neighbour, convolution, batch norm, gate", tuple(h.shape)))
torch.testing.assert_close(h, out.features[0])
pd.DataFrame(trail, columns=["after", "shape"])

# %% [markdown]
# The sentence is the only thing this stage hears of the caption. Every word that matters must be in its few numbers.
#
# ## 4. Looking at the words again
#
# Stages 2 and 3 do. For every region $h_k$ of the last features: how well does each word fit, as a softmax over the
# words, and the mixture of words that follows, $q_k = \sum_j \theta_{j,k} w_j$. Both go through residual blocks and
# one up-block: $H_i = \mathrm{Up}(\mathrm{Res}([H_{i-1};\, Q_{i-1}]))$. ALR-GAN names these two SSM and TVM, and
# notebook [03](03_ssm_tvm_reconstruction.ipynb) takes them apart. Here, the second stage in four lines, against the
# module:

# %%
stage = system.generator.stages[0]
words = stage.attention.project(out.text.words)  # into the features' space
theta = similarity_matrix(out.features[0], words, out.text.mask)
q = text_vision_matrix(theta, words).view_as(out.features[0])
torch.testing.assert_close(stage.refine(torch.cat([out.features[0], q], 1)), out.features[1])
torch.testing.assert_close(theta, out.attention[0])

# %% [markdown]
# A $3 \times 3$ convolution and a tanh make an image of each $H_i$. This is what the untrained generator draws, to
# compare with later:

# %%
some = [test.caption(i) for i in range(6)]
system.eval()
with torch.no_grad():
    fresh = system.generate(some, seed=seed)
teaching.picture_rows({f"{x.shape[-1]} px": x for x in fresh.images})

# %% [markdown]
# Noise with a texture that the layers themselves have. In eval mode (the `system.eval()` above) an image
# depends on its caption and its row of noise alone, so the first one drawn alone must be the same:

# %%
with torch.no_grad():
    alone = system.generate(some[:1], seed=seed)
torch.testing.assert_close(alone.images[-1][0], fresh.images[-1][0], rtol=1e-4, atol=1e-5)

# %% [markdown]
# ## 5. Three judges with two questions each
#
# A discriminator per stage sees an image of that stage's size and answers twice: *is this a real picture?*, and,
# given the sentence, *is this a real picture of that?* Both answers are **logits**; $D(x)$ in the papers is their
# sigmoid.

# %%
system.train()
rows = []
for i, (judge, picture, drawn) in enumerate(zip(system.discriminators, batch.images, out.images, strict=True)):
    for kind, x in (("real", picture), ("drawn", drawn)):
        features = judge.features(x)
        verdicts = judge.judge_alone(features), judge.judge_with(features, sentence)
        rows.append((i, kind, tuple(features.shape), *(float(v.detach().sigmoid().mean()) for v in verdicts)))
pd.DataFrame(rows, columns=["stage i", "images", "features", "mean D(x)", "mean D(x, s)"]).round(3)

# %% [markdown]
# Untrained judges have no opinion about the two kinds.
#
# ## 6. A loss that has no minimum
#
# **Claim.** The discriminator should say 1 to real images and 0 to drawn ones, so its loss on a drawn image is
# $-\log(1 - D)$. GR-GAN prints $1 - \log D$ there, in its equations 1, 3 and 6; ALR-GAN's parentheses are unbalanced
# at that place, so it could be read either way. Both formulas fall as $D$ falls. Draw them:

# %%
logit = torch.linspace(-8, 8, 161)
ours, printed = -0.5 * (1 - logit.sigmoid()).log(), -0.5 * (1 - logit.sigmoid().log())
readings = {"-1/2 log(1 - D)": ours, "-1/2 (1 - log D), as printed": printed}
lines = {name: pd.DataFrame({"logit of D": logit, "loss": loss}) for name, loss in readings.items()}
figures.curves(lines, ["loss"], smoothing=0, x="logit of D", titles=["loss on a drawn image"])

# %% [markdown]
# The solid line flattens out on the left: once the judge is sure that the image is drawn, there is nothing more to
# gain. The dashed one goes on falling, without end, and it is *steepest* where the judge is already right. Minimising
# it means winning forever on the easiest images. The gradients say the same:

# %%
sure = torch.tensor([-8.0], requires_grad=True)  # a drawn image, recognised with certainty
(slope,) = torch.autograd.grad(0.5 * bce_fake(sure), sure)
(slope_printed,) = torch.autograd.grad(-0.5 * (1 - sure.sigmoid().log()).sum(), sure)
assert 0 < slope < 0.001 and slope_printed > 0.49
assert -0.5 * (1 - torch.tensor(-80.0).sigmoid().log()) < -40 < 0 <= bce_fake(torch.tensor(-80.0))

# %% [markdown]
# We take $\log(1 - D)$, and compute it from the logits, as $\mathrm{softplus}$. For a judge that is badly wrong, the
# formula through the sigmoid leaves the range of float32:

# %%
wrong = torch.tensor([40.0])  # a drawn image, taken for real
assert torch.isinf(-(1 - wrong.sigmoid()).log()).all()
assert torch.isclose(bce_fake(wrong), torch.tensor(40.0))

# %% [markdown]
# ## 7. The losses, by hand and by the system
#
# Each stage's discriminator minimises, with $I^*$ real and $\hat I$ drawn:
#
# $$L_{D_i} = \underbrace{-\tfrac12 \mathbb{E}[\log D_i(I^*_i)] - \tfrac12 \mathbb{E}[\log(1 - D_i(\hat I_i))]}_{\text{alone}}
# \underbrace{-\tfrac12 \mathbb{E}[\log D_i(I^*_i, s)] - \tfrac12 \mathbb{E}[\log(1 - D_i(\hat I_i, s))]}_{\text{with
# the sentence}} \qquad \textbf{(ALR-GAN E13)}$$
#
# $$L_D = \sum_{i} L_{D_i} \qquad \textbf{(ALR-GAN E15)}$$
#
# With the logarithms written out as the paper has them:


# %%
def D(judge, images, sentence=None):
    """The probabilities D(x), or D(x, s) where a sentence is given, in float64."""
    features = judge.features(images)
    logits = judge.judge_alone(features) if sentence is None else judge.judge_with(features, sentence)
    return logits.double().sigmoid()


def L_D_i(judge, pictures, drawn, sentence):
    """ALR-GAN E13."""
    alone = -0.5 * D(judge, pictures).log().mean() - 0.5 * (1 - D(judge, drawn)).log().mean()
    matched = -0.5 * D(judge, pictures, sentence).log().mean() - 0.5 * (1 - D(judge, drawn, sentence)).log().mean()
    return alone + matched


# %% [markdown]
# The system's `discriminator_losses` gives one named term a stage (ALR-GAN E13), and the training loop minimises
# their sum (ALR-GAN E15):

# %%
stages = list(zip(system.discriminators, batch.images, out.images, strict=True))
by_hand = {f"d{i}": L_D_i(*stage, sentence).float() for i, stage in enumerate(stages)}
judged = system.discriminator_losses(batch, out)
torch.testing.assert_close(judged, by_hand, rtol=1e-4, atol=1e-5)
judge, picture, image = stages[0]
first_pair = bce_discriminator(judge.judge_alone(judge.features(picture)), judge.judge_alone(judge.features(image)))
assert first_pair < judged["d0"]  # it is one of the two pairs
print({name: round(float(loss.detach()), 3) for name, loss in judged.items()})
print(
    f"L_D = {float(sum(judged.values()).detach()):.3f}; judges that toss a coin: {3 * 2 * torch.log(torch.tensor(2.0)):.3f}"
)

# %% [markdown]
# The generator wants the opposite verdicts:
#
# $$L_{G_i} = -\tfrac12 \mathbb{E}[\log D_i(\hat I_i)] - \tfrac12 \mathbb{E}[\log D_i(\hat I_i, s)]
# \qquad \textbf{(ALR-GAN E12)}$$
#
# and AttnGAN adds the matching loss of notebook [01](01_captions_and_matching.ipynb) on the finest image, with weight
# $\lambda$, and the KL of section 2. By hand and by the system (ALR-GAN E12):

# %%
drawn_losses = system.generator_losses(batch, out)
for i, (judge, _, drawn) in enumerate(stages):
    L_G_i = -0.5 * D(judge, drawn).log().mean() - 0.5 * D(judge, drawn, sentence).log().mean()
    torch.testing.assert_close(drawn_losses[f"g{i}"], L_G_i.float(), rtol=1e-4, atol=1e-5)
    features = judge.features(drawn)
    same = bce_generator(judge.judge_alone(features), judge.judge_with(features, sentence))
    torch.testing.assert_close(same, L_G_i.float(), rtol=1e-4, atol=1e-5)
matching = system.matcher.losses(out.images[-1], out.text, batch.class_ids)
for name, loss in matching.items():
    torch.testing.assert_close(drawn_losses[f"damsm_{name}"], system.config.lambda_damsm * loss, rtol=1e-4, atol=1e-5)

# %%
said = {"g": "ALR-GAN E12", "k": "conditioning", "d": f"matching, lambda = {system.config.lambda_damsm:g}"}
terms = pd.DataFrame([(name, said[name[0]], float(loss.detach())) for name, loss in drawn_losses.items()])
terms.columns = ["term", "what", "value, untrained"]
terms.round(3)

# %% [markdown]
# $\lambda$ is 5 on CUB and 50 on COCO in the papers; our small profiles take less (the table says how much), because
# a small generator follows the matching model into pictures that please only it. The published code has one more
# trick that no equation prints: real images with a *wrong* caption count as fakes. It is the variant `mismatch`.
#
# ## 8. How large is it?
#
# A system that claims a published architecture should have its parameters, to the last one. The `paper` profile (64,
# 128, 256 pixels) is built here on torch's `meta` device: shapes without memory. Published: read off the authors'
# classes at their configuration for CUB.


# %%
def count(*modules):
    """Trainable parameters."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


def sizes(built):
    """Trainable parameters of each part of an AttnGAN."""
    g = built.generator
    found = {"conditioning": count(g.condition), "stage 1": count(g.initial), "stage 2": count(g.stages[0])}
    found |= {"stage 3": count(g.stages[1]), "image heads": count(*g.heads), "generator": count(g)}
    return found | {"discriminators": count(built.discriminators)}


# %%
with torch.device("meta"):
    at_paper = AttnGAN(AttnGAN.Config.of(PROFILES["paper"]), damsm)
published = {"conditioning": 102_800, "stage 1": 6_444_928, "stage 2": 267_136, "stage 3": 267_136}
published |= {"image heads": 3 * 864, "generator": 7_084_592, "discriminators": 97_596_678}
assert sizes(at_paper) == published
columns = {f"ours, {profile}": sizes(system), "ours, paper": sizes(at_paper), "published": published}
pd.DataFrame(columns).map("{:,}".format)

# %% [markdown]
# Equal, part by part. Where do the parameters sit?

# %%
bars = {f"discriminator {i}": count(at_paper.discriminators[i - 1]) for i in (3, 2, 1)}
bars |= {name: published[name] for name in ("stage 1", "stage 2", "stage 3", "conditioning", "image heads")}
teaching.log_bars(bars, {name: name.split()[0] if "disc" in name else "generator" for name in bars}, "parameters")

# %% [markdown]
# The stages that read the words are tiny; nearly all of the generator is the first stage, where one linear layer
# turns a vector into a picture. And the judges outweigh the generator many times over, the largest picture's most.
#
# ## 9. Training
#
# One update of the discriminators, one of the generator, in turn. `bench.trained` trains into the run folder, or
# loads the run that is there. Decided by the papers: Adam with $\beta = (0.5, 0.999)$ and an average of the
# generator's weights (EMA), which is what draws the pictures. Ours, for a small system and little time: the learning
# rates and the batch size of the profile.

# %%
run = bench.trained("attngan")
told = run.summary
print(f"{told['steps']} steps at batch {told['batch_size']}: {told['train_seconds']:.0f} s on {told['device']}")


# %%
def marked(figure, levels):
    """The figure with a dotted line at each panel's level."""
    for ax, level in zip(figure.axes, levels, strict=False):
        ax.axhline(level, color="black", linewidth=1, linestyle=":")
    return figure


names = {"d0": "L_D, stage 1", "d2": "L_D, stage 3", "g2": "L_G, stage 3"}
names |= {"damsm_words": "matching: words", "damsm_sentence": "matching: sentence", "kl": "KL"}
coin = [2 * 0.693, 2 * 0.693, 0.693]  # ln 2 for each pair of answers
marked(figures.curves(run.log(), list(names), titles=list(names.values())), coin)

# %% [markdown]
# The dotted lines are where a judge that tosses a coin would stand. An adversarial loss does not go to zero when all
# is well: it shows who is ahead. Where $L_D$ lies under its line and $L_G$ above, the judges win. The curves that
# *should* fall are the matching losses: the pictures come to fit their captions. The KL may rise meanwhile: it is the
# price of telling captions apart.
#
# The loop draws the same captions with the same noise all along, so the steps compare. Each grid that it left is cut
# into its pictures; a row is a step, a column is a caption:


# %%
def first_six(path, padding=2):
    """The first six pictures of a sample grid, (6, 3, R, R) in [-1, 1]."""
    grid = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 127.5 - 1
    side = bench.profile.resolutions[-1]
    columns = [padding + k * (side + padding) for k in range(6)]
    return torch.stack([grid[:, padding : padding + side, x : x + side] for x in columns])


steps = figures.spread(list(figures.sample_steps(run.folder).items()), 4)
teaching.picture_rows({f"step {step}": first_six(path) for step, path in steps}, some, width=1.15)

# %% [markdown]
# From top to bottom: first the colour of the whole, which is the setting; then horizon and sky; objects last, as
# patches of the right colour before they have a shape. It is the order in which the matching model reads captions
# (notebook 01, section 12).
#
# What would more steps bring? The package ships one longer training of each system, on the same pictures and with a
# matching model that was trained longer, too. **These weights are loaded, not trained here** (`make zoo` trains them
# anew, [`zoo.py`](../t2i_core/zoo.py) says how), and none of this notebook's numbers comes from them:

# %%
shipped = zoo.run("attngan")
drawers = {f"here, {run.summary['steps']} steps": run, f"shipped, {shipped.summary['steps']} steps": shipped}
rows = {name: draw(one.system(), some, seed) for name, one in drawers.items()} | {"real": test.images(range(6))}
teaching.picture_rows(rows, some, width=1.15)

# %% [markdown]
# The settings are whole now, and a thing is a body in its colour, often at its place. Shapes that anybody would name are
# rare: those come last, in the order that the rows above began with.
#
# ## 10. What each stage adds, and what the noise does

# %%
system = run.system()
with torch.no_grad():
    drawn = system.generate(some, seed=seed)
rows = {f"drawn, {x.shape[-1]} px": x for x in drawn.images} | {"real": test.images(range(6))}
teaching.picture_rows(rows, some, width=1.25)

# %% [markdown]
# Look down a column. Does the 8 pixel picture already place what the 32 pixel one shows? Only the last picture is
# scored by the matching model; the first two answer to their judges alone. Section 11 measures what each stage has of
# the setting.
#
# The noise has two parts, $z$ and the $\epsilon$ of the condition. How much does each move the picture, and how much
# does another caption?

# %%
with torch.no_grad():
    fresh, same = system.noise(6, seed=seed + 1), system.noise(1, seed=seed + 1).expand(6, -1)
    size = system.config.noise_dim
    new_z, new_epsilon = (torch.cat([a[:, :size], b[:, size:]], 1) for a, b in ((fresh, same), (same, fresh)))
    asked = {"fresh z": (some[:1] * 6, new_z), "fresh epsilon": (some[:1] * 6, new_epsilon), "captions": (some, same)}
    varied = {name: system.generate(captions, noise).images[-1] for name, (captions, noise) in asked.items()}
for name, pictures in varied.items():
    print(f"{name:14s} pixels vary by {pictures.std(0).mean():.3f} (of a range of 2)")
teaching.picture_rows(varied, width=0.95)

# %% [markdown]
# The third number should lead: the caption decides, the noise varies. Nothing in the losses *forces* the generator to
# use its noise, though; if the first two numbers fell towards 0, it would draw one picture a caption, and FID would
# notice: a cloud of pictures that is too narrow is far from the real one. Look also at *what* varies in the first two
# rows. Their caption says where its things are; if the patches wander about with the noise, the place was not read.
#
# ### Where the words act
#
# The attention of the last stage, for one caption. Each region shares one unit among the words, so the maps of a
# pixel add up to 1:

# %%
spot = next(i for i in range(len(test)) if len(test.truth[i]["parts"]) > 1)
picture = explore.render(system, test.caption(spot), seed)
torch.testing.assert_close(picture.attention[-1].sum(0), torch.ones_like(picture.attention[-1][0]))
teaching.word_maps(picture.images[-1], picture.words, picture.attention[-1])

# %% [markdown]
# Which words take most of the picture between them? Nobody told the generator that a word's map should be its object;
# where a map *does* sit on its object, it is because that helped against the losses. Whether it does is a question to
# measure, in notebooks [03](03_ssm_tvm_reconstruction.ipynb) and [06](06_training_alr_gan.ipynb).
#
# ## 11. Measured
#
# For each test image one caption, drawn once. `FID` compares the drawn with the real pictures as two clouds of
# features; the accuracies ask the **inspector**, a network trained on the truth of other toy pictures, whether the
# picture shows what its caption states. What measures here has trained nothing.

# %%
measured = {name: stats.Value.from_dict(value) for name, value in bench.measured(run).items()}
rows_drawn, which = caption_plan(test, bench.profile.evaluation_images)
captions = [test.caption(i, k) for i, k in zip(rows_drawn, which, strict=True)]
truths = [test.truth[i] for i in rows_drawn]
asked = ("soa", "attributes", "layout", "r_precision")
before = draw(untrained(run, system, captions), captions, seed=0)
baseline = evaluate_images(before, captions, truths, which, test.images([0, 1]), bench.world, metrics=asked)
baseline["fid"] = measured.pop("fid_untrained")

# %%
shown = ["fid", "setting_accuracy", "soa_i", "color_accuracy", "place_accuracy", "level_accuracy", "r_precision"]
rows = []
for name in shown:
    v, old, ceiling = measured[name], baseline[name], measured[name].protocol.get("on_real_images", "")
    rows.append(
        (
            name,
            f"{v.value:.3f} [{v.low:.3f}, {v.high:.3f}]",
            f"{old.value:.3f} [{old.low:.3f}, {old.high:.3f}]",
            ceiling,
        )
    )
pd.DataFrame(rows, columns=["metric", "trained", "untrained", "real pictures"]).set_index("metric")

# %% [markdown]
# The same as a figure. (And, where this run was long enough for it, the two promises that this project makes to
# itself.)

# %%
if real:
    assert measured["fid"].high < baseline["fid"].low
    assert measured["setting_accuracy"].low > baseline["setting_accuracy"].high
    print(f"FID {measured['fid'].value / baseline['fid'].value:.2f} of the untrained generator's (promised: under 0.5)")
    print(f"setting right in {measured['setting_accuracy'].value:.0%} (promised: 80 %)")
dots = [(name, "trained", v.value, v.low, v.high) for name, v in measured.items() if name in shown[1:]]
dots += [(name, "untrained", v.value, v.low, v.high) for name, v in baseline.items() if name in shown[1:]]
dots += [(name, "real pictures", *[measured[name].protocol["on_real_images"]] * 3) for name in shown[1:]]
figures.metric_dots(pd.DataFrame(dots, columns=["metric", "system", "value", "low", "high"]), shown[1:], "system")

# %% [markdown]
# The lines are 95 % intervals. "Real pictures" is what the same question gives on the pictures that the captions were
# written for: the ceiling of the instrument. "Untrained" is its floor, and not always 0: into texture without meaning
# the inspector reads objects by chance. The setting and R-precision (does a *scorer*, trained apart, find the caption
# of a picture among 99 others?) take a large step. Is that true of the objects, too? Where a trained dot is not
# clearly to the right of the untrained one, the share says nothing yet; section 13 asks a sharper question. And an
# object that is not found has no colour and no place either, so every miss counts in all of these.
#
# Which stage knows the setting? The same question for the pictures of each stage, beside real pictures of that size:


# %%
def setting_right(images):
    """The share of the captions that name a setting whose picture shows it."""
    return soa.attribute_accuracy(inspector.read(images), truths, which)["setting_accuracy"]


inspector = weights.load_inspector(bench.world)
noise = system.noise(len(captions), seed=0)
with torch.no_grad():
    parts = [system.generate(captions[k : k + 64], noise[k : k + 64]).images for k in range(0, len(captions), 64)]
dots = []
for resolution, stage in zip(test.resolutions, zip(*parts, strict=True), strict=True):
    for name, images in (("drawn", torch.cat(stage)), ("real pictures", test.images(rows_drawn, resolution))):
        value = setting_right(images)
        dots.append((f"{resolution} px", name, value.value, value.low, value.high))


# %%
def on_one_scale(figure):
    """The figure with all its panels from 0 to 1."""
    for ax in figure.axes:
        ax.set_xlim(0, 1.02)
    return figure


by_stage = pd.DataFrame(dots, columns=["metric", "pictures", "value", "low", "high"])
on_one_scale(figures.metric_dots(by_stage, [f"{r} px" for r in test.resolutions], "pictures"))

# %% [markdown]
# The real pictures say how much the inspector can see at each size at all. What lies between the two dots of a panel
# is missing from the drawing. If the first panel lags far behind the last, the first stage has left the caption to
# the later ones: it hears the sentence, but no matching loss ever asks it to listen. ALR-GAN works exactly at the
# later stages, on where things are.
#
# Published numbers of AttnGAN, for orientation only. Other pictures, other sizes, another feature network: **not
# comparable** with ours.

# %%
pd.DataFrame([row for row in claims.PUBLISHED if row["system"] == "attngan"]).assign(with_ours="not comparable")

# %% [markdown]
# ## 12. Your own caption
#
# `render` draws any caption with a trained system and returns what a widget shows: the images of all stages, the
# words, the attention, and notes on how the caption was read. First as a static figure:


# %%
def drawing(caption, number):
    """All stages of one caption, drawn with the noise of one number, and notes on how it was read."""
    made = explore.render(system, caption, number)
    stages = torch.cat([F.interpolate(image[None], made.images[-1].shape[-1]) for image in made.images])
    figure = figures.image_grid(stages, titles=[f"{image.shape[-1]} px" for image in made.images], width=2.1)
    figure.suptitle("; ".join([caption, *made.notes]), fontsize=9)
    return figure


drawing("a large red balloon in the sky on the left on the beach", seed)

# %% [markdown]
# And as a widget. Change one word at a time: the setting, the colour, the side. Which changes does the picture follow?

# %%
ideas = ["a small red house on the left in the snow", "a yellow kite in the sky in the desert", "a purple submarine"]
explore.figure_explorer(
    drawing,
    caption=ipywidgets.Combobox(value=ideas[0], options=ideas, description="caption", layout={"width": "90%"}),
    number=ipywidgets.IntSlider(seed, seed, seed + 20, description="noise"),
)

# %% [markdown]
# Outside of a notebook, `t2i sample --run ... --caption "..." --out picture.png` does the same.
#
# ## 13. Failure case: shapes that are not there, and colours that bleed
#
# Does it draw an object *because* the caption names it? The share of pictures in which the inspector finds a class is
# one half of the answer. The other half is how often it finds that class where nobody asked for it:

# %%
pictures = draw(system, captions, seed=0)
reading, reading_before = inspector.read(pictures), inspector.read(before)
classes = reading.config.parts
told = [
    {truth["parts"][part]["name"] for part in soa.stated(truth, k, "name")}
    for truth, k in zip(truths, which, strict=True)
]
named = torch.tensor([[name in said for name in classes] for said in told])
for kind, one in {"untrained": reading_before, "trained": reading}.items():
    asked_for, unasked = stats.proportion(one.found[named].numpy()), stats.proportion(one.found[~named].numpy())
    print(f"{kind:10s} found where named {asked_for}, found where not named {unasked}")

# %%
rows = []
for p, name in enumerate(classes):
    for kind, chosen in (("found where named", named[:, p]), ("found where not named", ~named[:, p])):
        value = stats.proportion(reading.found[chosen, p].numpy())
        rows.append((name, kind, value.value, value.low, value.high))
by_class = pd.DataFrame(rows, columns=["class", "metric", "value", "low", "high"])
on_one_scale(figures.metric_dots(by_class, ["found where named", "found where not named"], "class"))

# %% [markdown]
# A class is drawn on request where its dot on the left lies further right than the same class's dot in the right
# panel. Where the two agree, the picture shows that class about as often whatever the caption says: the word has not
# reached the shape. The gallery of the worst, pictures in which most of what their captions name is missing:

# %%
asked = soa.questions(truths, which, "name")
missing = {}
for q, hit in zip(asked, soa.answers(reading, asked), strict=True):
    if not hit:
        missing.setdefault(q.image, []).append(q.name)
worst = sorted(missing, key=lambda image: -len(missing[image]))[:8] or [0]
titles = [f"no {', no '.join(missing.get(i, []))}" for i in worst]
figures.image_grid(pictures[worst], [captions[i] for i in worst], columns=4, titles=titles, width=1.5)

# %% [markdown]
# Patches of colour where things should be; what lacks is the shape. The matching model did not ask for more: exchange
# a class in a caption, and it prefers the wrong one surprisingly often (notebook 01, section 12).
#
# Colours go astray, too. Where an object *is* found but in a wrong colour, is it the colour of another object of the
# same caption? If mistakes were blind, one of the seven wrong colours would be it by chance:

# %%
asked_colors = soa.questions(truths, which, "color")
column, says = reading.config.parts.index, reading.says("color")
borrowed = []
for q in asked_colors:
    read = says[q.image][column(q.name)]
    others = {p["color"] for p in truths[q.image]["parts"]} - {q.answer}
    if reading.found[q.image, column(q.name)] and read != q.answer and others:
        borrowed.append((read in others, len(others) / 7))

# %%
if borrowed:
    bleeding = stats.proportion([hit for hit, _ in borrowed])
    blind = sum(chance for _, chance in borrowed) / len(borrowed)
    print(f"wrong colours that belong to another object of the caption: {bleeding}; by chance {blind:.2f}")

# %% [markdown]
# Where the interval lies above chance, colours *bleed* from one object to another: the generator knows that there is
# a red thing and a house, but not that the red thing is the house. The sentence vector says both words; only the
# words' order says which belongs to which.
#
# ## Takeaways
#
# * Three stages, one idea each: the sentence gives the layout, the words refine it, and a judge per size asks two
#   questions.
# * Read a printed loss as an optimiser would: $1 - \log D$ looks like $\log(1 - D)$ and has no minimum.
# * Every measured share needs its floor and its ceiling: what does an untrained generator reach, what do real
#   pictures, and how often is the thing there when nobody asked?
#
# ## Exercises
#
# 1. *A coin toss.* What are $L_{D_i}$ and $L_{G_i}$ when every verdict is $D = \tfrac12$? Check the dotted lines of
#    section 9.
#
# <details><summary>Hint</summary>
#
# A logit of 0.
#
# </details>
#
# <details><summary>Solution</summary>
#
# Each of the two pairs of E13 costs $\ln 2$, so $L_{D_i} = 2\ln 2$; the two halves of E12 make $L_{G_i} = \ln 2$.
#
# ```python
# undecided = torch.zeros(16)
# two_pairs = 2 * bce_discriminator(undecided, undecided)
# torch.testing.assert_close(two_pairs, 2 * torch.log(torch.tensor(2.0)))
# torch.testing.assert_close(bce_generator(undecided, undecided), torch.log(torch.tensor(2.0)))
# ```
#
# </details>
#
# 2. *Why not simply $-L_D$?* The generator could maximise $L_D$, that is minimise $\tfrac12 \log(1 - D(\hat I))$,
#    instead of E12. What is the derivative of that by the logit? Compare it with E12's when the judge is sure that the
#    image is drawn.
#    Write it here; run the cell, and it says whether it is right, or which property fails:

# %%
from t2i_core import exercises


def slope(logit):
    return None  # your answer


exercises.check("02.2", slope)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $D = \sigma(x)$; a logit of $-6$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $-\sigma(x) / 2$. Both push the logit up, but the first hardly at all exactly when the generator has most to learn.
# E12 is the *non-saturating* loss.
#
# ```python
# def slope(logit):
#     return -0.5 / (1 + np.exp(-logit))
#
#
# assert exercises.check("02.2", slope)
# sure = torch.tensor([-6.0], requires_grad=True)
# (saturating,) = torch.autograd.grad(-0.5 * bce_fake(sure), sure)
# (as_e12,) = torch.autograd.grad(0.5 * bce_generator(sure, sure), sure)
# assert np.isclose(saturating.item(), slope(-6.0)) and as_e12 < -0.49
# ```
#
# </details>
#
# 3. *Who hears what?* Change the words $W$ but keep the sentence $s$. Which of $H_0, H_1, H_2$ change?
#
# <details><summary>Hint</summary>
#
# `Text` is a named tuple: `text._replace(words=...)`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $H_0$ hears the sentence only. So a word can change the first picture only through the sentence vector.
#
# ```python
# text = system.matcher.encode_text(some[:1])
# other = text._replace(words=text.words.roll(1, dims=1))  # every word's features in another order
# with torch.no_grad():
#     one, two = (system.generate(t, seed=0).features for t in (text, other))
# assert torch.equal(one[0], two[0])
# assert not torch.allclose(one[1], two[1]) and not torch.allclose(one[2], two[2])
# ```
#
# </details>
#
# *Next: [03 SSM, TVM and reconstruction](03_ssm_tvm_reconstruction.ipynb)*
