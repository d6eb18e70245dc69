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
# # 05 · LVR: texture and style inside the layout
#
# *Previous: [04 ALR: hard and easy elements](04_alr_weights.ipynb) · next:
# [06 Training ALR-GAN](06_training_alr_gan.ipynb)*
#
# With things in their places, ALR-GAN wants them to *look* right. *Layout visual refinement* compares the drawn and the
# real image's features inside the layout, in two ways: **perception** (PR), place by place, and **style** (SR), all
# places at once. You will
#
# 1. build the layout mask, which the paper leaves undefined, and look at it on real images,
# 2. compute PR and SR by hand, with their gradients,
# 3. edit images (move an object, recolour it, shuffle everything) and see which of the two notices,
# 4. ask whether there should be one mask or two, where our two sources contradict each other,
# 5. let an image be drawn by PR alone, by SR alone, and by both.
#
# Well under a minute at `smoke`, about one at `mini` on a laptop, once notebook [01](01_captions_and_matching.ipynb)
# has trained the matching model (about three minutes more if it has not). Code:
# [`t2i_core/lvr.py`](../t2i_core/lvr.py). Paper: ALR-GAN, section 3.3; the numbers E10 and E11 are ours.

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

from t2i_core import explore, figures, teaching
from t2i_core.attention import masked_softmax
from t2i_core.lvr import LVRLoss, gram_matrix, layout_mask, perception_loss, style_loss
from t2i_core.metrics import stats
from t2i_core.ssm import similarity_matrix

figures.style()
real = bench.profile.name != "smoke"  # at smoke nothing is trained long enough for a statement about quality

# %% [markdown]
# ## 1. The mask of a layout
#
# The paper writes $\mathrm{Mask}_\Theta \odot H$ and never says what $\mathrm{Mask}_\Theta$ is. $\Theta$ has one row a
# word, the mask must have one number a region. **Ours:** how far a single word rules the region,
#
# $$m_k = \frac{\max_j \theta_{j,k} - 1/T}{1 - 1/T},$$
#
# which is 0 where all $T$ words share the region equally and 1 where one word has it alone. By hand, for $T = 4$:

# %%
theta = torch.tensor([[0.25, 0.7, 1.0], [0.25, 0.1, 0.0], [0.25, 0.1, 0.0], [0.25, 0.1, 0.0]])  # 4 words, 3 regions
by_hand = torch.tensor([(0.25 - 0.25) / 0.75, (0.7 - 0.25) / 0.75, (1.0 - 0.25) / 0.75])
torch.testing.assert_close(layout_mask(theta[None])[0, 0], by_hand)
padded = torch.cat([theta, torch.zeros(2, 3)])  # two slots of padding change nothing
torch.testing.assert_close(layout_mask(padded[None], torch.tensor([[True] * 4 + [False] * 2]))[0, 0], by_hand)


# %% [markdown]
# On real images, with the matching model's words and regions (as in notebook [03](03_ssm_tvm_reconstruction.ipynb)):


# %%
def mask_of(images, text):
    """Mask_Theta of images (n, 3, H, W) and their captions, at 8 x 8: (n, 1, 8, 8)."""
    theta = similarity_matrix(damsm.encode_image(images).regions, text.words, text.mask)
    side = int(theta.shape[2] ** 0.5)
    return layout_mask(theta, text.mask).unflatten(2, (side, side))


first = range(5)
captions = [test.caption(i) for i in first]
masks = mask_of(test.images(first), damsm.encode_text(captions))
teaching.mask_rows(test.images(first), masks[:, 0], captions)

# %% [markdown]
# Bright means *decided*. By its definition the mask does not ask for objects: a region that "desert" rules alone is as
# open as one that "red" rules. Dark are the seams between two words' regions, and what the caption does not speak of.
# In fact, how open is it on objects, and how open on the background?

