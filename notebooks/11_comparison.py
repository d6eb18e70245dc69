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
# # 11 · The comparison: eleven systems, the same captions
#
# *Previous: [10 the Cross-Model Distance](10_cross_model_distance.ipynb) · next: [12 results](12_results.ipynb)*
#
# A comparison study put five text-to-image GANs side by side (the conditional GAN, GAN-CLS, StackGAN, AttnGAN, SDN), with
# numbers from five papers. Here all of them are trained by one loop, on one world, and with them the six other systems of
# this project. You will
#
# 1. meet the four systems of the study that no notebook has shown yet, each by the one idea that makes it,
# 2. train them on the captions and the noise that all others had,
# 3. look at eleven systems in one picture,
# 4. compare them caption by caption, count 55 pairs, and pay for counting so many,
# 5. set quality against cost,
# 6. put the study's claims to the test: attention, two stages, distillation,
# 7. name the ways in which a GAN fails, find them in logs and pictures, and see the worst pictures of all,
# 8. ask people, which the study did, and say how its numbers were misread.
#
# About a minute at `smoke`; at `mini` six minutes or so on two cores, most of it training. Code:
# [`t2i_core/systems/`](../t2i_core/systems), [`metrics/paired.py`](../t2i_core/metrics/paired.py),
# [`failures/`](../t2i_core/failures), [`human/`](../t2i_core/human). Paper: *Text-To-Image with Generative
# Adversarial Networks* (the comparison study).

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
real = profile != "smoke"  # at smoke nothing is trained long enough for a statement about quality

# %%
import hashlib
import tempfile
import time

import numpy as np
import pandas as pd
import torch

from t2i_core import comparison_figures, figures, systems, teaching, zoo
from t2i_core.adversarial import bce_fake, bce_matching, bce_real
from t2i_core.blocks import conditioning_kl
from t2i_core.config import PROFILES
from t2i_core.data import BatchStream
from t2i_core.failures.cases import KINDS, failure_table
from t2i_core.failures.figures import failure_gallery, signature_figure
from t2i_core.failures.sample import draw_sample
from t2i_core.failures.signatures import signatures
from t2i_core.human import figures as human_figures
from t2i_core.human import scores as human_scores
from t2i_core.human.page import rating_page
from t2i_core.human.study import Study, simulate
from t2i_core.metrics import paired
from t2i_core.metrics.evaluate import draw, evaluate_run

figures.style()

# %% [markdown]
# ## 1. Four systems, one idea each
#
# | system | idea | what its discriminator is shown |
# |---|---|---|
# | conditional GAN | the sentence is one more input of both nets | real pairs, drawn pairs |
# | GAN-CLS | D must also notice a *wrong caption* | real, drawn, and real pictures with a wrong caption |
# | StackGAN | a small picture first, then a large one from it | as GAN-CLS, once for each of two stages |
# | SDN | a network that reads pictures teaches the one that draws | as GAN-CLS |
#
# One batch for all of this section:

# %%
batch = BatchStream(bench.train_set, damsm.vocabulary, bench.profile.batch_size, seed).at(0)


def fresh(name, variant="default"):
    """A system before training, and what it draws for the batch."""
    system = systems.create(name, profile, matcher=damsm, seed=seed, variant=variant).train()
    return system, system.generate(batch.tokens, system.noise(len(batch)))


def verdict(system, images, sentence):
    judge = system.discriminators
    return judge.verdict(judge.features(images), sentence)


# %% [markdown]
# ### GAN-CLS: a judge that learns to read
#
# The conditional GAN's discriminator is never told that a *good* picture may be wrong. If it only ever asks whether a
# picture looks real, it has not lied once. GAN-CLS adds real pictures under the caption of another one, $s'$:
#
# $$L_D = -\log D(x, s) - \tfrac12\left[\log(1 - D(x, s')) + \log(1 - D(\hat x, s))\right]$$
#
# The three verdicts by hand, and the loss of the system:

# %%
system, out = fresh("gan-cls")
drawn, s, x = out.images[-1].detach(), out.text.sentence, batch.images[-1]
right, fake, wrong = (verdict(system, *pair) for pair in ((x, s), (drawn, s), (x, s.roll(1, 0))))
by_hand = bce_real(right) + (bce_fake(wrong) + bce_fake(fake)) / 2
loss = system.discriminator_losses(batch, out)["d"]
torch.testing.assert_close(loss, bce_matching(right, fake, wrong))
torch.testing.assert_close(loss, by_hand)
print(
    f"{loss.item():.3f} from three verdicts; without the wrong captions {(bce_real(right) + bce_fake(fake)).item():.3f}"
)

