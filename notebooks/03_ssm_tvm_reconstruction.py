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
# # 03 · Where does a word act? SSM, TVM and the reconstruction path
#
# *Previous: [02 AttnGAN, the baseline](02_attngan_baseline.ipynb) · next:
# [04 ALR: hard and easy elements](04_alr_weights.ipynb)*
#
# ALR-GAN wants to put things where they belong. For that it needs a **layout** that a loss can be written on, and it
# builds one from words: for every region of an image, which word rules it? You will
#
# 1. compute this *semantics similarity matrix* (SSM) by hand, and see why the axis of its softmax matters,
# 2. turn it into the *text-vision matrix* (TVM) that the generator draws from,
# 3. look at it on real images, beside the true box of the object a word speaks of, and **measure** the overlap,
# 4. train the *reconstruction path*, which gives a real image a layout in the generator's own terms.
#
# Well under a minute at `smoke`, about one at `mini` on a laptop, once notebook [01](01_captions_and_matching.ipynb)
# has trained the matching model (about three minutes more if it has not). Code:
# [`t2i_core/ssm.py`](../t2i_core/ssm.py), [`t2i_core/attention.py`](../t2i_core/attention.py),
# [`t2i_core/systems/alr_gan.py`](../t2i_core/systems/alr_gan.py). Paper: ALR-GAN, section 3.2; the numbers E1, E2, ...
# are ours, since the close reading that we work from numbers no equation.

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
import ipywidgets
import pandas as pd
import torch
import torch.nn.functional as F

from t2i_core import explore, figures, systems, teaching
from t2i_core.attention import region_word_scores
from t2i_core.data import BatchStream
from t2i_core.metrics import stats
from t2i_core.ssm import similarity_matrix, text_vision_matrix

figures.style()
real = bench.profile.name != "smoke"  # at smoke nothing is trained long enough for a statement about quality

# %% [markdown]
# ## 1. The semantics similarity matrix by hand
#
# **Claim.** A region belongs to the word whose vector points the same way as the region's. With $T$ words
# $w_j \in \mathbb{R}^D$ and $N$ regions $h_k \in \mathbb{R}^D$:
#
# $$\theta_{j,k} = \frac{\exp(S'_{j,k})}{\sum_{j=1}^{T}\exp(S'_{j,k})}, \qquad S'_{j,k} = h_k^\top w_j
# \qquad \textbf{(ALR-GAN E1)}$$
#
# The toy: three words and a picture of 2 x 2 regions, blue sky above, a red house below on the left. There are two
# features, "how red" and "how blue"; the word *a* means nothing, so its vector is zero.

# %%
words = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])  # (D = 2, T = 3): red, sky, a
regions = torch.tensor([[0.0, 0.0, 1.5, 0.2], [1.5, 1.5, 0.0, 0.2]])  # (D = 2, N = 4)
word_names, region_names = ["red", "sky", "a"], ["above\nleft", "above\nright", "below\nleft", "below\nright"]

# %% [markdown]
# By hand, one region after the other, and then by the package's function, which takes a batch (ALR-GAN E1):

# %%
scores = torch.tensor([[float(h @ w) for h in regions.T] for w in words.T])  # S' (T, N)
by_hand = torch.stack([s.exp() / s.exp().sum() for s in scores.T], dim=1)
theta = similarity_matrix(regions[None], words[None])[0]
torch.testing.assert_close(theta, by_hand)
teaching.matrices({"S'": scores, "Theta": theta}, word_names, region_names)

# %% [markdown]
# Read $\Theta$ down a column: every region shares one unit of attention among the words. *red* takes the house, *sky*
# the two regions above, and the grey region below on the right, which no word fits, stays undecided.
#
# ## 2. Which axis? A discrepancy in the paper
#
# The close reading prints the sum as $\sum_{k=1}^{T}$, and lets $k$ count the *regions*; but there are $T$ words, and
# two lines later $q_k = \sum_j \theta_{j,k} w_j$ uses $\theta$ as a distribution over words. Two readings are possible:
#
# | reading | every ... shares out one unit | who reads it so |
# |---|---|---|
# | softmax over the **words** | region (column) | AttnGAN, and we: then all the equations fit together |
# | softmax over the **regions** | word (row) | the index $k$ as printed, taken literally |