# %%
many = range(64)
masks = mask_of(test.images(many), damsm.encode_text([test.caption(i) for i in many]))
large = F.interpolate(masks, size=test.size)[:, 0]
on_object = test.masks(many) > 0
print(f"mean mask on objects {large[on_object].mean():.2f}, on the background {large[~on_object].mean():.2f}")

# %% [markdown]
# ## 2. PR by hand
#
# **Claim.** Texture is right when features agree place by place, inside the layout:
#
# $$L_{PR} = \frac{1}{N D} \big\lVert \mathrm{Mask}_\Theta \odot H - \mathrm{Mask}_{\Theta^*} \odot H^* \big\rVert_F
# \qquad \textbf{(ALR-GAN E10)}$$
#
# Two features, three regions; the mask closes the last region in both images (ALR-GAN E10):

# %%
h = torch.tensor([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]], requires_grad=True)
h_star = torch.tensor([[1.0, 3.0, 0.0], [0.0, 5.0, 0.0]])
m = torch.tensor([[1.0, 1.0, 0.0]])
by_hand = math.sqrt((0 - 3) ** 2 + (1 - 5) ** 2) / (3 * 2)  # region 1 agrees, region 3 is masked
pr = perception_loss((m * h)[None], (m * h_star)[None])
torch.testing.assert_close(pr, torch.tensor(by_hand))
assert perception_loss((m * h)[None], (m * h)[None]) == 0  # and 0 where both agree
(slope,) = torch.autograd.grad(pr, h)
print("gradient, one column a region:\n", slope.numpy().round(3))
assert (slope[:, [0, 2]] == 0).all()

# %% [markdown]
# The gradient is exactly 0 where the two agree, and, however large the difference, where the mask is closed: **PR is
# local**. Its length as a whole is always $1/(ND)$, however far apart the images are, since it is a norm's:

# %%
torch.testing.assert_close(slope.norm(), torch.tensor(1 / (3 * 2)))
far = (100 * h.detach()).requires_grad_()
(slope_far,) = torch.autograd.grad(perception_loss((m * far)[None], (m * h_star)[None]), far)
torch.testing.assert_close(slope_far.norm(), slope.norm())

# %% [markdown]
# ## 3. SR by hand
#
# **Claim.** Style is which features occur *together*, wherever they are. The Gram matrix $\mathcal{G}(F) = F F^\top$
# sums over the regions and forgets them:
#
# $$L_{SR} = \frac{1}{N D} \big\lVert \mathcal{G}(\mathrm{Mask}_\Theta \odot H)
# - \mathcal{G}(\mathrm{Mask}_{\Theta^*} \odot H^*) \big\rVert_F \qquad \textbf{(ALR-GAN E11)}$$
#
# By hand with loops, and with the regions in another order (ALR-GAN E11):

# %%
f = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
gram = torch.tensor([[sum(float(a * b) for a, b in zip(x, y, strict=True)) for y in f] for x in f])
torch.testing.assert_close(gram_matrix(f[None])[0], gram)
g = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # its Gram matrix is [[1, 0], [0, 0]]
by_hand = math.sqrt((5 - 1) ** 2 + 2 * (2 - 0) ** 2 + (10 - 0) ** 2) / (3 * 2)
torch.testing.assert_close(style_loss(f[None], g[None]), torch.tensor(by_hand))
shuffled = f[:, [2, 0, 1]]
assert style_loss(shuffled[None], f[None]) == 0 and perception_loss(shuffled[None], f[None]) > 0
teaching.matrices({"G(F)": gram}, ["feature 1", "feature 2"], ["feature 1", "feature 2"])

# %% [markdown]
# $\mathcal{G}$ holds how strong each feature is in all (diagonal) and how often two come together. Shuffling the
# regions leaves it as it was: **SR is blind to places**, the one thing the rest of ALR-GAN cares for. Unlike PR's, its
# gradient grows with the features: features ten times as large pull a hundred times as hard in the value, ten times in
# each slope.

# %%
slopes = []
for scale in (1.0, 10.0):
    scaled = (scale * f).requires_grad_()
    (slope,) = torch.autograd.grad(style_loss(scaled[None], (scale * g)[None]), scaled)
    slopes.append(slope.norm())
