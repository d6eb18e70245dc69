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
# # 07 · The recurrent affine transformation (RAT)
#
# *Previous: [06 Training ALR-GAN](06_training_alr_gan.ipynb) · next: [08 Training RATLIP](08_training_ratlip.ipynb)*
#
# DF-GAN, GALIP and RATLIP have no attention over words. One sentence vector reaches the picture through *affine
# transforms*: it turns every channel of a feature map up or down. In most of these GANs each transform works by itself
# (CAT); RATLIP runs one LSTM cell through all of them (RAT). You will
#
# 1. build CAT, the LSTM cell and RAT **by hand**, equation by equation,
# 2. see which layer hears which, and what exactly passes between them,
# 3. see why the published code draws another picture when another caption of the **same batch** changes,
# 4. take shuffle attention apart, and
# 5. **measure** what the cell still knows of its caption and of its noise after every step, with and without it.
#
# About a minute at `smoke`, several at `mini` on a laptop, nearly all of it the training of two systems. Code:
# [`t2i_core/affine.py`](../t2i_core/affine.py), [`t2i_core/shuffle_attention.py`](../t2i_core/shuffle_attention.py),
# [`t2i_core/adversarial.py`](../t2i_core/adversarial.py), [`t2i_core/systems/ratlip.py`](../t2i_core/systems/ratlip.py)
# and [`t2i_core/metrics/state_probe.py`](../t2i_core/metrics/state_probe.py). Paper: RATLIP, section III; the numbers
# E1 to E8 are the paper's own.

# %% tags=["parameters"]
profile = "mini"
seed = 0
run_dir = "runs/notebooks"
device = "auto"

# %%
from data_prep.for_profile import dataset_for
from t2i_core.workbench import open_workbench

bench = open_workbench(dataset_for("toy-birds", profile), profile, seed, run_dir, device)
clip, train, test = bench.clip(), bench.train_set, bench.test_set

# %%
import math
from collections import Counter

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from t2i_core import adversarial, figures, teaching
from t2i_core.affine import Affine, Heads, PublishedRecurrentAffine, RecurrentAffine, scale_and_shift
from t2i_core.metrics import state_probe, stats
from t2i_core.shuffle_attention import ShuffleAttention
from t2i_core.systems.one_stage import FusionBlock

figures.style()
real = bench.profile.name != "smoke"  # at smoke nothing is trained long enough for a statement about quality

# %% [markdown]
# ## 1. The isolated transform (CAT)
#
# **Claim.** A caption can steer a picture without knowing any place in it: it scales and shifts whole channels of a
# feature map $c$,
#
# $$\mathrm{Affine}(c \mid h) = \gamma \cdot c + \beta \qquad \textbf{(RATLIP E1)}$$
#
# By hand, two channels of one row of two places (RATLIP E1):

# %%
c = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.5]]]])  # (B 1, C 2, H 1, W 2)
gamma, beta = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]])
by_hand = torch.tensor([[[[2 * 1 + 1, 2 * -2 + 1]], [[-3, -0.5]]]])
torch.testing.assert_close(scale_and_shift(c, gamma, beta), by_hand)

# %% [markdown]
# What it can do and what it cannot is best seen on a feature map that we can read, a picture with its three channels
# red, green and blue:

# %%
picture = test.images([0])
knobs = {
    "as it is": ((1, 1, 1), (0, 0, 0)),
    "more red": ((1.5, 0.6, 0.6), (0.2, 0, 0)),
    "no green": ((1, 0, 1), (0, -0.5, 0)),
    "brighter": ((1, 1, 1), (0.4, 0.4, 0.4)),
    "negative": ((-1, -1, -1), (0, 0, 0)),
}
turned = [scale_and_shift(picture, *(torch.tensor([v], dtype=torch.float32) for v in pair)) for pair in knobs.values()]
figures.image_grid(torch.cat(turned), titles=list(knobs))

# %% [markdown]
# One number a channel, the same everywhere: the caption can say "more red", and not "red **there**". Where a thing is
# must already stand in the feature map, in a channel that is strong at that place. A deep generator has hundreds of
# channels and a transform at every layer, which is how "a red crown" can work at all.
#
# **Claim.** $\gamma$ and $\beta$ come from the condition by two small perceptrons:
#
# $$\gamma = \mathrm{MLP}_1(h), \qquad \beta = \mathrm{MLP}_2(h) \qquad \textbf{(RATLIP E2)}$$
#
# | decided by the paper | ours |
# |---|---|
# | "single-layer perceptron" | one hidden layer (two linear layers), as in its code and in DF-GAN's |
# | nothing about the start | last layers at weight 0, bias 1 and 0: every transform starts as the identity |
# | "$h_i$, the *number* of hidden states" | the state itself; a number could say nothing of the caption |
#
# The sentences are the matching model's, less what all captions share, so that four of them differ well:

# %%
captions = [
    "a bird with a red crown and blue wings",
    "a bird with a blue crown and red wings",
    "the bird has a yellow belly and a long bill",
    "a flying bird with black wings",
]
shared = clip.encode_text([test.caption(k) for k in range(100)]).sentence.mean(0)
s = 4 * F.normalize(clip.encode_text(captions).sentence - shared).double()  # (B 4, D), all of length 4
B, D = s.shape

