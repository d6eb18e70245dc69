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
# # 04 · ALR: hard and easy elements, and the weights that should tell them apart
#
# *Previous: [03 SSM, TVM and reconstruction](03_ssm_tvm_reconstruction.ipynb) · next: [05 LVR](05_lvr.ipynb)*
#
# A drawn image has a layout $\Theta$, the real image of the same caption a layout $\Theta^*$. *Adaptive layout
# refinement* makes the first like the second, with more weight where they disagree most. You will
#
# 1. split the disagreement into **easy** and **hard** elements, and see what $\gamma$ does to the split,
# 2. build the weights $\alpha$ and $\beta$ and the loss $L_{ALR}$ term by term, by hand,
# 3. find out how large this loss is beside the others, by its gradient,
# 4. optimise the loss **as printed**, watch it reach its minimum without moving the layout at all, and see what we do
#    instead.
#
# Well under a minute at `smoke`, about one at `mini` on a laptop, once notebook [01](01_captions_and_matching.ipynb)
# has trained the matching model (about three minutes more if it has not). Code: [`t2i_core/alr.py`](../t2i_core/alr.py)
# and [`t2i_core/systems/alr_gan.py`](../t2i_core/systems/alr_gan.py). Paper: ALR-GAN, section 3.2, steps 1 to 4; the
# numbers E3, E4, ... are ours.

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

# %%
import math

import ipywidgets
import pandas as pd
import torch
import torch.nn.functional as F

from t2i_core import explore, figures, systems, teaching
from t2i_core.alr import ALRModule, alr_loss, layout_residual, pad_to_features, split_residual
from t2i_core.attention import masked_softmax
from t2i_core.config import PROFILES
from t2i_core.data import BatchStream
from t2i_core.metrics import stats
from t2i_core.ssm import similarity_matrix

figures.style()
real = bench.profile.name != "smoke"  # at smoke nothing is trained long enough for a statement about quality

# %% [markdown]
# ## 1. Two layouts that disagree
#
# We need a drawn image whose only fault is its layout. A **mirrored** real image is one: everything in it is right but
# the places. It plays the drawn image in most of this notebook (our stand-in; the real thing comes in section 5 and in
# notebook [06](06_training_alr_gan.ipynb)). Words, regions and $H^*$ are the matching model's, whose layouts are
# decided.

# %%
count = 64
tokens = damsm.vocabulary.tokenize([test.caption(i) for i in range(count)])
text = damsm.encode_text(tokens)
images = test.images(range(count))
mirrored = images.flip(3)
h_star, h = damsm.encode_image(images).regions, damsm.encode_image(mirrored).regions  # (count, D, 8, 8)
theta_star, theta = (similarity_matrix(features, text.words, text.mask) for features in (h_star, h))
D, side = h_star.shape[1], h_star.shape[2]
N = side * side


# %% [markdown]
# **Claim.** The elementwise distance of the layouts says where they disagree (step 1), and a threshold splits it into
# what is easy and what is hard to match (steps 2 and 3a):
#
# $$R = |\Theta^* - \Theta| \qquad \textbf{(ALR-GAN E3)}$$
# $$R_{easy} = R \odot [R < \gamma], \qquad R_{hard} = R \odot [R \ge \gamma] \qquad \textbf{(ALR-GAN E4)}$$
#
# By hand, for three words and three regions at $\gamma = 0.25$ (ALR-GAN E3, ALR-GAN E4):

# %%
toy_star = torch.tensor([[0.9, 0.5, 0.2], [0.1, 0.3, 0.5], [0.0, 0.2, 0.3]])
toy = torch.tensor([[0.8, 0.2, 0.9], [0.1, 0.7, 0.1], [0.1, 0.1, 0.0]])
r = torch.tensor([[0.1, 0.3, 0.7], [0.0, 0.4, 0.4], [0.1, 0.1, 0.3]])
torch.testing.assert_close(layout_residual(toy[None], toy_star[None])[0], r)
easy, hard = (part[0] for part in split_residual(toy[None], toy_star[None], gamma=0.25))
torch.testing.assert_close(easy + hard, r)
assert ((easy == 0) | (hard == 0)).all()  # a partition: no element is in both
assert split_residual(torch.tensor([[[0.25]]]), torch.tensor([[[0.75]]]), gamma=0.5)[1] == 0.5  # exactly gamma: hard
teaching.matrices({"R": r, "easy": easy, "hard": hard}, ["red", "house", "a"], ["left", "middle", "right"], (0, 1))