torch.testing.assert_close(slopes[1], 10 * slopes[0])

# %% [markdown]
# ## 4. What each of them sees
#
# Now on images. As $H$ we take the first layer of the matching model's image encoder, at full resolution: a fixed,
# simple stand-in for the generator's features. All masks are open in this section, so that only the two losses speak.

# %%
single = [i for i in range(len(test)) if len(test.truth[i]["parts"]) == 1]
middle = [i for i in single if 0.3 < sum(test.truth[i]["parts"][0]["box"][::2]) / 2 < 0.6][:32]  # room to move right
images = test.images(middle)
core = (test.masks(middle, images.shape[-1]) == 1)[:, None]  # the object, (n, 1, R, R)
inside = F.max_pool2d(core.float(), 3, 1, 1) > 0  # with its soft edge


def features(images):
    """H (n, D, R, R): the first convolution of the matching model's image encoder."""
    return damsm.image_encoder.body[:2](images)


def each(loss, one, other):
    """A loss for every pair of a batch, (n,)."""
    return torch.stack([loss(a[None], b[None]) for a, b in zip(one, other, strict=True)])


# %% [markdown]
# The edits: the hole that an object leaves is filled, row by row, with the background's median colour.


# %%
def removed(images, inside):
    """The object gone."""
    background = images.masked_fill(inside, float("nan")).nanmedian(dim=3, keepdim=True).values.nan_to_num(0)
    return torch.where(inside, background, images)


def moved(images, inside, pixels):
    """The object moved to the right."""
    return torch.where(inside.roll(pixels, 3), images.roll(pixels, 3), removed(images, inside))


def textured(images, inside):
    """A checkerboard on the object, its mean colour kept."""
    steps = torch.arange(images.shape[-1])
    return torch.where(inside, (images + (steps[:, None] + steps) % 2 - 0.5).clamp(-1, 1), images)


edits = {
    "moved by 2 px": moved(images, inside, 2),
    "moved by 8 px": moved(images, inside, 8),
    "recoloured": torch.where(core, images.flip(1), images),
    "textured": textured(images, core),
    "removed": removed(images, inside),
}
teaching.picture_rows({"original": images[:7]} | {name: edited[:7] for name, edited in edits.items()}, width=1.0)

# %% [markdown]
# To these we add three changes of the features themselves: all regions shuffled; a *contrast*, $H$ made a fifth
# stronger everywhere; and *noise* of the very same size, the same change with a random sign in each region. Each loss
# is divided by its mean between two different images, so that 1 means "as far as another picture".

# %%
H = features(images)
torch.manual_seed(seed)
places = torch.randperm(H[0, 0].numel())
signs = torch.randint(0, 2, H[:, :1].shape) * 2.0 - 1
changes = {name: features(edited) for name, edited in edits.items()}
changes["shuffled"] = H.flatten(2)[:, :, places].view_as(H)
changes |= {"contrast": 1.2 * H, "noise": H + 0.2 * H * signs}

rows = []
for metric, loss in (("PR", perception_loss), ("SR", style_loss)):
    scale = each(loss, H, H.roll(1, 0)).mean()
    for name, changed in changes.items():
        value = stats.mean(each(loss, changed, H) / scale, seed=seed)
        rows.append((metric, name, value.value, value.low, value.high))
seen = pd.DataFrame(rows, columns=["metric", "change", "value", "low", "high"])
teaching.dots_against(seen, ["PR", "SR"], "change", at=1, says="as far as another picture")

# %%
table = seen.pivot(index="change", columns="metric", values="value").loc[list(changes)]
print(table.to_string(float_format="{:.3f}".format))
assert table.SR["shuffled"] < 1e-4 < table.PR["shuffled"]
assert math.isclose(table.PR["contrast"], table.PR["noise"], rel_tol=1e-4) and table.SR["noise"] < table.SR["contrast"]