# %% [markdown]
# At the identity there is nothing to see, so most modules of this notebook are woken up first. By hand, with the
# module's own weights (RATLIP E2):


# %%
def awake(module):
    """Float64, and heads with random last layers."""
    for heads in (m for m in module.modules() if isinstance(m, Heads)):
        for net in (heads.gamma, heads.beta):
            nn.init.normal_(net[-1].weight, std=0.5)
    return module.double()


# %%
torch.manual_seed(seed)
cat = Affine(D, features=3).double()
x = torch.randn(B, 3, 4, 4, dtype=torch.float64)
torch.testing.assert_close(cat(x, s), x)  # the identity at the start
first, _, last = awake(cat).heads.gamma
by_hand = torch.relu(s @ first.weight.T + first.bias) @ last.weight.T + last.bias
torch.testing.assert_close(cat.heads(s)[0], by_hand)
torch.testing.assert_close(cat.heads(s[:1])[0], by_hand[:1])

# %% [markdown]
# The last line answers a sentence of the paper's abstract, that CAT "predicts data based on batch statistics": it does
# not. A caption's $\gamma$ is the same alone and in a batch. (It will not be so for the *published* RAT: section 4.)
#
# Two of these transforms with a leaky ReLU behind each are DF-GAN's fusion block, the left panel of the paper's figure
# (RATLIP F2):

# %%
block = awake(FusionBlock(D, 3))
inner = F.leaky_relu(block.affines[0](x, s), 0.2)
torch.testing.assert_close(block(x, s), F.leaky_relu(block.affines[1](inner, s), 0.2))

# %% [markdown]
# The panels beside it show the block with an LSTM cell in the condition's place (here
# [`BridgeBlock`](../t2i_core/systems/galip.py), which takes four steps of the cell), and the cell itself. It is next.
#
# ## 2. The cell, gate by gate
#
# **Claim.** Transforms that know nothing of each other cannot agree on a picture. So the layers are numbered
# $t = 1, 2, \dots$ as if they were words of a sentence, and a state passes from one to the next. It starts from the
# noise, so that the same caption can be drawn in many ways:
#
# $$h_0 = \mathrm{MLP}_3(z), \qquad c_0 = \mathrm{MLP}_4(z) \qquad \textbf{(RATLIP E3)}$$
#
# At every step it hears the sentence $s$ again, and three gates decide what to do with it:
#
# $$\begin{pmatrix} i_t\\ f_t\\ o_t\\ u_t \end{pmatrix} = \begin{pmatrix} \sigma\\ \sigma\\ \sigma\\ \tanh
# \end{pmatrix}\left(T\begin{pmatrix} s\\ h_{t-1}\end{pmatrix}\right) \qquad \textbf{(RATLIP E4)}$$
# $$c_t = f_t \odot c_{t-1} + i_t \odot u_t \qquad \textbf{(RATLIP E5)}$$
# $$h_t = o_t \odot \tanh(c_t) \qquad \textbf{(RATLIP E6)}$$
#
# The paper gives $T$ as a map $L^{D+d} \to L^d$, with $d$ the sentence's size and $D$ the cell's units. Count what E4
# needs: four vectors of $D$ numbers each. $T$ must go to $4D$. ($T$ is also the paper's letter for the sentence, and
# $c$ its feature map of E1 and the cell's memory.) It is `torch.nn.LSTMCell`, whose weights stand in the order $i, f,
# u, o$. By hand (RATLIP E4, E5 and E6):


# %%
def cell_by_hand(cell, s, h, c):
    """One step of an nn.LSTMCell from its weights: every quantity by its letter."""
    inputs, states = cell.weight_ih.chunk(4), cell.weight_hh.chunk(4)
    biases = (cell.bias_ih + cell.bias_hh).chunk(4)
    i, f, u, o = (s @ inputs[k].T + h @ states[k].T + biases[k] for k in range(4))
    i, f, o, u = i.sigmoid(), f.sigmoid(), o.sigmoid(), u.tanh()  # E4
    c = f * c + i * u  # E5
    return {"i": i, "f": f, "o": o, "u": u, "c": c, "h": o * c.tanh()}  # E6


# %%
units, steps, channels = 4, 6, 16
torch.manual_seed(seed)
rat = awake(RecurrentAffine(D, noise_dim=8, hidden=units, features=[channels] * steps))
assert rat.cells[0].weight_ih.shape == (4 * units, D) and rat.cells[0].weight_hh.shape == (4 * units, units)

# %% [markdown]
# One cell of four units, and six steps of sixteen channels. First the start (RATLIP E3), then step by step:

# %%
z = torch.randn(B, 8, dtype=torch.float64)
state = rat.start(z)
torch.testing.assert_close(state.h, z @ rat.initial_h.weight.T + rat.initial_h.bias)  # E3
assert (state.h[0] != state.h[1]).all()  # another z, another start

# %%
now, trace = {"h": state.h, "c": state.c}, []
for k in range(steps):
    now = cell_by_hand(rat.cells[0], s, now["h"], now["c"])
    *_, state = rat.modulation(k, s, state)
    torch.testing.assert_close((state.h, state.c), (now["h"], now["c"]))
    trace.append(now)

# %% [markdown]
# And all steps at once beside `torch.nn.LSTM`, an independent witness: one cell through six layers is an LSTM that
# reads the same word six times.