# %% [markdown]
# The two parts never overlap and add up to $R$; an element of exactly $\gamma$ is hard. On an image it looks like this:


# %%
def split_map(image, word, gamma):
    """One word of a test image: both layouts and the split of their residual."""
    word = min(word, len(tokens.words[image]) - 1)
    maps = (t[image, word].unflatten(0, (side, side)) for t in (theta_star, theta))
    title = f"'{tokens.words[image][word]}' in: {test.caption(image)}"
    return teaching.layout_split(images[image], mirrored[image], *maps, gamma, title)


def mass_by_word(image):
    """The sum of the residual of each word of an image's caption."""
    return layout_residual(theta, theta_star)[image].sum(1)


shown = max(range(count), key=lambda i: (len(test.truth[i]["parts"]) == 1, float(mass_by_word(i).max())))
word = int(mass_by_word(shown).argmax())
split_map(shown, word, gamma=0.1)

# %% [markdown]
# The word with most to answer for in this picture. It has two faults: attention where the thing is not, and none where
# it is. Both are hard, and the rest of the picture, where the two layouts almost agree, is easy. Move $\gamma$
# yourself:

# %%
explore.figure_explorer(
    split_map,
    image=ipywidgets.IntSlider(shown, 0, count - 1, description="image"),
    word=ipywidgets.IntSlider(word, 0, tokens.ids.shape[1] - 1, description="word"),
    gamma=ipywidgets.FloatSlider(0.1, min=0.0, max=1.0, step=0.05, description="gamma"),
)

# %% [markdown]
# ## 2. How many elements are hard?
#
# The paper gives no $\gamma$. Count, for every $\gamma$, which share of all (word, region) elements is hard, and which
# share of the residual's squared size $\lVert R \rVert_F^2$ lies in them:

# %%
gammas = torch.linspace(0, 1, 41)
residual = layout_residual(theta, theta_star)
number = [explore.hard_share(theta, theta_star, float(g), text.mask) for g in gammas]
size = [float((residual[residual >= g] ** 2).sum() / (residual**2).sum()) for g in gammas]
teaching.share_curves(gammas, {"of the elements": number, "of the squared residual": size}, 0.1, "gamma")

# %% [markdown]
# The first curve drops at once, the second stays high: **a few elements carry nearly all the disagreement**. From about
# 0.1 on the first curve is nearly flat, so that the exact $\gamma$ changes little; ours is 0.1, the dotted line
# (`gamma` in [`ALRGANConfig`](../t2i_core/systems/alr_gan.py)). At $\gamma = 0$ everything is hard, at 1 nothing.
#
# ## 3. From residuals to weights
#
# **Claim.** How much each element counts is to be learned, from the residual and the real image's features (steps 3b to
# 3d):
#
# $$\alpha = \phi_\alpha(R_{easy} \odot H^*) \quad \textbf{(ALR-GAN E5)}, \qquad
# \beta = \phi_\beta(R_{hard} \odot H^*) \quad \textbf{(ALR-GAN E6)}$$
#
# $R$ is $T \times N$ and $H^*$ is $D \times N$; so $R$ is "mapped to $H^*$'s space by filling in zeros".
#
# | decided by the paper | ours |
# |---|---|
# | pad $R$ with zeros to $H^*$'s size | the zeros go below the words: $T$ of $D$ channels hold $R$, so $T \le D$ |
# | "a series of convolutions and activations" $\phi$ | two 3 x 3 convolutions, a leaky ReLU between them |
# | nothing about the weights' range | a sigmoid into $[0.1, 1]$: section 6 shows why it must be bounded |
#
# The module has these parts (ALR-GAN F2), and by hand they give the same weights (ALR-GAN E5, ALR-GAN E6):