# %%
over_regions = scores.softmax(dim=1)
teaching.matrices({"over the words": theta, "over the regions": over_regions}, word_names, region_names, limits=(0, 1))

# %% [markdown]
# The right matrix looks reasonable too: *red* finds the house. But look at *a*: a word without meaning must spend its
# unit somewhere, so it claims a quarter of every region. And the columns no longer sum to 1. What that does to the
# generator shows when the same picture is cut finer: let us split each region into four equal ones.

# %%
finer = regions.repeat_interleave(4, dim=1)  # the same picture, N = 16
finer_scores = region_word_scores(finer[None], words[None])[0]
same = finer_scores.softmax(dim=0)[:, ::4]
weaker = finer_scores.softmax(dim=1)[:, ::4]
torch.testing.assert_close(same, theta)
torch.testing.assert_close(weaker, over_regions / 4)
print("total attention a region gets, over the regions:", (finer_scores.softmax(1).sum(0)[::4]).round(decimals=3))

# %% [markdown]
# Over the words, $\Theta$ does not care how finely the picture is cut. Over the regions, every entry falls as $1/N$:
# the stage at 32 x 32 would hear its caption a sixteenth as loudly as the stage at 8 x 8. We take the softmax over the
# words.
#
# ## 3. Padding gets exactly zero
#
# Captions of a batch differ in length, so the shorter ones are padded. A padded slot is no word: its attention must be
# exactly 0, not small, or a caption's layout would depend on its neighbours in the batch.

# %%
captions = ["a red house", "a yellow kite on the right side and a green car in the snow"]
text = damsm.encode_text(captions)
seen = damsm.encode_image(test.images([0, 1])).regions  # any two images
together = similarity_matrix(seen, text.words, text.mask)
alone_text = damsm.encode_text(captions[:1])
alone = similarity_matrix(seen[:1], alone_text.words, alone_text.mask)
assert (together[0, 3:] == 0).all()
torch.testing.assert_close(together[:1, :3], alone)
torch.testing.assert_close(together.sum(1), torch.ones(2, seen[0, 0].numel()))

# %% [markdown]
# What if the mask is forgotten? The words at padding are zero vectors, so their scores are 0 and each takes
# $\exp(0) = 1$ in the sum:

# %%
unmasked = similarity_matrix(seen, text.words)
print(f"attention of '{captions[0]}' that falls on padding: {unmasked[0, 3:].sum(0).mean():.0%}")
assert unmasked[0, 3:].sum(0).min() > 0

# %% [markdown]
# ## 4. The text-vision matrix
#
# **Claim.** With $\Theta$, every region can be told what to draw: the mean of the words, weighted by how much each
# rules it.
#
# $$q_k = \sum_{j=1}^{T} \theta_{j,k}\, w_j \qquad \textbf{(ALR-GAN E8)}$$
#
# By hand a double loop; as matrices, $Q = W\Theta$. The package's function does it for a batch (ALR-GAN E8):

# %%
q_by_hand = torch.stack([sum(theta[j, k] * words[:, j] for j in range(3)) for k in range(4)], dim=1)
q = text_vision_matrix(theta[None], words[None])[0]
torch.testing.assert_close(q, q_by_hand)
torch.testing.assert_close(q, words @ theta)
teaching.matrices({"H": regions, "Q": q}, ["how red", "how blue"], region_names)

# %% [markdown]
# $Q$ says in the words' terms what $H$ says in the picture's: red below on the left, blue above. Since each column of
# $\Theta$ is a distribution over words, $q_k$ never leaves the triangle that the three words span.
#
# Stage $i$ of the generator then concatenates both, refines them with residual blocks and doubles the size:
#
# $$H_i = \mathrm{Up}(\mathrm{Res}([Q_{i-1};\, H_{i-1}])) \qquad \textbf{(ALR-GAN E9)}$$
#
# (We write $[H; Q]$: the order only renames the channels of the first convolution.) Here is that stage of an untrained
# ALR-GAN, taken apart (ALR-GAN E9), beside the stage as a whole:

# %%
system = systems.create("alr-gan", profile, matcher=damsm, seed=seed).eval()
stage = system.generator.stages[0]
h = system.generate(captions).features[0]
projected = stage.attention.project(text.words)  # words of the matching model, in the regions' space
theta_0 = similarity_matrix(h, projected, text.mask)
q_0 = text_vision_matrix(theta_0, projected).view_as(h)
h_1 = stage.refine(torch.cat([h, q_0], dim=1))
torch.testing.assert_close(h_1, stage(h, text)[0])
print(f"H_0 {tuple(h.shape)}, Q_0 {tuple(q_0.shape)} -> H_1 {tuple(h_1.shape)}")

# %% [markdown]
# ## 5. The SSM on real images
#
# **Claim (ALR-GAN F3).** $\Theta$ is a layout: a word's row lights up where the thing it names is. In the toy world we
# can check that, because every image comes with boxes, and every caption with a list of which words speak of which
# part.
#
# The regions and words are those of the matching model (notebook [01](01_captions_and_matching.ipynb)). One caveat: it
# was trained with a second step of its own. It takes the very same softmax over the words, and then one over the
# regions, $\mathrm{softmax}_k(\gamma_1 \theta_{j,k})$ with a temperature $\gamma_1$, to ask what a word sees. $\Theta$
# is the first half of that, without the second softmax and its temperature.

# %%
count = 400 if real else 100
images = test.images(range(count))
tokens = damsm.vocabulary.tokenize([test.caption(i) for i in range(count)])  # the first caption of each
text = damsm.encode_text(tokens)
theta = similarity_matrix(damsm.encode_image(images).regions, text.words, text.mask)  # (count, T, 64)
side = int(theta.shape[2] ** 0.5)


# %% [markdown]
# Which tokens speak of which part? The truth lists, for each caption, the letters that state something; we keep the
# object's **class** ("house") and its **colour** ("red"), and find the tokens that lie in those letters.


# %%
def object_words(i):
    """(token, part, kind) of every token of image i's first caption that states a part's class or colour."""
    for start, end, part, kind in test.truth[i]["words"][0]:
        if kind in ("name", "color"):
            for token, (a, b) in enumerate(tokens.spans[i]):
                if start <= a and b <= end:
                    yield token, test.truth[i]["parts"][part], {"name": "class", "color": "colour"}[kind]


def show_words(i):
    """Image i and the maps of all words of its caption; white boxes are the truth."""
    box_of = {token: part["box"] for token, part, _ in object_words(i)}
    names = tokens.words[i]
    maps = theta[i, : len(names)].unflatten(1, (side, side))
    return teaching.word_maps(images[i], names, maps, [box_of.get(token) for token in range(len(names))])


# %% [markdown]
# The first test image that shows two things of two colours and whose caption names its setting, in few words:


# %%
def tells(i):
    """Two things of two colours, a setting, and few enough words to show."""
    told = [kind for *_, kind in test.truth[i]["words"][0]]
    return told.count("name") == len({p["color"] for p in test.truth[i]["parts"]}) == 2 and "setting" in told


two = [i for i in range(count) if tells(i) and len(tokens.words[i]) < 12]
print(test.caption(two[0]))
show_words(two[0])

# %% [markdown]
# Each panel is one row of $\Theta$, from 0 (dark) to 1 (bright); at every point the panels sum to 1. A white box is the
# true box of the object that this word speaks of. At `mini` the colour words light up their objects and the setting
# word fills the background, while words like "a", "the" and "of" stay dark everywhere. Watch the class words, though.
#
# ## 6. How much overlap? Measured
#
# Two questions about each word that states a class or a colour, each with a chance level that is exactly the **box's
# area**:
#
# * **pointing**: take the word's strongest region and a random point in it. Is the point in the box? A region picked at
#   random would score the area.
# * **energy**: what share of the word's attention lies in the box? Attention spread evenly would score the area.