# %%
lstm = nn.LSTM(D, units, batch_first=True).double()
lstm.load_state_dict({f"{name}_l0": weight for name, weight in rat.cells[0].state_dict().items()})
start = rat.start(z)
read, _ = lstm(s[:, None].expand(-1, steps, -1), (start.h[None], start.c[None]))
torch.testing.assert_close(read, torch.stack([step["h"] for step in trace], 1))
traced = {name: torch.stack([step[name][0] for step in trace]) for name in ("i", "f", "o", "h")}
teaching.matrices(traced, [f"step {k + 1}" for k in range(steps)], [f"unit {k + 1}" for k in range(units)], (-1, 1))

# %% [markdown]
# Read the columns downwards, each a unit of the first caption's cell. Since $s$ never changes, the gates hardly do
# either, and $h$ moves less and less from step to step: the cell is on its way to a fixed point that $s$ decides. What
# wears off on the way is the start, $h_0$ and $c_0$, that is to say the **noise**. The same caption with two noises:

# %%
apart, states = [], [rat.start(z[:1]), rat.start(z[1:2])]
for k in range(steps):
    apart.append(float((states[0].c - states[1].c).norm().detach()))
    states = [rat.modulation(k, s[:1], state)[2] for state in states]
print("how far the two cells are apart, step by step:", " ".join(f"{distance:.2f}" for distance in apart))
assert apart[-1] < apart[0]

# %% [markdown]
# Keep this for section 6.
#
# ## 3. Gamma as a function of the state
#
# **Claim.** Every step has heads of its own, which read the one state:
#
# $$\gamma_t, \beta_t = \mathrm{MLP}_1^t(h_t),\ \mathrm{MLP}_2^t(h_t) \qquad \textbf{(RATLIP E7)}$$

# %%
state = rat.start(z)
for k in range(steps):
    gamma, beta, state = rat.modulation(k, s, state)
    first, _, last = rat.heads[k].gamma
    torch.testing.assert_close(gamma, last(torch.relu(first(state.h))))  # E7
own = [id(p) for heads in rat.heads for p in heads.parameters()]
assert len(set(own)) == len(own)  # no two steps share a head
print(f"one cell: {sum(p.numel() for p in rat.cells.parameters())} parameters; heads of {steps} steps:", end=" ")
print(sum(p.numel() for p in rat.heads.parameters()))

# %% [markdown]
# All steps of one picture in one function, which can tell each step something else:


# %%
def gammas(module, sentences, z):
    """gamma_t (T, C) of one picture; `sentences` (T, D) says what each step is told, which need not be the same."""
    state, found = module.start(z), []
    for k, told in enumerate(sentences):
        gamma, _, state = module.modulation(k, told[None], state)
        found.append(gamma[0])
    return torch.stack(found)


# %% [markdown]
# Now walk from the first caption, *red crown and blue wings*, to the third, *yellow belly and a long bill*, and watch how
# far $\gamma_t$ moves. Beside it CAT: `hidden=0`, where every step's heads see $[s; z]$ themselves.

# %%
torch.manual_seed(seed)
isolated = awake(RecurrentAffine(D, noise_dim=8, hidden=0, features=[channels] * steps))
walk = {"RAT": [], "CAT": []}
for mix in torch.linspace(0, 1, 21, dtype=torch.float64):
    told = torch.stack([s[0], torch.lerp(s[0], s[2], mix)])
    for name, module in (("RAT", rat), ("CAT", isolated)):
        usual, here = (gammas(module, one.expand(steps, -1), z[:1]).detach() for one in told)
        moved = (here - usual).norm(dim=1).tolist()
        walk[name].append({"mix": float(mix)} | {f"step {k + 1}: move of gamma": m for k, m in enumerate(moved)})
walk = {name: pd.DataFrame(rows) for name, rows in walk.items()}
figures.curves(walk, list(walk["RAT"].columns[1:]), smoothing=0, x="mix")

# %% [markdown]
# With both the caption moves every step, and every step by its own measure (the untrained weights decide which of the
# two moves more). The curves do not show what sets them apart. For that, tell **one step alone** another caption: which
# steps notice? $\partial\gamma_t/\partial s_j$ is the answer, where $s_j$ is what step $j$ is told (RATLIP Q8: RAT is
# "to ensure that different layers can access global information").


# %%
def influence(module):
    """How strongly gamma_t (row) hangs on what step j (column) is told: the norm of the derivative."""
    told = s[0].expand(steps, -1).clone()
    slopes = torch.autograd.functional.jacobian(lambda told: gammas(module, told, z[:1]), told)
    return slopes.square().sum((1, 3)).sqrt()  # (T, C, T, D) -> (T, T)


# %%
heard = {"RAT": influence(rat), "CAT": influence(isolated)}
assert (heard["RAT"].triu(1) == 0).all() and (heard["RAT"].tril() > 0).sum() == steps * (steps + 1) / 2
assert (heard["CAT"] == heard["CAT"].diag().diag()).all()
names = [f"step {k + 1}" for k in range(steps)]
teaching.matrices(heard, names, names)