# %%
torch.manual_seed(seed)
module = ALRModule(feature_dim=D, text_dim=D, gamma=0.1)  # words and regions of the matching model: both D features
terms = module.alignment(theta, theta_star, h_star)
easy, hard = split_residual(theta, theta_star, module.gamma)
padded = {"alpha": pad_to_features(easy, D), "beta": pad_to_features(hard, D)}
assert all((r[:, theta.shape[1] :] == 0).all() for r in padded.values())  # nothing beyond the words
for name, phi in (("alpha", module.phi_alpha), ("beta", module.phi_beta)):
    logits = phi(padded[name].view_as(h_star) * h_star).flatten(2)
    torch.testing.assert_close(getattr(terms, name), 0.1 + 0.9 * logits.sigmoid())

# %%
shapes = {"R": residual, "R padded": padded["alpha"], "H*": h_star, "alpha": terms.alpha, "beta": terms.beta}
print("\n".join(f"{name:9s} {tuple(tensor.shape)}" for name, tensor in shapes.items()))
parts = {name: sum(p.numel() for p in part.parameters()) for name, part in module.named_children()}
print("parameters:", parts)

# %% [markdown]
# (Words and regions share one space here, so the module's word projection is not needed.) Note what the product in E5
# does: the residual of word $j$ meets *feature* $j$ of $H^*$, and the two have nothing to do with each other. It is
# what "padding, then the Hadamard product" says, and the paper gives no reason for it.
#
# ## 4. The loss, term by term
#
# $$L_{ALR} = \frac{1}{N D}\Big(\lVert \alpha \odot R_{easy} \rVert_F + \lVert \beta \odot R_{hard} \rVert_F
# + \lVert \mathrm{softplus}(\max \alpha - \min \beta) \rVert_F\Big) \qquad \textbf{(ALR-GAN E7)}$$
#
# The third term asks for $\beta > \alpha$: "hard regions are the main problem, so the model should pay them more
# attention" (ALR-GAN Q2). With one word, two regions and $D = 1$ (ALR-GAN E7):

# %%
alpha, beta = torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[0.9, 0.6]]])
easy_toy, hard_toy = torch.tensor([[[0.04, 0.0]]]), torch.tensor([[[0.0, 0.8]]])
by_hand = {
    "easy": 0.5 * 0.04,  # the norm of (0.5 * 0.04, 0)
    "hard": 0.6 * 0.8,
    "order": math.log(1 + math.exp(0.5 - 0.6)),  # softplus(max alpha - min beta)
}
print({name: round(value, 3) for name, value in by_hand.items()}, "each divided by N D = 2")
value = alr_loss(alpha, beta, easy_toy, hard_toy)
torch.testing.assert_close(value, torch.tensor(sum(by_hand.values()) / 2))

# %% [markdown]
# The order term is never 0: it is $\ln 2$ where $\max\alpha = \min\beta$, and shrinks as $\beta$ rises above $\alpha$.
#
# ## 5. How large is it? What N and D do
#
# The paper defines neither $N$ nor $D$. We take the number of regions and of features, as their letters suggest. The
# norm in front is not a mean, though: a norm over $ND$ elements grows at most like $\sqrt{ND}$, so after division by
# $ND$ the loss *shrinks* as networks grow. For a residual with the same root mean square $\rho$ everywhere it is
# $\rho / \sqrt{ND}$:

# %%
rows = []
for p in PROFILES.values():
    for i, pixels in enumerate(p.resolutions[:-1], start=1):
        nd = pixels**2 * p.ngf
        flat = torch.full((1, p.ngf, pixels**2), 0.1)
        one, none = torch.ones_like(flat), torch.zeros_like(flat)
        value = float(alr_loss(one, one, none, flat)) - math.log(2) / nd  # without the order term
        rows.append((p.name, i, nd, value, 0.1 / math.sqrt(nd)))
        assert math.isclose(value, 0.1 / math.sqrt(nd), rel_tol=1e-3)
sizes = pd.DataFrame(rows, columns=["profile", "stage", "N D", "loss at R = 0.1 everywhere", "0.1 / sqrt(N D)"])
print(sizes.to_string(index=False, float_format="{:.1e}".format))