# %%
def covered(box):
    """How much of each region the box covers, (N,) in [0, 1]; the mean over the regions is the box's area."""
    edges = torch.linspace(0, 1, side + 1)
    x, y = ((edges[1:].clamp(max=b) - edges[:-1].clamp(min=a)).clamp(min=0) * side for a, b in (box[::2], box[1::2]))
    return (y[:, None] * x[None, :]).flatten()


torch.testing.assert_close(covered([0.0, 0.25, 0.5, 1.0]).mean(), torch.tensor(0.5 * 0.75))
assert covered([0.0, 0.0, 1 / side, 1 / side]).tolist() == [1.0] + [0.0] * (side * side - 1)


# %% [markdown]
# One row for each such word of the test images, less its chance level. "either" is both kinds together:


# %%
def overlaps(maps):
    """Pointing and energy of all object words, less chance, for maps (count, T, N)."""
    rows = []
    for i in range(count):
        for token, part, kind in object_words(i):
            heat, inside = maps[i, token], covered(part["box"])
            pointing, energy = inside[heat.argmax()], (heat * inside).sum() / heat.sum()
            chance = inside.mean()
            rows.append((i, kind, float(pointing - chance), float(energy - chance), float(chance)))
    return pd.DataFrame(rows, columns=["image", "kind", "pointing", "energy", "chance"])


found = overlaps(theta)
print(f"{len(found)} words of {found.image.nunique()} images; chance (the mean box area) is {found.chance.mean():.3f}")

# %% [markdown]
# Words of one image are not independent, so the interval is a bootstrap over images, each with the mean of its words.


# %%
def intervals(found, kinds=("class", "colour", "either")):
    """Mean over the images of pointing and energy above chance, with a 95 % interval, for each kind of word."""
    rows = []
    for kind in kinds:
        part = found if kind == "either" else found[found.kind == kind]
        for metric in ("pointing", "energy"):
            value = stats.mean(part.groupby("image")[metric].mean(), seed=seed)
            rows.append((f"{kind} words" if kind != "either" else kind, metric, value.value, value.low, value.high))
    return pd.DataFrame(rows, columns=["words", "metric", "value", "low", "high"])


summary = intervals(found)
teaching.dots_against(summary, ["pointing", "energy"], "words", at=0, says="chance: the box's area")

# %%
for row in summary[summary.metric == "pointing"].itertuples():
    verdict = "on their objects" if row.low > 0 else "beside their objects" if row.high < 0 else "no better than chance"
    print(f"{row.words:13s} {row.value:+.3f} above chance [{row.low:+.3f}, {row.high:+.3f}]: {verdict}")
    kind = {"class words": "ssm-pointing-class", "colour words": "ssm-pointing-colour", "either": "ssm-pointing"}
    note = f"pointing less the box's area; {row.words}; regions of the matching model, first captions of test images"
    bench.finding(kind[row.words], row.value, row.low, row.high, found.image.nunique(), note)
assert not real or summary.query("words == 'colour words' and metric == 'pointing'").low.item() > 0

# %% [markdown]
# A dot right of the dashed line means that the words of that kind point at their objects. **Colour words** do, by far.
# **Class words** are another matter: where their dot lies at the line or left of it, "house" is *not* where the house
# is. Two things can be behind that, and they can be told apart. Either the colour word has simply won: in each region
# the words share one unit, and "red" leaves "house" nothing of the house. Or the matching model has not learned what a
# house is. So let us take the colour words out of the captions and measure the class words again.

# %%
shorter, kept = [], []
for i in range(count):
    drop = {token for token, _, kind in object_words(i) if kind == "colour"}
    keep = [token for token in range(len(tokens.words[i])) if token not in drop]
    shorter.append(" ".join(tokens.words[i][token] for token in keep))
    kept.append(keep)