# %% [markdown]
# RAT's triangle: a step hears all steps before it, the older ones ever more faintly, and none after it. CAT's diagonal:
# every step hears itself alone. (Disturbing $h_j$ instead of $s_j$ gives the same triangle without its diagonal; the
# project's tests do that.)
#
# So the paper's words hold, and yet one should be careful what they mean. The state is a function of $s$ and $z$; no
# picture ever enters it. So whatever $\gamma_t$ RAT gives, a large enough CAT on $[s; z]$ could give too. RAT adds **no
# information**; it ties the steps together, most of all in training, where every layer's gradient meets in one cell:

# %%
for k in range(steps):
    gamma = gammas(rat, s[:1].expand(steps, -1), z[:1])[k].sum()
    of_cell, of_head = torch.autograd.grad(gamma, [rat.cells[0].weight_ih, rat.heads[0].gamma[0].weight])
    assert of_cell.abs().sum() > 0  # each step teaches the one cell
    assert (of_head.abs().sum() > 0) == (k == 0)  # and only its own head

# %% [markdown]
# ## 4. The published code: a batch read as a sentence
#
# **Claim (about the code, not the paper).** What was trained for the paper's tables is something else than E3 to E7.
# The published module hands its LSTM the *batch* where the LSTM expects *time*:
#
# | | paper | published code | here |
# |---|---|---|---|
# | what a step of the LSTM is | a layer | a **sample of the batch** | a layer |
# | who gets the result | each sample its own | all samples the last state's | each sample its own |
# | LSTMs | one, "weight sharing" | one for every affine, nothing passes between | one (`lstm="per-affine"`: one each) |
# | start | from $z$ (E3) | zero | from $z$ |
# | input | $s$ (E4) | $[z; s]$ | $s$ |
#
# [`PublishedRecurrentAffine`](../t2i_core/affine.py) is that, so that it can be looked at.

# %%
torch.manual_seed(seed)
published = awake(PublishedRecurrentAffine(D, noise_dim=8, hidden=units, features=[channels] * steps))
systems = {"published": published, "RAT (ours)": rat, "CAT": isolated}
x = torch.randn(B, channels, 4, 4, dtype=torch.float64)

# %% [markdown]
# Four captions make a batch. Three things must not matter to the first picture: the order of the others, what the others
# are, and whether there are others.


# %%
@torch.no_grad()
def first_picture(module, order=(0, 1, 2, 3), s=s):
    """The first picture's feature map after two affines, in a batch of these samples (the first among them)."""
    rows = torch.tensor(order)
    y, state = x[rows], module.start(z[rows])
    for k in range(2):
        y, state = module.step(k, y, s[rows], state)
    return y[list(order).index(0)]


# %%
other = s.clone()
other[2] = s[3]  # another caption for the third sample
rows = {}
for name, module in systems.items():
    usual = first_picture(module)
    changed = {
        "the others in another order": first_picture(module, (0, 3, 1, 2)),
        "another caption for the third": first_picture(module, s=other),
        "alone": first_picture(module, (0,)),
    }
    rows[name] = {what: float((y - usual).abs().max()) for what, y in changed.items()}
moved = pd.DataFrame(rows)
assert (moved["published"] > 1e-3).all() and (moved[["RAT (ours)", "CAT"]] < 1e-12).all(axis=None)
print("how far the first picture's features move\n" + moved.to_string(float_format="{:.1e}".format))

# %% [markdown]
# It moves in all three cases, and ours in none. How much does picture $i$ listen to caption $j$? The whole matrix
# $\partial\, \mathrm{out}_i / \partial s_j$ (its norm):


# %%
def listens(module):
    """Norm of d out_i / d s_j over one affine, (B, B)."""
    slopes = torch.autograd.functional.jacobian(lambda s: module.step(0, x, s, module.start(z))[0].flatten(1), s)
    return slopes.square().sum((1, 3)).sqrt()


# %%
matrix = {"published": listens(published), "RAT (ours)": listens(rat)}
assert (matrix["published"] > 0).all()
assert (matrix["RAT (ours)"] == matrix["RAT (ours)"].diag().diag()).all()
teaching.matrices(matrix, [f"picture {i + 1}" for i in range(B)], [f"caption {j + 1}" for j in range(B)])

# %% [markdown]
# Ours is a diagonal: a picture listens to its own caption. The published matrix is full, and its rows are alike: all
# pictures listen to the same captions, mostly to those at the **end of the batch**, since an LSTM's last state remembers
# best what it read last. The rows differ only by the feature maps that they scale, for there is but one $\gamma$ for
# all:

# %%
shapes = {name: tuple(module.modulation(0, s, module.start(z))[0].shape) for name, module in systems.items()}
assert shapes == {"published": (1, channels), "RAT (ours)": (B, channels), "CAT": (B, channels)}
print("gamma of a batch of four captions:", shapes)

# %% [markdown]
# So the published bridge tells nothing about which caption is whose; only the image generator's own CATs and the
# prompts do. **The paper's numbers came from this code**: in its Table II the parameters grow with the units as those of
# one LSTM for each of 16 affines do, and not as those of one LSTM with "weight sharing".

# %%
affines = 4 * (64, 64, 32, 32)  # channels of the 16 affines of the published bridge


def millions(h, module):
    """Parameters in the table's unit, 2^20 (it says "B")."""
    return sum(p.numel() for p in module(512, 100, h, affines).parameters()) / 2**20