# %% [markdown]
# A tenth of disagreement in *every* element costs a few thousandths at `mini`, and less than one at the paper's size,
# most of it at the coarsest stage. What counts in training is the gradient, so measure it: all terms of an untrained
# ALR-GAN's generator on one batch, and the norm of each one's gradient over all of the generator's parameters.

# %%
as_printed = {"lambda_alr": 1.0, "lambda_lvr": 1.0}  # L_ALR and L_LVR stand in the paper's total without a weight
system = systems.create("alr-gan", profile, matcher=damsm, seed=seed, **as_printed).train()
batch = BatchStream(test, damsm.vocabulary, min(16, bench.profile.batch_size), seed).at(0)
out = system.generate(batch.tokens, seed=seed)
losses = system.generator_losses(batch, out)
parameters = list(system.generator.parameters())
gradient = {}
for name, loss in losses.items():
    parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    gradient[name] = math.sqrt(sum(float(part.square().sum()) for part in parts if part is not None))

# %%
kinds = {"g": "adversarial", "damsm": "matching", "kl": "conditioning"}
kinds |= {"rec": "reconstruction", "alr": "layout: ALR", "pr": "layout: LVR", "sr": "layout: LVR"}
group = {name: kinds[name.split("_")[0].rstrip("012")] for name in gradient}
order = sorted(gradient, key=lambda name: list(kinds.values()).index(group[name]))
ratio = (gradient["g1"] + gradient["g2"]) / (gradient["alr1"] + gradient["alr2"])
print(f"the adversarial gradient of stages 1 and 2 is {ratio:,.0f} times that of L_ALR")
assert not real or ratio > 1000
teaching.log_bars({name: gradient[name] for name in order}, group, "norm of the gradient, all generator parameters")

# %% [markdown]
# The axis is logarithmic. As printed, $L_{ALR}$ is thousands of times quieter than the adversarial terms: Adam, which
# looks at the sum, will not notice it. Either $N$ and $D$ mean something else in the authors' code, or the loss has a
# weight that the paper does not tell. Ours has one, `lambda_alr` (and `lambda_lvr`), so that the question can be asked
# at all; notebook [06](06_training_alr_gan.ipynb) trains the ablations.
#
# The layouts in this generator also differ from the ones above:

# %%
with torch.no_grad():
    _, rebuilt = system.generator.reconstruct(batch.images, out.text)
pairs = {f"stage {i + 1}": (out.attention[i].detach(), rebuilt.attention[i]) for i in range(len(out.attention))}
for name, (drawn, true) in ({"mirrored": (theta, theta_star)} | pairs).items():
    residuals = layout_residual(drawn, true)
    typical = residuals[residuals >= 0.1].median()
    print(f"{name}: strongest word of a region {drawn.amax(1).mean():.2f}, median of the hard elements {typical:.2f}")

# %% [markdown]
# An untrained generator has decided next to nothing: the words share every region. What passes $\gamma$ there are small
# differences just above the threshold, no object in the wrong place. *Hard* in the paper's sense means "decided
# differently", and can only appear once $\Theta$ and $\Theta^*$ are decided.
#
# ## 6. The optimum of the loss as printed
#
# **Claim (a flaw in the paper).** $\alpha$ and $\beta$ are trained by the very loss that they weight, and the cheapest
# way to make a weighted residual small is a weight of zero. Take $\alpha = 0$ and $\beta = b$ everywhere, and write
# $h = \lVert R_{hard} \rVert_F$. Then $N D\, L_{ALR} = b\,h + \mathrm{softplus}(-b)$, whose minimum over $b \ge 0$ is
#
# $$\min_{\alpha, \beta \ge 0} N D\, L_{ALR} = \begin{cases}\ln 2 & h \ge 1/2 \quad (b = 0)\\
# -h \ln h - (1-h)\ln(1-h) & h < 1/2 \quad (b = \ln\tfrac{1-h}{h})\end{cases}$$
#
# (No other weights do better: $\lVert\beta \odot R_{hard}\rVert \ge h \min\beta$.) Check it on a grid:

# %%
grid = torch.linspace(0, 12, 120_001, dtype=torch.float64)
for h_norm in (0.01, 0.1, 0.3, 0.5, 2.0):
    lowest = (grid * h_norm + F.softplus(-grid)).min()
    entropy = -h_norm * math.log(h_norm) - (1 - h_norm) * math.log(1 - h_norm) if h_norm < 0.5 else math.log(2)
    assert math.isclose(lowest, entropy, abs_tol=1e-6)