plain = damsm.encode_text(shorter)
plain_theta = similarity_matrix(damsm.encode_image(images).regions, plain.words, plain.mask)

# %%
uncoloured = torch.full_like(theta, 1e-9)  # the maps, back at the places of the full captions' words
for i, keep in enumerate(kept):
    uncoloured[i, keep] = plain_theta[i, : len(keep)]
again = overlaps(uncoloured)
comparison = pd.concat([intervals(found, ("class",)), intervals(again[again.kind == "class"], ("class",))])
comparison["words"] = ["beside its colour word"] * 2 + ["without colour words"] * 2
teaching.dots_against(comparison, ["pointing", "energy"], "words", at=0, says="chance: the box's area")

# %% [markdown]
# Where the lower dot moves clearly to the right, competition was the reason. Where it stays at the line, the matching
# model has no picture of the class: it was trained to tell captions of a batch apart, and colours and settings are
# enough for most of that. Notebook [01](01_captions_and_matching.ipynb) asks the same question without any layout, by
# putting one wrong word into each caption.
#
# Move through the images and words yourself. The static figure comes from the same function:


# %%
def one_word(image, word):
    """The map of one word of a test image, with the box of the part it speaks of."""
    word = min(word, len(tokens.words[image]) - 1)
    box = {token: part["box"] for token, part, _ in object_words(image)}.get(word)
    heat = theta[image, word].unflatten(0, (side, side))
    return teaching.word_maps(images[image], [tokens.words[image][word]], heat[None], [box])


token, _, _ = next(found_word for found_word in object_words(two[0]) if found_word[2] == "colour")
one_word(two[0], token)

# %%
explore.figure_explorer(
    one_word,
    image=ipywidgets.IntSlider(two[0], 0, count - 1, description="image"),
    word=ipywidgets.IntSlider(token, 0, tokens.ids.shape[1] - 1, description="word"),
)

# %% [markdown]
# ## 7. The reconstruction path: a layout for the real image, in the generator's terms
#
# The generator has its own features $H$, and its $\Theta$ lives on those, not on the matching model's regions. To have
# something to align it with, the *real* image must be brought into the same space. An encoder $E$ does that, and to
# keep it honest the generator itself must be able to draw the real image again from what $E$ gives:
#
# $$H^* = E(I^*), \qquad I^{**} = G(H^*), \qquad L_{REC} = \lVert I^* - I^{**} \rVert_1 \qquad \textbf{(ALR-GAN E2)}$$
#
# Decided by the paper: the encoder, the generator's own stage as decoder, the L1 loss. Ours: $E_i$ is one strided and
# one gated convolution that end in the space and size of $H_{i-1}$, and the norm is the mean over pixels, so that no
# weight depends on the image's size. For stage $i$: $I^*_i \to H^*_{i-1} \to \Theta^*_i \to H^*_i \to I^{**}_i$.

# %%
stream = BatchStream(bench.train_set, damsm.vocabulary, bench.profile.batch_size, seed)
batch = stream.at(0)
before, rebuilt = system.generator.reconstruct(batch.images, damsm.encode_text(batch.tokens))
for i, (h_star, image) in enumerate(zip(before, rebuilt.images, strict=True), start=1):
    after, layout = rebuilt.features[i - 1], rebuilt.attention[i - 1]
    print(f"stage {i}: H*_{i - 1} {tuple(h_star.shape)}, Theta*_{i} {tuple(layout.shape)},")
    print(f"         H*_{i} {tuple(after.shape)}, I**_{i} {tuple(image.shape)}")
assert torch.equal(F.l1_loss(batch.images[1], batch.images[1]), torch.tensor(0.0))  # E2 is 0 where I** = I*

# %% [markdown]
# Now train this path alone: encoders, stages and image heads, with Adam, on L_REC (ALR-GAN E2) and nothing else.