# %%
modules = {"published": PublishedRecurrentAffine, "shared": RecurrentAffine}
growth = {name: millions(128, module) - millions(64, module) for name, module in modules.items()}
table = 137.93 - 134.68
print(f"from 64 to 128 units: Table II {table:.2f}, the modules:", {name: round(g, 2) for name, g in growth.items()})
assert abs(growth["published"] - table) < 0.015 and growth["shared"] < 0.5

# %% [markdown]
# A system can be trained with it (`variant="as-published"`); everything else here uses RAT as the paper writes it.
#
# ## 5. Shuffle attention
#
# **Claim.** "LSTM is prone to information forgetting", so RATLIP puts *shuffle attention* (SA) "between two
# RATBLKs". The paper gives no equation; this is the module of SA-Net, which its code uses:
#
# 1. cut the channels into $G$ groups, each group into two halves,
# 2. one half is weighed **by channel**: $x \cdot \sigma(w\,\bar{x} + b)$ with the mean $\bar x$ over all places,
# 3. the other **by place**: $x \cdot \sigma(w\,\mathrm{GroupNorm}(x) + b)$,
# 4. shuffle the channels, so that the groups mix.
#
# Parameters by hand: 64 channels in 8 groups are halves of 4 channels. For each of the 4 one $w$ and $b$ by channel,
# one $w$ and $b$ by place, and the norm's two: $6 \cdot 4 = 24$, the same for all groups.

# %%
attention = ShuffleAttention(64, groups=8)
assert sum(p.numel() for p in attention.parameters()) == 6 * 64 // (2 * 8) == 24
maps = torch.randn(2, 64, 7, 7)
assert attention(maps).shape == maps.shape

# %% [markdown]
# And the shuffle, for 16 channels in 2 groups: channel $k$ holds the number $k$.

# %%
small = ShuffleAttention(16, groups=2)
numbered = torch.arange(16.0)[None, :, None, None].expand(1, 16, 3, 3)
order = (small(numbered) * (1 + math.exp(-1)))[0, :, 0, 0].round().int().tolist()  # sigma(1) taken out again
kinds = ["weighed by channel" if k % 8 < 4 else "weighed by place" for k in range(16)]
teaching.channel_rows({"before": range(16), "after": order}, kinds)

# %% [markdown]
# At the start $w = 0$ and $b = 1$, so that SA is $\sigma(1) \approx 0.73$ times a shuffle of its input, which is how
# the figure could be drawn. The shuffle cuts the channels in two and interlaces them, like a pack of cards: channels of
# the two groups become neighbours, while the two *kinds* stay in blocks. How much does that help? A convolution over
# all channels, as comes next in RATLIP, undoes any order with the order of its own weights:

# %%
behind = nn.Conv2d(16, 5, 3)
sorted_out = nn.Conv2d(16, 5, 3)
sorted_out.bias.data, sorted_out.weight.data[:, order] = behind.bias.data, behind.weight.data
some_maps = torch.randn(2, 16, 6, 6)
torch.testing.assert_close(behind(some_maps[:, order]), sorted_out(some_maps))

# %% [markdown]
# So the shuffle was made for networks of grouped convolutions; here it only decides which channels the *next* SA
# weighs in which way. The two kinds of weighing, each on a map that we can read, with weights of our own:

# %%
grey = picture.mean(1, keepdim=True)  # (1, 1, H, W)
one = ShuffleAttention(2, groups=1)  # a half is one channel; at two channels the shuffle leaves them in place
with torch.no_grad():
    one.channel_weight.fill_(4.0), one.channel_bias.fill_(0.0)
    one.place_weight.fill_(4.0), one.place_bias.fill_(0.0)
    weighed = one(grey.expand(-1, 2, -1, -1))

# %%
by_channel = torch.sigmoid(4 * grey.mean()).expand_as(grey)
by_place = torch.sigmoid(4 * (grey - grey.mean()) / (grey.var(unbiased=False) + one.norm.eps).sqrt())
torch.testing.assert_close(weighed, torch.cat([grey * by_channel, grey * by_place], 1))
show = {name: torch.cat([grey, 2 * gate - 1, grey * gate]).expand(-1, 3, -1, -1) for name, gate in
        (("by channel", by_channel), ("by place", by_place))}  # fmt: skip
teaching.picture_rows(show, titles=["the map", "its weights", "weighed"])

# %% [markdown]
# By channel the map gets one weight, by place each place its own, more where it is bright. Note what SA is given:
# a **feature map**. Neither sentence nor state goes in, and nothing of it comes back to the cell.
#
# (What the paper's ablation calls "ATT" is more than SA: its code puts batch norm and a leaky ReLU in front of it, and
# the whole into the image generator too. Ours is SA alone, between the two RAT blocks of each of the bridge's four
# blocks: affines, convolution, SA, affines.)
#
# ## 6. What does the cell still know of its caption?
#
# **Claim (RATLIP Q7).** An LSTM "is prone to information forgetting in long time learning", and SA "enables our model to
# mitigate the forgetting of textual information". Before measuring, what can the equations say?
#
# * Nothing can be lost for good: $s$ is an **input of every step** (E4). An LSTM that reads a long text forgets its
#   beginning; this one is told everything again at every layer.
# * SA has **no way into the state**. In a trained system $h_t$ follows from $s$, $z$ and the cell alone. SA can act on
#   it only through training, by changing which weights the cell learns.
#
# Train RATLIP with and without SA, everything else equal, and check the second point on the real thing:

# %%
runs = bench.trained_side_by_side([("ratlip", "default"), ("ratlip", "no-attention")])
trained = dict(zip(("with SA", "without SA"), (run.system() for run in runs), strict=True))
for name, system in trained.items():
    out = system.generate(captions, seed=seed)
    affine, noise = system.generator.bridge.affine, system.noise(B, seed)
    states = state_probe.states_of(affine, out.text.sentence, noise)  # no picture, no attention
    torch.testing.assert_close(states, out.extras["states"])
    print(f"{name}: states {tuple(states.shape)} (captions, steps, units)")

# %% [markdown]
# The states of whole drawn pictures and those of the cell by itself are the same. So all that follows can be asked of
# the cell alone, for as many captions as we like.
#
# ### Whose mark does the state bear?
#
# Run every one of some captions with every one of some noises, and split the variance of $h_t$: between captions,
# between noises, and what only both together decide.

# %%
few = [test.caption(k) for k in range(48)]
sentences, noises = clip.encode_text(few).sentence, trained["with SA"].noise(16, seed)
pairs = torch.cartesian_prod(torch.arange(48), torch.arange(16))

# %%
marks = {}
for name, system in trained.items():
    states = state_probe.states_of(system.generator.bridge.affine, sentences[pairs[:, 0]], noises[pairs[:, 1]])
    shares = state_probe.variance_shares(states.unflatten(0, (48, 16)))
    assert torch.allclose(sum(shares), torch.ones(len(shares.caption), dtype=torch.float64))
    marks[name] = pd.DataFrame({"step": range(1, states.shape[1] + 1)} | {k: v for k, v in shares._asdict().items()})
titles = ["share of the caption", "share of the noise", "of both together"]
figures.curves(marks, ["caption", "noise", "both"], smoothing=0, titles=titles)

# %% [markdown]
# At every step the three shares add up to 1. In numbers:

# %%
for name, share in marks.items():
    first, last = share.iloc[0], share.iloc[-1]
    assert not real or (last.noise < first.noise and last.caption > first.caption)
    print(f"{name}: the caption's share goes from {first.caption:.0%} to {last.caption:.0%}, "
          f"the noise's from {first.noise:.0%} to {last.noise:.0%}")  # fmt: skip

# %% [markdown]
# Section 2 told us to expect this: the noise is told once and wears off, the caption is told at every step. If this
# LSTM forgets, it forgets **what it started from**, which is the noise, and the caption's share grows. The last affines
# say the same whatever the noise was; what varies between two pictures of one caption must come from elsewhere (the
# bridge's first feature map, the prompts of the ViT, the image generator's own CATs, which all see $z$).
#
# ### Can a colour be read off it?
#
# A share of variance says that captions matter, not what of them is left. So ask for something definite: the colour of
# the *crown*, in captions that name it. For every step a linear probe (logistic regression) learns it from states of
# training captions and is asked about test captions, whose species it has never seen. The sentence vector $s$ itself,
# probed in the same way, says what can be had at best; chance is always to say the commonest colour.

# %%
few = 1500 if real else 300
told = {name: state_probe.stated(split, "crown", "color", few) for name, split in (("train", train), ("test", test))}
for split, asked in told.items():
    print(f"{split}: {len(asked)} captions, such as '{asked.captions[0]}': {asked.values[0]}")

# %%
encoded = {split: clip.encode_text(asked.captions).sentence for split, asked in told.items()}
values = [asked.values for asked in told.values()]
ceiling = state_probe.hits(encoded["train"][:, None], values[0], encoded["test"][:, None], values[1]).mean()
chance = max(Counter(values[1]).values()) / len(values[1])

# %% [markdown]
# (The probe is [`state_probe.hits`](../t2i_core/metrics/state_probe.py): one for each step, on that step's states.)

# %%
right, accuracy = {}, []
for name, system in trained.items():
    of = system.generator.bridge.affine
    noise = {split: system.noise(len(told[split]), seed + k) for k, split in enumerate(told)}
    h = {split: state_probe.states_of(of, encoded[split], noise[split]) for split in told}
    right[name] = state_probe.hits(h["train"], values[0], h["test"], values[1])  # (captions, steps)
    for step, answers in enumerate(right[name].T, start=1):
        share = stats.proportion(answers)
        accuracy.append((name, step, share.value, share.low, share.high))
accuracy = pd.DataFrame(accuracy, columns=["label", "step", "value", "low", "high"])
levels = {"chance": chance, "the sentence itself": float(ceiling)}
teaching.steps_with_intervals(accuracy, levels, "crowns read rightly")

# %% [markdown]
# Compare the two lines first, then each with the dotted line of the sentence. Forgetting would be a line that falls;
# an SA that holds it up would be a gap that opens to the right. As one number: how much the accuracy changes from the
# first step to the last with SA, less the same without.