norms = hard.flatten(1).norm(dim=1)
print(f"h of our {count} pairs: median {norms.median():.2f}; above 1/2 in {(norms > 0.5).float().mean():.0%} of them")

# %% [markdown]
# So for every layout that is wrong by more than half a unit in all, the best the loss can do is $\alpha = \beta = 0$:
# it is then $\ln 2 / (ND)$ **whatever the layout**, and its gradient with respect to the layout is 0.
#
# ### With $\Theta$ and $\Theta^*$ fixed
#
# First only the weights learn. `as_printed` keeps the paper's loss (with a softplus, so that weights stay positive);
# `adaptive`, our default, differs in two ways: the weights live in $[0.1, 1]$, and they are constants for the residual
# terms, so that $\phi$ learns from the order term alone and cannot buy a low loss with low weights.

# %%
few = slice(0, 8)
given = theta_star[few], h_star[few]


def learn(weights, steps, rate=None):
    """Train phi (Adam), and where there is a rate also free logits of Theta (gradient descent); log what happens."""
    torch.manual_seed(seed)
    module = ALRModule(D, D, weights=weights)
    phi = [p for name, p in module.named_parameters() if name.startswith("phi")]
    logits = torch.zeros_like(given[0], requires_grad=rate is not None)
    optimisers = [torch.optim.Adam(phi, 1e-2)] if phi else []
    optimisers += [torch.optim.SGD([logits], rate)] if rate is not None else []
    log = []
    for step in range(steps):
        drawn = masked_softmax(logits, text.mask[few, :, None], dim=1) if rate is not None else theta[few]
        terms = module.alignment(drawn, *given)
        for optimiser in optimisers:
            optimiser.zero_grad()
        (terms.loss * N * D * len(drawn)).backward()  # without 1/(N D), as a sum over the images
        for optimiser in optimisers:
            optimiser.step()
        log.append(describe(step, terms))
    return pd.DataFrame(log), module


def describe(step, terms):
    """One row of the log: the loss, the weights where they act, what is left of the residual."""
    easy, hard = (pad_to_features(part, D) for part in (terms.easy, terms.hard))
    acting = {"alpha": (terms.alpha * easy).norm() / easy.norm(), "beta": (terms.beta * hard).norm() / hard.norm()}
    order = {"log max alpha": terms.alpha.amax((1, 2)).log(), "log min beta": terms.beta.amin((1, 2)).log()}
    left = {"easy": easy.flatten(1).norm(dim=1), "hard": hard.flatten(1).norm(dim=1)}
    left["R"] = (easy + hard).flatten(1).norm(dim=1)
    row = {"step": step, "loss": terms.loss * N * D} | acting | order | left
    return {name: float(value.detach().mean()) if torch.is_tensor(value) else value for name, value in row.items()}


# %% [markdown]
# `acting` measures a weight where it has something to weigh:
# $\lVert\alpha\odot R_{easy}\rVert / \lVert R_{easy}\rVert$, and likewise for $\beta$.

# %%
steps = 120 if real else 30
learned = {"as printed": learn("as_printed", steps), "adaptive (ours)": learn("adaptive", steps)}
fixed_layout = {name: log for name, (log, _) in learned.items()}
floor = pd.DataFrame({"step": [0, steps - 1], "loss": [math.log(2)] * 2})
titles = ["N D times the loss", "alpha where it acts", "beta where it acts"]
figures.curves(fixed_layout | {"ln 2": floor}, ["loss", "alpha", "beta"], smoothing=0, titles=titles)

# %%
printed, ours = (log.iloc[-1] for log in fixed_layout.values())
assert printed.R == fixed_layout["as printed"].R[0]  # the layout was given: nothing has been aligned
assert not real or (printed.loss < 1.05 * math.log(2) and printed.beta < 0.01)
for name, row in (("as printed", printed), ("adaptive", ours)):
    print(f"{name:10s} N D L = {row.loss:.4f} (ln 2 = {math.log(2):.4f}), alpha {row.alpha:.1e}, beta {row.beta:.1e}")