# %% [markdown]
# Read it in three steps.
#
# * **PR sees places, SR does not.** Shuffled or moved, the picture is far off for PR and nearly the same for SR.
# * **SR sees what is there.** Take the object away or change its colour, and SR answers far more than to any move.
# * **SR sees what PR cannot weigh.** Contrast and noise are equal for PR, to the digit. SR tells them apart: a change
#   that goes the same way everywhere adds up in the Gram matrix, one of random sign cancels.
#
# (There is no change that SR sees and PR does not see at all: PR is 0 only where the features agree, and then so is
# SR.)
#
# Try your own edit. The static figure comes from the same function:


# %%
def edit(image, shift, recolour):
    """A test image, its object moved and its colour turned, and what PR and SR say to it."""
    one, body, hole = (x[image : image + 1] for x in (images, core, inside))
    edited = moved(torch.where(body, one.lerp(one.flip(1), recolour), one), hole, shift)
    says = []
    for name, loss in (("PR", perception_loss), ("SR", style_loss)):
        says.append(f"{name} {float(loss(features(edited), features(one)) / each(loss, H, H.roll(1, 0)).mean()):.3f}")
    return figures.image_grid(torch.cat([one, edited]), titles=["original", ", ".join(says)], width=2.2)


edit(image=0, shift=2, recolour=0.0)

# %%
explore.figure_explorer(
    edit,
    image=ipywidgets.IntSlider(0, 0, len(images) - 1, description="image"),
    shift=ipywidgets.IntSlider(2, 0, 10, description="shift (px)"),
    recolour=ipywidgets.FloatSlider(0.0, min=0.0, max=1.0, step=0.1, description="recolour"),
)

# %% [markdown]
# ## 5. One mask or two? A discrepancy
#
# The overview of ALR-GAN sketches `LVRLoss.forward(gen_features, real_features, layout_mask)`: one mask for both
# images. The close reading prints two, $\mathrm{Mask}_\Theta$ for the drawn and $\mathrm{Mask}_{\Theta^*}$ for the real
# one. We follow the equations; `LVRLoss` takes one mask or two. Does it matter? Take the object that was moved by 8 px
# as the drawn image: all is right but the place.

# %%
text = damsm.encode_text([test.caption(i) for i in middle])
drawn, size = edits["moved by 8 px"], images.shape[-1]
mask, mask_star = (F.interpolate(mask_of(x, text), size=size) for x in (drawn, images))
lvr = LVRLoss()
two = lvr.terms(features(drawn), H, mask, mask_star)
one = lvr.terms(features(drawn), H, mask)
torch.testing.assert_close(two["pr"], perception_loss(mask * features(drawn), mask_star * H))
torch.testing.assert_close(one["sr"], style_loss(mask * features(drawn), mask * H))
print({name: f"one mask {float(one[name]):.2e}, two masks {float(two[name]):.2e}" for name in two})
assert not real or one["sr"] > 2 * two["sr"]

# %% [markdown]
# With **two** masks SR compares the object with the object, wherever each of them is, and finds them alike. With
# **one** mask it cuts the drawn image's layout out of the real image, where something else stands at that place, and
# calls the misplaced object a fault of style.
#
# There is a second reason. $\mathrm{Mask}_\Theta$ depends on $\Theta$, so the loss can also be lowered by changing the
# *mask*. Let the features stay as they are, and let only the logits of $\Theta$ follow L_LVR's gradient, once with each
# reading:


# %%
def learn_mask(two_masks, steps):
    """Free logits of Theta under PR, features fixed: the mean mask and the loss, step by step."""
    few, side = slice(0, 8), H.shape[-1]
    start = similarity_matrix(damsm.encode_image(drawn[few]).regions, text.words[few], text.mask[few])
    logits = start.clamp(min=1e-4).log().requires_grad_()
    adam = torch.optim.Adam([logits], 0.1)
    log = []
    for step in range(steps):
        theta = masked_softmax(logits, text.mask[few, :, None], dim=1)
        mask = layout_mask(theta, text.mask[few]).unflatten(2, (8, 8))
        mask = F.interpolate(mask, size=side)
        pr = perception_loss(mask * H.roll(1, 0)[few], (mask_star[few] if two_masks else mask) * H[few])
        adam.zero_grad()
        pr.backward()
        adam.step()
        log.append({"step": step, "mask": float(mask.detach().mean()), "PR": float(pr.detach())})
    return pd.DataFrame(log)