# %% [markdown]
# In every other respect (layers, widths, optimiser) our conditional GAN and GAN-CLS are the same, so that their
# difference is this one term.
#
# ### StackGAN: from a small picture to a large one
#
# **Claim (comparison study Q6).** Stage I draws 64 x 64, stage II makes 256 x 256 of it. Stage II gets no z; it reads the
# small picture and the sentence once more:

# %%
system, out = fresh("stackgan")
generator = system.generator.eval()
noise = system.noise(len(batch), seed)
with torch.no_grad():
    text = damsm.encode_text(batch.tokens)
    first, second = generator(text, noise).images
small, large = (tuple(image.shape[2:]) for image in (first, second))
published = systems.configure("stackgan", PROFILES["paper"]).resolutions
assert published == (64, 256) and large[0] > small[0]
print(f"here {small} to {large}; at the profile `paper` {published[0]} to {published[1]} px")
teaching.picture_rows({"stage I, untrained": first[:6], "stage II": second[:6]})

# %% [markdown]
# The sentence does not enter as it is: *conditioning augmentation* draws $c = \mu(s) + \sigma(s)\,\epsilon$, so that
# captions near each other give overlapping conditions, and keeps the distribution near a standard normal one by
# $KL = \tfrac12 \sum (\mu^2 + \sigma^2 - \log \sigma^2 - 1)$ (a mean over the dimensions here):

# %%
mu, log_variance = out.extras["mu1"], out.extras["log_variance1"]
by_hand = 0.5 * (mu.square() + log_variance.exp() - log_variance - 1).mean()
torch.testing.assert_close(conditioning_kl(mu, log_variance), by_hand)
torch.testing.assert_close(system.generator_losses(batch, out)["kl1"], by_hand)

# %% [markdown]
# **Claim (comparison study Q4).** "AttnGAN generates the highest resolution": the study says so of AttnGAN on one page
# and of StackGAN on the next. Both are right, and so neither is the highest:

# %%
sizes = {name: systems.configure(name, PROFILES["paper"]).resolutions[-1] for name in systems.available()}
assert sizes["attngan"] == sizes["stackgan"] == max(sizes.values()) == 256
pd.DataFrame(sizes, index=["px at the profile `paper`"])

# %% [markdown]
# (It also says that StackGAN is better "due to its attention mechanism". StackGAN has none.)
#
# ### SDN: a teacher that reads pictures
#
# **Claim (comparison study Q5).** The generator is the teacher in reverse, three fully connected layers and 16
# convolutions of 3 x 3, and is trained by the squared distance of its features to the teacher's, layer by layer:
#
# $$L_{distill} = \frac{1}{L} \sum_{l} \frac{\lVert S_l(z, s) - T_l(x) \rVert^2}{C_l H_l W_l}$$
#
# At the profile `paper` the teacher is VGG-19. Here it is the image encoder of the matching model, which has learned
# these pictures without a download. The loss by hand:

# %%
system, out = fresh("sdn")
taught = system.teach(batch.images[-1])  # coarse to fine, as the student makes them
pairs = [(mine, its) for mine, its in zip(out.features, taught, strict=False)]
assert all(mine.shape == its.shape for mine, its in pairs)
by_hand = torch.stack([(mine - its).square().mean() for mine, its in pairs]).mean()
torch.testing.assert_close(system.generator_losses(batch, out)["distill"], system.config.lambda_distill * by_hand)
pd.DataFrame([(*mine.shape[1:2], mine.shape[2], ((mine - its) ** 2).mean().item()) for mine, its in pairs],
             columns=["channels", "px", "squared distance"])  # fmt: skip

# %% [markdown]
# The study once calls the discriminator the *student*; everywhere else, and in the paper that it sums up, it is the
# teacher, as here. (The student never meets the picture it is compared with: it is drawn from noise. So the features can
# at best agree on average, and a squared distance rewards an average. Section 6 asks whether that helps.)
#
# ## 2. The same budget for all
#
# The systems of the earlier notebooks are there already, or are trained now. The four of the study, and those with CLIP
# on this world (notebook [08](08_training_ratlip.ipynb) trained them on birds), are trained here. Same pictures, captions
# and noise in the same order, and as many steps; only at `mini` the three on CLIP and affine transforms get half as many,
# to save time: read their rows as less trained. The seconds differ, and section 5 comes back to it.