# %% [markdown]
# As printed, the loss falls from its start to $\ln 2$ while not a single element of the layout moves: all of the
# "progress" is the weights going to 0. With ours the loss *rises*, because the hard elements gain weight; it stays an
# honest measure of a layout that is still wrong.
#
# ### With $\Theta$ free to follow
#
# Now the layout may learn too. It starts undecided (every word everywhere, as a fresh generator's does) and follows
# $L_{ALR}$'s gradient by plain gradient descent, while $\phi$ learns beside it. `fixed` is the ablation
# $\alpha = \beta = 1$.

# %%
names = {"as printed": "as_printed", "adaptive (ours)": "adaptive", "fixed": "fixed"}
followed = {name: learn(weights, steps, rate=1.5) for name, weights in names.items()}
logs = {name: log for name, (log, _) in followed.items()}
titles = ["what is left of R", "of its hard elements", "of its easy elements"]
figures.curves(logs, ["R", "hard", "easy"], smoothing=0, titles=titles)

# %%
left = {name: log.R.iloc[-1] / log.R[0] for name, log in logs.items()}
print("share of the disagreement that is left:", {name: f"{value:.0%}" for name, value in left.items()})
assert not real or left["as printed"] > 0.9 > 0.6 > left["adaptive (ours)"]

# %% [markdown]
# As printed, the layout stops where it was when the weights died, after a few steps: **the loss is at its minimum and
# nothing is aligned.** Under the two others the hard elements fall first and steeply. `fixed` is at least as fast as
# `adaptive`, whose easy elements weigh a tenth and so are left for last (they may even grow, as hard elements become
# easy).
#
# ## 7. Do the weights tell hard from easy?
#
# **Claim (ALR-GAN Q2).** $\beta$ should lie above $\alpha$: even the smallest $\beta$ above the largest $\alpha$.

# %%
log = fixed_layout["adaptive (ours)"]
both = {name: log[["step", name]].rename(columns={name: "log weight"}) for name in ("log max alpha", "log min beta")}
figures.curves(both, ["log weight"], smoothing=0, titles=["adaptive (ours): the order of the weights"])

# %% [markdown]
# The lines cross at once and separate as far as the bounds $[0.1, 1]$ allow. On images that $\phi$ has not seen:

# %%
trained = learned["adaptive (ours)"][1]
with torch.no_grad():
    unseen = trained.alignment(theta[8:], theta_star[8:], h_star[8:])
gap = unseen.beta.amin((1, 2)) - unseen.alpha.amax((1, 2))
value = stats.mean(gap, seed=seed)
note = "min beta - max alpha of adaptive weights on unseen pairs of mirrored and real images; bounds [0.1, 1]"
bench.finding("alr-beta-minus-alpha", value.value, value.low, value.high, value.n, note)
print(f"min beta - max alpha: {value}")
at_the_ends = (unseen.alpha < 0.15).float().mean(), (unseen.beta > 0.95).float().mean()
print("alpha below 0.15 in {:.1%} of its elements, beta above 0.95 in {:.1%}".format(*at_the_ends))
assert not real or value.low > 0

# %% [markdown]
# ## 8. Failure case: nothing adaptive is left
#
# The order is as claimed. But look at the second line: $\alpha$ and $\beta$ have all but become **two constants**, the
# ends of their range, the same for every word, region and image. That is no accident. The order term is all that is
# left to teach $\phi$, and it does not know of any element, only of the largest $\alpha$ and the smallest $\beta$. The
# residual terms do know the elements, but what they teach is zero. So the paper's loss offers $\phi$ two lessons, "be
# 0" and "be constant", and neither is "look at this region". Put two constants in the weights' place, and see what
# changes:

# %%
a, b = trained.weight_floor, 1.0
padded_parts = [pad_to_features(part, D) for part in (unseen.easy, unseen.hard)]
constant = alr_loss(torch.full_like(unseen.alpha, a), torch.full_like(unseen.beta, b), *padded_parts)
print(f"L_ALR with the trained weights {unseen.loss:.6f}, with two constants {constant:.6f}")
assert not real or math.isclose(unseen.loss, constant, rel_tol=0.05)