# %%
change = {name: answers[:, -1] - answers[:, 0] for name, answers in right.items()}
value = stats.mean(change["with SA"] - change["without SA"], seed=seed)
note = (
    "accuracy of a linear probe for the crown's colour, last step less first, RATLIP with SA less RATLIP without; one "
    "training each; the interval is over test captions"
)
bench.finding("RATLIP-Q7", value.value, value.low, value.high, value.n, note)

# %%
for name, answers in right.items():
    print(f"{name:10s} first step {answers[:, 0].mean():.1%}, last {answers[:, -1].mean():.1%}")
print(f"change with SA less change without: {value}; positive supports the paper")

# %% [markdown]
# How to read it, whichever way it comes out:
#
# * The interval is over captions. It says nothing of how another training of the same system would come out; only
#   several seeds do.
# * A probe reads what a **linear** map can. A state that holds the colour in a more twisted way is read too low, and
#   the sentence vector sets the scale: what the text encoder does not hold, no state can.
# * An accuracy that rises with $t$ is no contradiction to E4 to E6 but what they say: the same sentence again and again.
# * A gap between the lines could have many causes: two trainings with different generators, whose cells learn different
#   weights. What it cannot be is SA reminding the cell of something, since SA never talks to it.
#
# ## 7. The loss in one page
#
# **Claim.** A hinge tells real pictures with their captions from drawn ones and from real ones with another's caption,
# each of the latter at one half; a penalty keeps the verdict flat around the real pairs:
#
# $$\begin{aligned} L_D = &-\mathbb{E}[\min(0, -1 + D(C(x), s))] - \tfrac12 \mathbb{E}[\min(0, -1 - D(C(\hat x), s))]
# - \tfrac12 \mathbb{E}[\min(0, -1 - D(C(x), s_{mis}))]\\
# &+ k\,\mathbb{E}\big[(\lVert\nabla_{C(x)} D\rVert + \lVert\nabla_s D\rVert)^p\big], \qquad
# L_G = -\mathbb{E}[D(C(\hat x), s)] - \lambda\,\mathbb{E}[S(\hat x, s)] \end{aligned} \qquad \textbf{(RATLIP E8)}$$
#
# $C$ is the frozen CLIP, $S$ the cosine of its embeddings. The paper calls $\lambda$ "the value of the FID", which
# cannot be; its code weighs the similarity by 4, and so do we. By hand (RATLIP E8):

# %%
d_real, d_fake, d_mismatched = torch.tensor([0.5, 3.0]), torch.tensor([0.0, -2.0]), torch.tensor([1.0, 1.0])
by_hand = (0.5 + 0) / 2 + 0.5 * (1 + 0) / 2 + 0.5 * (2 + 2) / 2
assert math.isclose(adversarial.hinge_discriminator(d_real, d_fake, d_mismatched), by_hand)
assert adversarial.hinge_generator(d_fake) == 1.0

# %% [markdown]
# The penalty adds two **norms**; the published code takes the norm of both gradients as one vector. With a linear
# verdict both are easy: $D = 3x_1 + 4x_2 + 5s$ has gradients of length 5 and 5.

# %%
image, sentence = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
penalty = {}
for norm in ("sum", "joint"):
    logits = image @ torch.tensor([3.0, 4.0]) + 5 * sentence[:, 0]
    penalty[norm] = adversarial.ma_gradient_penalty(logits, image, sentence, k=2, p=6, norm=norm).item()
assert math.isclose(penalty["sum"], 2 * (5 + 5) ** 6) and math.isclose(penalty["joint"], 2 * 50**3)
print(penalty, "ratio", penalty["sum"] / penalty["joint"])

# %% [markdown]
# At equal lengths the paper's penalty is $2^{p/2} = 8$ times the code's, with the same $k$. Ours is the paper's;
# `variant="joint-penalty"` is the code's. Notebook [08](08_training_ratlip.ipynb) trains with it.
#
# ## 8. Failure case: gates that have shut
#
# Nothing in E4 bounds $s$. CLIP's sentence vectors are used as they come, without normalising, and a longer vector
# drives the gates towards 0 and 1, where a sigmoid is flat. Take the trained cell and scale the sentences:

# %%
affine = trained["with SA"].generator.bridge.affine.double()
cell, last_step = affine.cells[0], len(affine.heads) - 1
some, z = encoded["test"][:12].double(), noises[:12].double()

# %% [markdown]
# A gate $g$ is open as far as $4 g (1 - g)$: 1 at one half, 0 at 0 and at 1, where no gradient passes.


# %%
def at_the_end(scaled):
    """gamma of the last step (B, C), and how far its gates are open."""
    state = affine.start(z)
    for k in range(last_step):
        *_, state = affine.modulation(k, scaled, state)
    gates = cell_by_hand(cell, scaled, *state)
    opened = torch.cat([4 * gates[g] * (1 - gates[g]) for g in "ifo"], 1).mean()
    return affine.heads[last_step].gamma(gates["h"]), opened


# %%
rows = []
for doublings in range(-2, 15):
    scaled = (some * 2.0**doublings).requires_grad_()
    gamma, opened = at_the_end(scaled)
    (slope,) = torch.autograd.grad(gamma.sum(), scaled)
    response = float((slope * 2.0**doublings).norm(dim=1).median())  # to a turn of s, whatever its length
    rows.append({"doublings of s": doublings, "gates open": opened.item(), "response": response})