# %%
shown = {
    "cond. GAN": ("cgan", "default"), "GAN-CLS": ("gan-cls", "default"), "StackGAN": ("stackgan", "default"),
    "SDN": ("sdn", "default"), "AttnGAN": ("attngan", "default"), "DM-GAN": ("dm-gan", "default"),
    "GR-GAN": ("gr-gan", "default"), "ALR-GAN": ("alr-gan", "default"), "DF-GAN": ("df-gan", "clip"),
    "GALIP": ("galip", "default"), "RATLIP": ("ratlip", "default"),
}  # fmt: skip
assert {system for system, _ in shown.values()} == set(systems.available())
ablations = {  # of section 6, trained along with them
    "AttnGAN": {"whole": ("attngan", "brief"), "no attention": ("attngan", "no-attention"),
                "no DAMSM": ("attngan", "no-damsm")},
    "StackGAN": {"whole": ("stackgan", "default"), "one stage": ("stackgan", "one-stage")},
    "SDN": {"whole": ("sdn", "default"), "no distillation": ("sdn", "no-distillation")},
}  # fmt: skip
jobs = None if real else 1  # a process each is too much for a dozen steps
fewer = {"steps": bench.profile.steps // 2} if profile == "mini" else {}
own = {shown[name]: fewer for name in ("DF-GAN", "GALIP", "RATLIP")}
asked = list(dict.fromkeys([*shown.values(), *(pair for parts in ablations.values() for pair in parts.values())]))
trained = dict(zip(asked, bench.trained_side_by_side(asked, jobs, own, measure=shown.values()), strict=True))
runs = {name: trained[pair] for name, pair in shown.items()}
assert all(run.complete for run in runs.values())
pd.DataFrame({name: {"steps": run.summary["steps"]} for name, run in runs.items()})

# %% [markdown]
# ## 3. Side by side
#
# Top row: the pictures that the captions were written for. Below, what each system draws for them from the same noise.

# %%
picked = [0, 1, 2, 3, 8]
captions = [test.caption(i) for i in picked]
drawers = {name: run.system() for name, run in runs.items()}
rows = {"real": test.images(picked)} | {name: draw(one, captions, seed) for name, one in drawers.items()}
teaching.picture_rows(rows, captions, width=1.1)

# %% [markdown]
# Look down a column for the setting (beach, meadow, desert, snow, mountains, city): most systems have it. Then look for
# the thing that the caption names, at the place that it names: hardly any has that at `mini`. And look along a row:
# pictures that resemble each other more than their captions do are what section 7 calls collapse.
#
# And after longer trainings? The package ships one of each system. **These weights are loaded, not trained here**
# (`make zoo` trains them anew), and every number from section 4 on is of the trainings above, not of these. Ten of them
# have the same number of steps. DM-GAN was trained to do as it is told, by a recipe of its own
# ([`zoo.RECIPES`](../t2i_core/zoo.py)): more steps and pictures, wider networks, another weight of the matching loss,
# captions made false in one respect as counter-examples (the variant `falsified`), and a matching model that must tell
# every name and colour. The last two are ours, and notebook [01](01_captions_and_matching.ipynb) ends with them:

# %%
shipped = {name: zoo.run(system) for name, (system, _) in shown.items()}
rows = {"real": test.images(picked)} | {name: draw(run.system(), captions, seed) for name, run in shipped.items()}
teaching.picture_rows(rows, captions, width=1.1)

# %%
read = {
    "fid": "FID",
    "setting_accuracy": "setting",
    "soa_i": "SOA-I",
    "color_accuracy": "colour",
    "place_accuracy": "place",
}
told = {
    name: {"variant": run.config.variant, "steps": run.summary["steps"], "minutes": run.summary["train_seconds"] / 60}
    | {title: run.metrics[key]["value"] for key, title in read.items()}
    for name, run in shipped.items()
}
numbers = {"steps": "{:,.0f}", "minutes": "{:,.0f}"} | dict.fromkeys(read.values(), "{:.2f}")
assert all(of["setting"] > 0.95 for of in told.values())
pd.DataFrame(told).T.style.format(numbers)

# %% [markdown]
# *setting*, *SOA-I*, *colour* and *place* are shares of captions, or of the things they name, that the inspector finds as
# said. Settings are right nearly always. Of the ten that were trained alike, AttnGAN and ALR-GAN draw every second thing
# and two colours in five; the others find a body in one case of four, a colour in one of ten. What comes last is the place,
# and it comes: DM-GAN's recipe draws nine things in ten, as many in their colour, and as many where the caption puts them.
# What is there besides, none of the four counts: look for things that it draws twice. One training each: a picture of what
# to expect, and no comparison.
#
# ## 4. Numbers, caption by caption
#
# The metrics of this project for every system (colours and places are in the table above), each with its interval and
# protocol in the run's `metrics.json`:

# %%
metrics = {
    "fid": "FID",
    "kid": "KID",
    "inception_score": "IS",
    "r_precision": "R-prec.",
    "clip_score_x100": "CLIP x 100",
}
metrics |= {"soa_i": "SOA-I", "soa_c": "SOA-C", "cmd": "CMD", "itdis": "ITDis", "setting_accuracy": "setting"}
metrics |= {"image_to_text_r10": "R@10", "place_accuracy": "place", "binding_accuracy": "binding"}
metrics |= {"precision": "precision", "recall": "recall", "density": "density", "coverage": "coverage"}
value = {name: {m: run.metrics.get(m, {}).get("value", np.nan) for m in metrics} for name, run in runs.items()}
scores = pd.DataFrame(value).T.rename(columns=metrics)
lower = ["FID", "KID", "CMD", "ITDis"]
highest = scores.columns.difference(lower)
scores.style.format("{:.3g}", na_rep="–").highlight_min(lower, props="font-weight: bold").highlight_max(
    highest, props="font-weight: bold"
)

# %% [markdown]
# Has each of them learned at all? Its FID as a share of that of the same network before its first step. This project
# promises less than a half; a system above it is named here, and in the report:

# %%
share = {name: run.metrics["fid"]["value"] / run.metrics["fid_untrained"]["value"] for name, run in runs.items()}
late = [name for name, of in share.items() if of >= 0.5]
print(f"not under a half: {', '.join(late) or 'none'}")
pd.DataFrame(share, index=["FID, of untrained"]).style.format("{:.2f}")

# %% [markdown]
# In the table of metrics, bold is the best of a column; *best* is not *better*: which of these differences would another
# thousand captions confirm? Intervals that overlap do not answer that, because what makes a caption hard is hard for all.
# Since all systems drew the same captions from the same noise, we can look at **differences caption by caption**.

# %%
together = paired.side_by_side(runs, min(500, len(test)), seed, device)
each = {name: paired.image_scores(subject, together.asked) for name, subject in together.drawn.items()}
cosines = {name: found["clip_score"] for name, found in each.items()}
one, other = "AttnGAN", "ALR-GAN"
apart = [np.std(cosines[name]) / len(cosines[name]) ** 0.5 for name in (one, other)]
gaps = cosines[one] - cosines[other]
print(f"r of the two systems' scores: {np.corrcoef(cosines[one], cosines[other])[0, 1]:.2f}")
print(f"standard error of the difference: {np.hypot(*apart):.4f} apart, {gaps.std() / len(gaps) ** 0.5:.4f} in pairs")

# %% [markdown]
# Eleven systems make 55 pairs. At 5 % each, two or three of them would "differ" if all systems were the same. Holm's
# correction keeps the chance of *even one* false difference in the table below 5 %. What stands after it:

# %%
differences = {
    "CLIP score": paired.mean_differences(cosines, seed=seed),
    "setting": paired.mean_differences({name: found["setting_accuracy"] for name, found in each.items()}, seed=seed),
    "FID": paired.fid_differences(
        {name: subject.reading.features for name, subject in together.drawn.items()},
        together.real.reading.features,
        seed=seed,
    ),
}
pd.DataFrame(
    {
        metric: {
            "pairs": len(found),
            "p < 0.05 by themselves": sum(d.p < 0.05 for d in found),
            "stand when all are counted": sum(d.stands for d in found),
        }
        for metric, found in differences.items()
    }
)

# %%
comparison_figures.difference_matrix(differences["FID"], "FID: row less column, blue where the row is better")

# %% [markdown]
# A cell is the FID of its row less that of its column; empty cells do not stand. Rows are ordered by their mean, so that
# blocks of empty cells along the diagonal are systems that these pictures cannot tell apart. **comparison study N2** asked
# for exactly this, a test of significance between the best systems of each dataset.
#
# Read it for what it is: these weights would differ again on other captions. Whether the *methods* differ needs other
# weights, which is other seeds: `make reproduce SEEDS="0 1 2"`, and notebook [12](12_results.ipynb).
#
# ## 5. Quality against cost
#
# **Claim (comparison study O2).** An open question of the study: what does more resolution cost? It names no cost at all.
# Parameters, seconds of training, time for one picture and the memory that drawing takes, of each:

# %%
costs = {}
for name, run in runs.items():
    told, found = run.summary, run.metrics
    costs[name] = {
        "generator, M": told["parameters"]["generator"] / 1e6,
        "discriminators, M": told["parameters"]["discriminators"] / 1e6,
        "training, s": told["train_seconds"],
        "ms an image": 1000 * found["seconds_per_image"]["value"],
        "peak memory, MB": found["peak_memory_mb"]["value"],
        "FID": found["fid"]["value"],
    }
costs = pd.DataFrame(costs).T
costs.style.format("{:.3g}")

# %%
comparison_figures.quality_against_cost(costs, "FID", ["training, s", "ms an image"])

# %% [markdown]
# Down and to the left is better. Times were taken while other work ran on the machine, so that a factor of two is nothing.
# What holds on any machine is the *growth*: the same three stages at 8-16-32, 16-32-64 and 32-64-128:

# %%
growth = {}
for resolutions in ((8, 16, 32), (16, 32, 64), (32, 64, 128)):
    one = systems.create("attngan", profile, matcher=damsm, seed=seed, resolutions=resolutions).eval()
    draw(one, captions, seed)  # warm up
    start = time.perf_counter()
    draw(one, captions * 2, seed)
    took = (time.perf_counter() - start) / (2 * len(captions))
    growth[resolutions[-1]] = {"ms an image": 1000 * took, "ns a pixel": 1e9 * took / resolutions[-1] ** 2}
assert growth[128]["ms an image"] > growth[32]["ms an image"]
pd.DataFrame(growth).T.rename_axis("px").style.format("{:.3g}")

# %% [markdown]
# Once the images are not small any more, four times the pixels cost about four times the time: convolutions dominate, and
# a pixel has its price. Below that, what a call costs by itself counts for more. Attention adds words x regions, which
# grows with the pixels as well and no faster.
#
# ## 6. The study's claims
#
# **Claims (comparison study Q1, Q2).** AttnGAN has the highest Inception Score on the hardest data (25.89 on COCO), SDN
# on the simpler sets (6.68 on CUB, 4.28 on Oxford). We can ask the first here, of the same five systems:

# %%
five = ["cond. GAN", "GAN-CLS", "StackGAN", "SDN", "AttnGAN"]
found = {name: runs[name].metrics["inception_score"] for name in five}
ceiling = found["AttnGAN"]["protocol"]["on_real_images"]
best = max((name for name in five if name != "AttnGAN"), key=lambda name: found[name]["value"])
lead = found["AttnGAN"]["value"] - found[best]["value"]
spread = np.hypot(*(found[name]["high"] - found[name]["low"] for name in ("AttnGAN", best))) / 2
note = f"Inception Score of AttnGAN less that of {best}, the best of cgan, gan-cls, stackgan and sdn, on toy-scenes"
bench.finding("STUDY-Q1", lead, lead - spread, lead + spread, found[best]["n"], note)
print(
    f"AttnGAN less {best}: {lead:+.2f} [{lead - spread:+.2f}, {lead + spread:+.2f}]; real pictures have {ceiling:.2f}"
)
pd.DataFrame({name: one["value"] for name, one in found.items()}, index=["Inception Score"])

# %% [markdown]
# The second needs all five on birds as well. That is done at the profile `small` and above, where there is time:

# %%
if profile in ("small", "paper"):
    birds = open_workbench(dataset_for("toy-birds", profile), profile, seed, run_dir, device)
    on_birds = dict(zip(five, birds.trained_side_by_side([shown[name] for name in five]), strict=True))
    found = {
        name: evaluate_run(run, "inception_score", device=device)["inception_score"] for name, run in on_birds.items()
    }
    best = max((name for name in five if name != "SDN"), key=lambda name: found[name]["value"])
    lead = found["SDN"]["value"] - found[best]["value"]
    spread = np.hypot(*(found[name]["high"] - found[name]["low"] for name in ("SDN", best))) / 2
    birds.finding("STUDY-Q2", lead, lead - spread, lead + spread, found[best]["n"], f"SDN less {best}, on toy-birds")
else:
    print(f"not run at {profile}")

# %% [markdown]
# **Claims (comparison study M1, O1, N1).** "Superior due to its attention mechanism and DAMSM". The study has no ablation
# and asks for one. Ours: the same layers with the attention made even over all words, and AttnGAN without the matching
# loss. **Claim (comparison study M2).** Two stages draw better than one: StackGAN against a stage I that draws the final
# size at once. **Claim (comparison study M3).** Distillation helps: SDN without its teacher.

# %%
cut = {pair: trained[pair] for parts in ablations.values() for pair in parts.values()}
for run in cut.values():
    if not {"fid", "inception_score"} <= run.metrics.keys():
        evaluate_run(run, ("fid", "inception_score"), device=device)

# %%
rows = [
    (f"{system}: {part}", metric, *(cut[pair].metrics[key][bound] for bound in ("value", "low", "high")))
    for system, parts in ablations.items()
    for part, pair in parts.items()
    for key, metric in (("fid", "FID"), ("inception_score", "Inception Score"))
]
values = pd.DataFrame(rows, columns=["run", "metric", "value", "low", "high"])
figures.metric_dots(values, ["FID", "Inception Score"], label="run")

# %% [markdown]
# Compare only lines of one system: AttnGAN's three are brief trainings (compare with notebook
# [06](06_training_alr_gan.ipynb)), at `mini` of ten steps, after which neither direction says anything; the others are full
# ones. FID is better to the left, the Inception Score to the right. Where an ablation is *better* than the whole, the
# mechanism did not help in this training; with one seed that is no verdict.
#
# ## 7. How GANs fail
#
# **Claim (comparison study N3).** The study names four signatures of failure and asks how often and how badly they occur:
# *mode collapse*, *vanishing gradients*, *poor alignment*, *low-resolution artefacts*. Each has a number here, always
# beside that of the real pictures of the same captions:
#
# | signature | measured | shows |
# |---|---|---|
# | mode collapse | distance of a picture to the most alike other one | under half of that between real ones |
# | noise ignored | distance of two pictures of one caption | next to nothing |
# | misalignment | how much better its own caption fits than others | under a quarter of that of real pictures |
# | lack of detail, false detail | power of the fine half of the frequencies | under half, over twice that of real ones |
# | grid artefacts | power at the frequencies of upsampling, against their neighbours | twice that of real ones |
# | vanishing gradients | steps in which D's loss is near its least and G's is high and does not fall | a quarter of all |
#
# The bounds are ours, and so far from what real pictures have that these show none of the signatures.

# %%
samples = {name: draw_sample(run, images=together.drawn[name].images, device=device) for name, run in runs.items()}
table = failure_table(list(runs.values()), list(samples.values()))
table.index = ["real", *runs]
signs = table.filter(like="shows ").drop(index="real").rename(columns=lambda name: name.removeprefix("shows "))
signs.astype(object).replace({True: "shows", False: "", pd.NA: "cannot be told"})

# %% [markdown]
# An empty cell: the signature does not show. The evidence behind it, of the system with the worst FID:

# %%
worst_of_all = scores["FID"].idxmax()
for sign in signatures(runs[worst_of_all], samples[worst_of_all]):
    print(f"{worst_of_all}, {sign}")
signature_figure(runs[worst_of_all], samples[worst_of_all])

# %% [markdown]
# Top left: the two losses; a shaded span is one in which the discriminator had won. Top right: power by frequency, drawn
# against real; a peak or a notch at a dotted line is a checkerboard or a block. Below: a histogram further left than that
# of the real pictures is less variety, and less fit.
#
# A set can look healthy and still hold many failures. Which *single* pictures fail, and how often? A picture fails where it
# is worse than 95 % of the real ones (so that 5 % of these fail, too); *misread* where anything that the caption states is
# read otherwise:

# %%
table[list(KINDS)].style.format("{:.0%}", na_rep="–").background_gradient(cmap="Reds", vmin=0, vmax=1)

# %%
best_of_all = scores["FID"].idxmin()
failure_gallery(samples[best_of_all], columns=2, kinds=["misread", "off its caption", "unlike real", "near duplicate"])

# %% [markdown]
# The worst of the *best* system, by kind: on the left what it drew, on the right the real picture of the same caption, and
# below what is wrong. Look for what the kinds have in common, such as two things in one picture, or night: that is where
# to look for the cause. A system's gallery is the first thing to open when its number is bad.
#
# ## 8. Asking people
#
# **Claim (comparison study Q3).** "In human evaluation, SDN scores highest: 2.81 on CUB and 1.87 on Oxford." Raters of that
# literature *ranked* the systems, so that 1 is best. Read as a rank, the highest number is the worst system. The study does
# not say who rated what, or whether they agreed, and its own third open question (**comparison study O3**) is how people
# and the Inception Score go together.
#
# We cannot ship people. We ship the questionnaire: blind, shuffled, balanced over positions, typed with the keyboard, to be
# left and taken up again, by as many raters as there are. A real picture and one of another caption are among the pictures,
# so that raters who do not look are found out:

# %%
asked = list(range(min(12, len(together.asked.captions))))
by_name = {name: together.drawn[name].images[asked] for name in five}
originals = test.images(asked)
captions = together.asked.captions[: len(asked)]
digest = hashlib.sha256(torch.cat(list(by_name.values())).numpy().tobytes()).hexdigest()[:8]
place = bench.run_dir / "human" / f"{bench.world}-s{seed}-{digest}"  # other weights are another study
study = Study.create(place, captions, by_name, originals, originals.roll(1, 0), tasks=("rank",), seed=seed)
assert not any(name in path.name for path in place.rglob("*.png") for name in five)  # blind
rating_page(place, "you")

# %% [markdown]
# (A saved notebook cannot show the page; in JupyterLab, type the letters from best to worst and press
# Enter. A rater needs two or three minutes. Every answer is one line of a text file in the run folder.)
#
# What would the analysis say? **Simulated raters**, so named, with a taste that we give them: they like the systems in the
# order of their names, with much noise. Their answers go to a folder of their own and support no claim.

# %%
with tempfile.TemporaryDirectory() as folder:
    trial = Study.create(folder, captions, by_name, originals, originals.roll(1, 0), tasks=("rank",), seed=seed)
    taste = {name: -0.4 * k for k, name in enumerate(five)} | {"ceiling": 2.0, "floor": -1.0}
    raters = [simulate(trial, number, taste, noise=0.8, seed=seed) for number in (1, 2, 3)]
    judged, _ = trial.judgements()
mean_ranks, agree = human_scores.mean_scores(judged), human_scores.agreement(judged)
assert [name for name in mean_ranks if name in five][0] == five[0] and agree.low > 0
print(f"{', '.join(raters)}: Krippendorff's alpha {agree.value:.2f} [{agree.low:.2f}, {agree.high:.2f}]")
human_figures.mean_score_figure(mean_ranks)

# %% [markdown]
# Mean ranks with their intervals over raters and captions. The simulated taste comes back in its order. *Alpha* is 1 where
# raters agree and 0 where they might as well have thrown dice: without it, a mean rank is a number about nobody. Simulated
# people have simulated agreement, so none of this is a result.
#
# And the correlation with the Inception Score? With five systems an exact test has only 120 orders to compare with:

# %%
told = {name: {"Inception Score": runs[name].metrics["inception_score"]["value"]} for name in five}
human_scores.correlate(judged[judged.system.isin(five)], told).drop(columns="note")

# %% [markdown]
# If *people* have answered, their judgements are used, and the claim gets its number; here:

# %%
people = [rater for rater in study.raters() if not rater.startswith("simulated-")]
if people:
    judged, _ = study.judgements()
    found = human_scores.correlate(judged[judged.system.isin(five)], told).iloc[0]
    note = f"minus Spearman's correlation of mean rank and Inception Score, {len(people)} raters"
    bench.finding("STUDY-O3", -found.rho, -found.high, -found.low, int(found.systems), note)
print(f"{len(people)} raters so far: {'STUDY-O3 is measured' if people else 'STUDY-O3 is not run'}")

# %% [markdown]
# ## 9. Failure case: a ranking that depends on who counts
#
# Eleven systems, more metrics than that: which is the best system? Each metric ranks them; here are the ranks.

# %%
better = [name for name in scores if name in highest]
ranks = scores[lower].rank().join(scores[better].rank(ascending=False))
ranks = ranks.dropna(axis=1).loc[ranks.mean(axis=1).sort_values().index]
winners = {name: int((ranks.loc[name] == 1).sum()) for name in ranks.index}
assert not real or max(winners.values()) < ranks.shape[1]  # nobody wins everything
comparison_figures.rank_lines(ranks)

# %% [markdown]
# A line is a system, a column a metric, 1 is the best. Lines cross: whoever chooses the metric chooses the winner. That is
# why a table with one metric, from five papers, with five protocols, ranks nothing; and why in this project one rule judges
# all claims, whatever comes of it.
#
# ## Takeaways
#
# * Compare systems on the same captions and the same noise: the luck of a caption cancels, and small differences show.
# * Whoever looks at 55 pairs finds three differences in nothing. Count what you looked at, and correct for it.
# * A mechanism that is *argued* to help is a hypothesis. Switch it off and train again, more than once.
#
# ## Exercises
#
# 1. *What a judge that cannot read allows.* It gives every real picture the same verdict $p$ under any caption, and is
#    right about drawn ones ($D = 0$). The conditional GAN's discriminator loss does not mind: it falls to 0 as $p$
#    rises to 1. What does such a judge pay by GAN-CLS's loss, and which $p$ is the best it can say?
#    Write it here; run the cell, and it says whether it is right, or which property fails:

# %%
from t2i_core import exercises


def blind(p):
    return None  # your answer


exercises.check("11.1", blind)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Set the three verdicts by hand: $p$ for a real picture, 0 for a drawn one, and again $p$ under a wrong caption.
#
# </details>
#
# <details><summary>Solution</summary>
#
# The first loss has no term with a wrong caption in it. In the second, a judge that says the same to both pays: the best it
# can do on a real picture that comes with its own caption once and half a time with another is $D = 2/3$.
#
# ```python
# def blind(p):
#     return -np.log(p) - np.log(1 - p) / 2
#
#
# assert exercises.check("11.1", blind)
# verdicts = np.linspace(0.01, 0.99, 981)
# assert abs(verdicts[blind(verdicts).argmin()] - 2 / 3) < 1e-3
# sure = torch.full((4,), 9.0)
# illiterate = bce_matching(sure, -sure, sure)  # real: yes; drawn: no; real with a wrong caption: yes, it cannot read
# assert illiterate > bce_matching(sure, -sure, -sure) + 4
# assert torch.isclose(bce_real(sure) + bce_fake(-sure), torch.tensor(0.0), atol=1e-3)  # the conditional GAN is content
# ```
#
# </details>
#
# 2. *How many pairs differ by chance?* Give eleven systems scores that are nothing but noise on 300 captions, and count
#    the pairs with $p < 0.05$ and those that stand. How many have $p < 0.05$ on average, for any number of systems?
#    Write it here; run the cell, and it says whether it is right, or which property fails:


# %%
def by_chance(systems):
    return None  # your answer


exercises.check("11.2", by_chance)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `paired.mean_differences`; and of how many pairs is $p$ below 0.05 where nothing differs?
#
# </details>
#
# <details><summary>Solution</summary>
#
# About one pair in twenty by itself, and none that stands, nearly always.
#
# ```python
# def by_chance(systems):
#     return 0.05 * systems * (systems - 1) / 2
#
#
# assert exercises.check("11.2", by_chance)
# noise_only = np.random.default_rng(4).normal(size=(11, 300))
# found = paired.mean_differences({f"system {k}": row for k, row in enumerate(noise_only)})
# assert len(found) == 55 and 0 < sum(d.p < 0.05 for d in found) < 15
# assert not any(d.stands for d in found)
# ```
#
# </details>
#
# 3. *A squared distance wants an average.* Two features are equally frequent, $+1$ and $-1$. Which single answer has
#    the least squared distance to them, and what does that mean for distillation from noise? Find it for any `features`
#    (N, D), a torch tensor.
#    Write it here; run the cell, and it says whether it is right, or which property fails:


# %%
def single(features):
    return None  # your answer


exercises.check("11.3", single)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Try answers from -1 to 1; or set the derivative to 0.
#
# </details>
#
# <details><summary>Solution</summary>
#
# 0, which is never right. A student that cannot know which picture it is compared with learns the teacher's *mean* features
# for a caption; the adversarial loss has to bring the variety back.
#
# ```python
# def single(features):
#     return features.mean(0)
#
#
# assert exercises.check("11.3", single)
# answers = torch.linspace(-1, 1, 21)
# cost = ((answers[:, None] - torch.tensor([-1.0, 1.0])) ** 2).mean(1)
# assert answers[cost.argmin()].abs() < 1e-6
# ```
#
# </details>
#
# *Next: [12 Results](12_results.ipynb)*