# %%
system.train()
path = [p for part in ("encoders", "stages", "heads") for p in getattr(system.generator, part).parameters()]
adam = torch.optim.Adam(path, lr=2e-3, betas=(0.5, 0.999))
log = []
for step in range(100 if real else 15):
    batch = stream.at(step)
    _, rebuilt = system.generator.reconstruct(batch.images, damsm.encode_text(batch.tokens))
    losses = [F.l1_loss(drawn, image) for drawn, image in zip(rebuilt.images, batch.images[1:], strict=True)]
    adam.zero_grad()
    sum(losses).backward()
    adam.step()
    log.append({"step": step} | {f"rec{i}": float(loss.detach()) for i, loss in enumerate(losses, start=1)})

# %%
log = pd.DataFrame(log)
assert not real or log.rec2.tail(5).mean() < 0.6 * log.rec2[0]
titles = [f"L_REC, stage {i} ({pixels} px)" for i, pixels in enumerate(test.resolutions[1:], start=1)]
figures.curves(log, ["rec1", "rec2"], titles=titles)

# %% [markdown]
# Both losses fall quickly: seconds are enough, because nothing has to be invented, only carried through. On test
# images, which the path has not seen:

# %%
system.eval()
held_out = [test.images(range(6), resolution) for resolution in test.resolutions]
with torch.no_grad():
    held_text = damsm.encode_text([test.caption(i) for i in range(6)])
    _, rebuilt = system.generator.reconstruct(held_out, held_text)
teaching.picture_rows({"real": held_out[-1], "by stage 2": rebuilt.images[1], "by stage 1": rebuilt.images[0]})

# %% [markdown]
# Things stand where they stood, which is all that the layout needs; sharp edges and pure colours would come with more
# steps.
#
# Does the real image now have a meaningful layout $\Theta^*$? Nothing in L_REC asks for one: it wants pixels back, and
# pixels can travel through $H^*$ without any word. So measure, with the same pointing question as above:

# %%
with torch.no_grad():
    every = [test.images(range(count), resolution) for resolution in test.resolutions]
    _, rebuilt = system.generator.reconstruct(every, text)
theta_star = rebuilt.attention[0]
side = int(theta_star.shape[2] ** 0.5)
words_each = text.mask.sum(1)[:, None]
print(f"strongest word of a region: {theta_star.amax(1).mean():.2f}; undecided would be {(1 / words_each).mean():.2f}")
print(intervals(overlaps(theta_star)).to_string(index=False, float_format="{:+.3f}".format))

# %% [markdown]
# The strongest word of a region stands little above an undecided $1/T$, and the *energy* is within a few hundredths of
# chance: the words are spread all but evenly. (*Pointing* asks only for the peak of that nearly flat map. A thing that
# stands out in $H^*$ can win the peak for any word, and where it does so for class and colour words, no meaning is
# behind it.) So **L_REC alone gives $H^*$, not yet a layout.** $\Theta^*$ becomes a target worth aligning with only as
# the generator, pulled by the matching loss, learns to use its words; until then $\Theta$ is aligned with something
# nearly uniform. The next notebook therefore studies the alignment on the matching model's layouts, which are decided
# from the start.
#
# ## 8. Failure case: a colour word does not know whose colour it is
#
# Take images with two objects of the *same* colour. The caption says "orange" twice, once for each. Does the first
# "orange" find its own object?

# %%
side = int(theta.shape[2] ** 0.5)
own_share, twins = [], []
for i in range(count):
    spoken = [(token, part) for token, part, kind in object_words(i) if kind == "colour"]
    for token, part in spoken:
        other = [p for _, p in spoken if p is not part and p["color"] == part["color"]]
        if other:
            own, others = (float((theta[i, token] * covered(p["box"])).sum()) for p in (part, other[0]))
            own_share.append(own / (own + others))
            twins.append(i)
twin = min(set(twins), key=lambda i: len(tokens.words[i]))
value = stats.mean(own_share, seed=seed)
print(f"share of a colour word's attention on its own object, against its twin: {value}; blind choice: 0.5")

# %%
print(test.caption(twin))
show_words(twin)