readings = {"one mask": learn_mask(False, 60 if real else 15), "two masks": learn_mask(True, 60 if real else 15)}
figures.curves(readings, ["mask", "PR"], smoothing=0, titles=["mean of the drawn image's mask", "PR"])

# %%
end = {name: log.iloc[-1] for name, log in readings.items()}
print({name: f"mask {row['mask']:.3f}, PR {row['PR']:.2e}" for name, row in end.items()})
assert not real or end["one mask"]["PR"] < 0.5 * end["two masks"]["PR"]

# %% [markdown]
# (Here the drawn features are those of *another* picture, so nothing is right.) With one mask the loss goes towards 0
# by closing the mask: a layout in which no word rules anything has nothing to compare. With two masks that way out is
# shut: $\mathrm{Mask}_{\Theta^*} \odot H^*$ stays, whatever $\Theta$ does. It is the flaw of $L_{ALR}$'s weights from
# notebook [04](04_alr_weights.ipynb) in another dress: what weighs a loss must not be paid by that loss alone.
#
# ## 6. Images drawn by PR, by SR, and by both
#
# What does each term *want*? Start from grey with a trace of noise, and let the pixels themselves follow the gradient
# of L_LVR towards a real image's features. To make the mask visible we cut it at one half: regions are fully in or
# fully out.

# %%
targets = test.images(first)
wanted, size = features(targets), targets.shape[-1]
open_mask = F.interpolate((mask_of(targets, damsm.encode_text(captions)) > 0.5).float(), size=size)