# %% [markdown]
# Nothing worth speaking of: adaptive weighting, taught this way, is a threshold with two slopes.
#
# ## Takeaways
#
# * A few (word, region) elements carry nearly all of a layout's error, so splitting $R$ at $\gamma$ is sensible, and
#   the exact $\gamma$ matters little.
# * Never let a weight be learned by the loss it weights: $L_{ALR}$ as printed is minimal at $\alpha = \beta = 0$, and
#   then aligns nothing. Bounded weights, taught by the order term alone, keep the loss honest; what they learn is a
#   constant.
# * $1/(ND)$ in front of a norm makes the loss thousands of times quieter than the adversarial terms. Measure gradients
#   before believing an ablation.
#
# ## Exercises
#
# 1. *When does the printed loss work after all?* Section 6 says: for $h < 1/2$. What does $\beta$ do as $h \to 0$, and
#    what is the derivative of the minimum with respect to $h$?
#
# <details><summary>Hint</summary>
#
# At a minimum over $b$, only the explicit $h$ counts.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The minimum is the binary entropy of $h$, whose derivative is $\ln\frac{1-h}{h} = \beta$: the gradient of the layout
# is 0 at $h = 1/2$ and grows without bound as $h \to 0$. The printed loss ignores a bad layout and polishes a good one.
#
# ```python
# h_norm = torch.tensor([0.4, 0.1, 0.01], dtype=torch.float64, requires_grad=True)
# entropy = -h_norm * h_norm.log() - (1 - h_norm) * (1 - h_norm).log()
# (slope,) = torch.autograd.grad(entropy.sum(), h_norm)
# torch.testing.assert_close(slope, ((1 - h_norm) / h_norm).log())
# assert slope[0] < slope[1] < slope[2]
# ```
#
# </details>
#
# 2. *Constant weights.* Show that with $\alpha = a$ and $\beta = b$ everywhere the layout's gradient on a hard element
#    is $b\, r / (ND \lVert R_{hard}\rVert)$. What does that mean when only one element is hard?
#
# <details><summary>Hint</summary>
#
# The gradient of $\lVert x \rVert$ is $x / \lVert x \rVert$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# A norm's gradient has length 1, however small the residual is: a single hard element is pushed with the full force
# $b$.
#
# ```python
# theta = torch.tensor([[[0.2, 0.9], [0.8, 0.1]]], requires_grad=True)
# target = torch.tensor([[[0.9, 0.95], [0.1, 0.05]]])
# easy, hard = split_residual(theta, target, gamma=0.1)
# alr_loss(torch.full_like(hard, 0.1), torch.full_like(hard, 0.7), easy, hard).backward()
# size = hard.norm().item()
# expected = -0.7 * 0.7 / (4 * size)  # -b r / (N D ||R_hard||), with N D = 4 and r = 0.7
# assert math.isclose(theta.grad[0, 0, 0], expected, rel_tol=1e-5)
# assert math.isclose(size, (2 * 0.7**2) ** 0.5, rel_tol=1e-5)  # both words of the first region are hard
# ```
#
# </details>
#
# 3. *A mean instead of a norm.* The factor of $\frac{1}{ND}\lVert\cdot\rVert_F$ makes the value depend on how finely
#    the picture is cut. Which factor does not?
#    Write it here; run the cell, and it says whether it is right, or which property fails:

# %%
from t2i_core import exercises


def size(residual):
    return None  # your answer


exercises.check("04.3", size)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Copy every region four times.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The root mean square, $\frac{1}{\sqrt{ND}}\lVert\cdot\rVert_F$.
#
# ```python
# def size(residual):
#     return residual.norm() / residual.numel() ** 0.5
#
#
# assert exercises.check("04.3", size)
# coarse = torch.rand(6, 16)
# fine = coarse.repeat_interleave(4, dim=1)  # each region cut into four
# printed = [r.norm() / r.numel() for r in (coarse, fine)]
# torch.testing.assert_close(size(coarse), size(fine))
# torch.testing.assert_close(printed[0], 2 * printed[1])  # as printed, a finer cut halves the loss
# ```
#
# </details>
#
# *Next: [05 LVR](05_lvr.ipynb)*