# %% [markdown]
# Both copies of the word light up both objects, and the share is close to a blind choice. The SSM compares a word with
# a region and knows no grammar: whatever binds "orange" to "house" must already be in the word's vector, put there by
# the recurrent text encoder. A layout made of words is only as good as the words.
#
# ## Takeaways
#
# * $\Theta$ is a softmax **over the words** for every region; over the regions the text would fade as the picture
#   grows.
# * A layout from words can be checked: against boxes, with a chance level and an interval. Colour words point; whether
#   class words do depends on what the matching model has learned, and the table above says it for this run.
# * L_REC puts real images into the generator's space within seconds, but gives no layout by itself.
#
# ## Exercises
#
# 1. *Equal words.* A caption holds the same word vector twice. What happens to the two rows of $\Theta$, and to $Q$?
#
# <details><summary>Hint</summary>
#
# Equal scores.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The two rows are equal: they share what the word gets. Together they weigh more than the single word did, so repeating
# a word makes it louder, as $\exp(S') + \exp(S')$ in the sum shows.
#
# ```python
# regions, words = torch.randn(1, 4, 9), torch.randn(1, 4, 3)
# twice = torch.cat([words, words[:, :, :1]], dim=2)
# once_theta, twice_theta = similarity_matrix(regions, words), similarity_matrix(regions, twice)
# torch.testing.assert_close(twice_theta[:, 0], twice_theta[:, 3])
# assert (twice_theta[:, 0] + twice_theta[:, 3] > once_theta[:, 0]).all()
# assert not torch.allclose(text_vision_matrix(once_theta, words), text_vision_matrix(twice_theta, twice))
# ```
#
# </details>
#
# 2. *A temperature.* Multiply the words by $c$ before the SSM. Show that $\Theta$ becomes uniform for $c \to 0$, and a
#    single word in each region for large $c$. Which $c$ makes the TVM copy one word's vector?
#
# <details><summary>Hint</summary>
#
# Compare the largest score of a region with the second largest; compute in double precision.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# regions, words = torch.randn(1, 8, 9, dtype=torch.float64), torch.randn(1, 8, 5, dtype=torch.float64)
# flat, sharp = (similarity_matrix(regions, c * words) for c in (0.0, 1e6))
# torch.testing.assert_close(flat, torch.full_like(flat, 1 / 5))
# torch.testing.assert_close(sharp.amax(1), torch.ones(1, 9, dtype=torch.float64))
# chosen = words[0][:, sharp[0].argmax(0)]
# torch.testing.assert_close(text_vision_matrix(sharp, words)[0], chosen)  # every q_k is one word
# ```
#
# </details>
#
# 3. *Attention to padding.* A caption of 3 words is padded to 18 with zero vectors, and the mask is forgotten. How much
#    of the attention falls on padding in a region where all three words score 0? And where one word scores 5? Find it
#    for one word of any score in a caption of any length.
#    Write it here; run the cell, and it says whether it is right, or which property fails:

# %%
from t2i_core import exercises


def padding_share(score, words, slots):
    return None  # your answer


exercises.check("03.3", padding_share)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Count how often $e^0$ stands in the sum.
#
# </details>
#
# <details><summary>Solution</summary>
#
# 15 of 18 slots, 83 %; with a score of 5 still $15 / (15 + 2 + e^5) \approx 9\,\%$. With the mask, exactly nothing.
#
# ```python
# def padding_share(score, words, slots):
#     return (slots - words) / (slots - 1 + torch.e**score)
#
#
# assert exercises.check("03.3", padding_share)
# words = torch.zeros(1, 1, 18)
# words[0, 0, 0] = 5.0
# regions = torch.tensor([[[0.0, 1.0]]])
# mask = torch.arange(18)[None] < 3
# lost = similarity_matrix(regions, words)[0, 3:].sum(0)
# torch.testing.assert_close(lost, torch.tensor([padding_share(score, 3, 18) for score in (0.0, 5.0)]))
# assert (similarity_matrix(regions, words, mask)[0, 3:] == 0).all()
# ```
#
# </details>
#
# *Next: [04 ALR: hard and easy elements](04_alr_weights.ipynb)*