def draw(perception, style, steps):
    """Optimise pixels, from grey, under L_LVR with the chosen terms."""
    pixels = (0.05 * torch.randn(targets.shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()
    adam = torch.optim.Adam([pixels], 0.05)
    lvr = LVRLoss(perception, style)
    for _ in range(steps):
        loss = lvr(features(pixels.tanh()), wanted, open_mask, open_mask) * wanted[0].numel()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return pixels.detach().tanh()


steps = 150 if real else 30
drawings = {"PR": draw(True, False, steps), "SR": draw(False, True, steps), "PR + SR": draw(True, True, steps)}
inside_mask = torch.where(open_mask > 0, targets, torch.ones(1))
teaching.picture_rows({"real": targets, "inside the mask": inside_mask} | drawings)

# %%
error = {
    name: float(((image - targets).abs() * open_mask).sum() / open_mask.sum() / 3) for name, image in drawings.items()
}
print("mean error of a pixel inside the mask:", {name: round(value, 3) for name, value in error.items()})
assert not real or error["PR"] < error["SR"]

# %% [markdown]
# **PR** copies: inside the mask it rebuilds the very picture, and outside it leaves the grey alone. **SR** paints a
# stained-glass window of the same colours and strokes, in no order. **Both together** are the picture again, though
# less clean than by PR alone: with equal weights the style term is the larger by far at the start (below), and steers.

# %%
sizes = lvr.terms(features(drawings["SR"]), wanted, open_mask, open_mask)
start = lvr.terms(features(torch.zeros_like(targets)), wanted, open_mask, open_mask)
print({name: f"grey image {float(start[name]):.1e}, image drawn by SR {float(sizes[name]):.1e}" for name in sizes})

# %% [markdown]
# The two terms are summed without weights in our L_LVR = PR + SR; the paper never writes the sum, and says nothing of
# their proportion. Since SR grows with the square of the features and PR with the features, their balance depends on
# how large $H$ happens to be: in a trained generator, batch-normalised and gated, it is another one than here.
#
# ## 7. Failure case: rather nothing than something in the wrong place
#
# PR compares place by place. An object one width away from its place is then wrong *twice*: it is missing where it
# should be, and it stands where nothing should be. No object at all is wrong only once.

# %%
wrong_place, nothing = (each(perception_loss, changes[name], H) for name in ("moved by 8 px", "removed"))
share = stats.proportion((wrong_place > nothing).float())
print(f"PR prefers no object to one 8 px away in {share.value:.0%} of the images [{share.low:.0%}, {share.high:.0%}]")
print(f"mean ratio of the two: {(wrong_place / nothing).mean():.2f}; two equal faults, squared and added, give 1.41")
assert share.value > 0.5  # a property of the loss and of the toy world: nothing is trained for it

# %% [markdown]
# So PR punishes a generator that draws the right thing in a place that the caption never fixed ("a red house in the
# snow": where?), and rewards one that draws background. That is why PR comes *after* the layout's alignment in ALR-GAN,
# and why it should not shout: it presumes that things stand where they stand in the one real image at hand.
#
# ## Takeaways
#
# * PR is local and copies; SR is a sum over places and cannot tell where anything is. They answer to different edits.
# * A mask that carries gradient can be closed to lower the loss. Two masks, the real one a constant, shut that way out.
# * $\mathrm{Mask}_\Theta$, the sum PR + SR and the meaning of $N$ and $D$ are ours; the paper leaves them open.
#
# ## Exercises
#
# 1. *An average place.* For two pictures with the object at different places, which single image is best under PR
#    squared, averaged over the two? And under SR? Write the first one here, for features (1, D, N); run the cell, and
#    it says whether it is right, or which property fails:

# %%
from t2i_core import exercises


def best(first, second):
    return None  # your answer


exercises.check("05.1", best)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What minimises a sum of squared distances?
#
# </details>
#
# <details><summary>Solution</summary>
#
# Under squared PR the mean of both: two ghosts of half strength. Under SR any picture with one whole object is perfect.
#
# ```python
# def best(first, second):
#     return (first + second) / 2
#
#
# assert exercises.check("05.1", best)
# left, right = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 1.0]]])
# ghost = best(left, right)
# squared = [sum(perception_loss(x, t) ** 2 for t in (left, right)) for x in (ghost, left)]
# assert squared[0] < squared[1]
# style = [sum(style_loss(x, t) for t in (left, right)) for x in (ghost, left)]
# assert style[1] == 0 < style[0]
# ```
#
# </details>
#
# 2. *Rotations of the features.* The Gram matrix forgets places. Show that PR and SR both stay the same if all features
#    are turned by one rotation $U$, and that SR's Gram matrix turns along.
#
# <details><summary>Hint</summary>
#
# $\mathcal{G}(UF) = U F F^\top U^\top$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# a, b = torch.randn(2, 1, 4, 9, dtype=torch.float64)
# u, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
# torch.testing.assert_close(perception_loss(u @ a, u @ b), perception_loss(a, b))
# torch.testing.assert_close(style_loss(u @ a, u @ b), style_loss(a, b))
# torch.testing.assert_close(gram_matrix(u @ a), u @ gram_matrix(a) @ u.T)
# ```
#
# </details>
#
# 3. *The cheapest mask.* With one mask for both images, show that the derivative of PR with respect to an open mask is
#    never negative: closing it always pays.
#
# <details><summary>Hint</summary>
#
# Write the squared norm as a sum over regions.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $\lVert m \odot (H - H^*) \rVert$ has the derivative $m_k \lVert h_k - h^*_k \rVert^2 / \lVert\cdot\rVert \ge 0$.
#
# ```python
# mask = torch.rand(1, 1, 9, requires_grad=True)
# a, b = torch.randn(2, 1, 4, 9)
# (slope,) = torch.autograd.grad(perception_loss(mask * a, mask * b), mask)
# assert (slope >= 0).all() and slope.sum() > 0
# ```
#
# </details>
#
# *Next: [06 Training ALR-GAN](06_training_alr_gan.ipynb)*