shut = pd.DataFrame(rows)
shut["response"] /= shut.response[2]  # 1 where s is as long as it comes
assert shut["gates open"].iloc[-1] < 0.1 and shut.response.iloc[-1] < 0.1
print(f"length of s as it comes: {some.norm(dim=1).mean():.1f}")
figures.curves({"trained cell": shut}, ["gates open", "response"], smoothing=0, x="doublings of s")

# %% [markdown]
# On the left how far the gates are open, on the right how much the last $\gamma$ answers to a turn of the sentence, in
# units of the answer at the length that the encoder gives (0 doublings). A longer sentence makes $\gamma$ answer more
# at first, as anybody would expect. Far to the right all gates are 0 or 1: a caption that is *nearly* the same gives
# *exactly* the same $\gamma$, and no gradient comes back to tell the cell so. It still runs, no loss becomes infinite,
# and nothing is learned from text any more. If a system ignores its captions, look at the length of $s$.
#
# ## Takeaways
#
# * RAT is one LSTM cell that is told the same sentence at every layer: E1 to E7 are twenty lines, and the state is a
#   function of sentence and noise alone. It ties the layers together and adds no information.
# * Where the batch stands in the place of time, every picture depends on every caption of its batch. Three checks find
#   such a leak in any system: permute the batch, change a neighbour, run a sample alone.
# * What a recurrence is told at every step it cannot forget; what it is told once, here the noise, it can. Before
#   measuring whether a module prevents forgetting, ask whether it has a way into the memory at all.
#
# ## Exercises
#
# 1. *How long does the noise last?* Hold the gates at constant $i$, $f$ and $u$. How much of $c_0$ is left in $c_t$,
#    and where does $c_t$ go?
#    Write it here; run the cell, and it says whether it is right, or which property fails:

# %%
from t2i_core import exercises


def state(t, start, i, f, u):
    return None  # your answer


exercises.check("07.1", state)

# %% [markdown]
# <details><summary>Hint</summary>
#
# E5 is then a geometric series.
#
# </details>
#
# <details><summary>Solution</summary>
#
# $c_t = f^t c_0 + i u\,(1 - f^t)/(1 - f)$: the start fades like $f^t$, and $c_t \to iu/(1-f)$, whatever the noise was.
#
# ```python
# def state(t, start, i, f, u):
#     return f**t * start + i * u * (1 - f**t) / (1 - f)
#
#
# assert exercises.check("07.1", state)
# cell = nn.LSTMCell(1, 1).double()
# for weight in cell.parameters():
#     nn.init.zeros_(weight)
# cell.bias_ih.data = torch.tensor([1.0, 0.5, 2.0, 0.0], dtype=torch.float64)  # i, f, u, o
# i, f, u = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-0.5)), math.tanh(2)
# h, c = torch.zeros(1, 1).double(), torch.full((1, 1), -3.0).double()
# for t in range(1, 17):
#     h, c = cell(torch.zeros(1, 1).double(), (h, c))
#     assert math.isclose(c.item(), state(t, -3.0, i, f, u))
# limit = i * u / (1 - f)
# assert math.isclose(c.item() - limit, f**16 * (-3 - limit), rel_tol=1e-6)
# ```
#
# </details>
#
# 2. *The leak with a batch of one.* What does the published affine compute for a single caption? Write it with
#    `nn.LSTMCell`.
#
# <details><summary>Hint</summary>
#
# A sequence of one step, from a state of zero.
#
# </details>
#
# <details><summary>Solution</summary>
#
# One step of a cell on $[z; s]$ from zero. There is no recurrence at all: with a batch of one it is a CAT whose hidden
# layer has gates. So pictures drawn one by one come from another function than those of training.
#
# ```python
# lstm, heads = published.lstms[0], published.heads[0]
# cell = nn.LSTMCell(lstm.input_size, units).double()
# cell.load_state_dict({name: getattr(lstm, f"{name}_l0") for name in cell.state_dict()})
# one_noise = torch.randn(1, 8).double()
# h, _ = cell(torch.cat([one_noise, s[:1]], 1))
# gamma, beta, _ = published.modulation(0, s[:1], published.start(one_noise))
# torch.testing.assert_close(gamma, heads.gamma(h))
# ```
#
# </details>
#
# 3. *A pack of channels.* After how many shuffle attentions in a row does every channel stand where it was, for 8, 16
#    and 64 channels?
#
# <details><summary>Hint</summary>
#
# In a pack of $C$ cards, card $k < C - 1$ goes to place $2k \bmod (C - 1)$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# After $n$ shuffles $k$ is at $2^n k \bmod (C - 1)$, so that it takes the order of 2 modulo $C - 1$: 3, 4 and 6.
#
# ```python
# for channels_, expected in ((8, 3), (16, 4), (64, 6)):
#     shuffle = ShuffleAttention(channels_, groups=1)
#     start_ = torch.arange(float(channels_))[None, :, None, None].expand(1, -1, 2, 2)
#     now_, count = start_, 0
#     while count == 0 or not torch.allclose(now_, start_, atol=1e-2):
#         now_, count = shuffle(now_) * (1 + math.exp(-1)), count + 1
#     assert count == expected and 2**count % (channels_ - 1) == 1
# ```
#
# </details>
#
# *Next: [08 Training RATLIP](08_training_ratlip.ipynb)*
