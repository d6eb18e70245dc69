"""The papers' claims that the reproduction answers, one by one, each with the evidence that decides it.

`judge` gives every claim's entry of results.json; the rule and the kinds of evidence are in `t2i_core.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from t2i_core.config import PROFILES, nearest
from t2i_core.evidence import RULE, VERDICTS, Described, Finding, Paired, Promise, Record

__all__ = ["CLAIMS", "PUBLISHED", "RULE", "VERDICTS", "Claim", "judge"]

NOT_IN_SOURCE = {"note": "not in our source"}  # a picture of a table there, and the picture is lost
NO_NUMBER = {"note": "the paper shows pictures, no number"}
OWN = "this project"
PROMISED = {"note": "a promise of this project, not of a paper"}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper (or one promise of ours), and the evidence that decides it."""

    id: str
    statement: str
    evidence: Paired | Finding | Promise | Described
    paper: str = "ALR-GAN"
    published: dict[str, Any] = field(default_factory=lambda: dict(NOT_IN_SOURCE))


def _ablation(number: int, variant: str, statement: str) -> Claim:
    return Claim(f"ALRGAN-Ab{number}", statement, Paired("fid", "lower", against=("alr-gan", variant)))


def _ratlip(number: str, statement: str, evidence, note: str) -> Claim:
    return Claim(f"RATLIP-{number}", statement, evidence, paper="RATLIP", published={"note": note})


GALIP, RATLIP, RAT = ("galip", "default"), ("ratlip", "default"), ("ratlip", "no-attention")


def _score(ours: tuple[str, str], against: tuple[str, str], world: str) -> Paired:
    return Paired("clip_score_x100", "higher", ours, against, world)


ALRGAN: tuple[Claim, ...] = (
    Claim("ALRGAN-T1-FID", "ALR-GAN has a lower FID than its baseline AttnGAN.", Paired("fid", "lower")),
    Claim("ALRGAN-T1-IS", "ALR-GAN has a higher Inception Score than AttnGAN.", Paired("inception_score", "higher")),
    Claim(
        "ALRGAN-T1-SOA",
        "ALR-GAN draws the objects its captions name more often than AttnGAN (semantic object accuracy).",
        Paired("soa_i", "higher"),
    ),
    Claim("ALRGAN-T1-RP", "ALR-GAN has a higher R-precision than AttnGAN.", Paired("r_precision", "higher")),
    Claim(
        "ALRGAN-T2",
        "Training time, epochs, model size and test time of ALR-GAN beside other systems.",
        Described(("parameters", "train_seconds")),
    ),
    Claim(
        "ALRGAN-F3",
        "Aligning Theta with the real image's Theta* brings the words' regions onto the objects they name.",
        Finding("ALRGAN-F3", "Overlap of the words' regions with the objects' masks, ALR-GAN less no-alr"),
        published=NO_NUMBER,
    ),
    Claim(
        "ALRGAN-F6",
        "Small edits of a caption move the layout: the object goes to the place that the edited caption names.",
        Finding("ALRGAN-F6", "Share of edits whose object moves to the named side, less the share that moves away"),
        published=NO_NUMBER,
    ),
    _ablation(1, "no-alr", "Without the ALR loss the images get worse (FID)."),
    _ablation(2, "fixed-weights", "With fixed instead of adaptive weights alpha and beta the images get worse (FID)."),
    _ablation(3, "no-pr", "Without the perception refinement loss the images get worse (FID)."),
    _ablation(4, "no-sr", "Without the style refinement loss the images get worse (FID)."),
    Claim(
        "ALRGAN-Q2",
        "The adaptive weights put the weight on the hard regions: beta is above alpha.",
        Finding("alr-beta-minus-alpha", "Least beta less greatest alpha, on unseen pairs"),
        published={"note": "the paper states beta > alpha; no number"},
    ),
)

RATLIP_CLAIMS: tuple[Claim, ...] = (
    _ratlip(
        "T1-FID-FACES",
        "RATLIP has a lower FID than GALIP on faces.",
        Paired("fid", "lower", RATLIP, GALIP, "toy-faces"),
        "CelebA-tiny: 81.48 against 94.45",
    ),
    _ratlip(
        "T1-FID-BIRDS",
        "GALIP keeps the lower FID on birds: RATLIP is second.",
        Paired("fid", "lower", GALIP, RATLIP, "toy-birds"),
        "CUB: GALIP 10, RATLIP 13.28",
    ),
    *(
        _ratlip(
            f"T1-CS-{world.upper()}",
            f"RATLIP has a higher CLIP score than GALIP on {world}.",
            _score(RATLIP, GALIP, f"toy-{world}"),
            note,
        )
        for world, note in (
            ("birds", "CUB: 32.03 against 31.60"),
            ("flowers", "Oxford: 31.94 against 31.77"),
            ("faces", "CelebA-tiny: 28.91 against 27.95"),
        )
    ),
    _ratlip(
        "T2",
        "The CLIP score rises with the LSTM's number of units.",
        Finding("RATLIP-T2", "Spearman correlation of the number of units with the CLIP score"),
        "CUB: 31.62, 30.81, 31.38, 31.02, 31.89, 32.03, 32.12 for 0, 4, 8, 16, 32, 64, 128 units: 0.75",
    ),
    _ratlip(
        "T3-RAT",
        "The recurrent affine transform alone raises the CLIP score over the baseline on birds.",
        _score(RAT, GALIP, "toy-birds"),
        "CUB: 31.62 against 31.60 (Oxford +0.06, CelebA-tiny -0.32)",
    ),
    _ratlip(
        "T3-ATT",
        "Shuffle attention raises the CLIP score over the recurrent transform alone on birds.",
        _score(RATLIP, RAT, "toy-birds"),
        "CUB: 32.03 against 31.62; the published code adds batch norm with the attention",
    ),
    _ratlip(
        "F3",
        "With 64 units the regions that matter cover the bird better than with fewer.",
        Finding("RATLIP-F3", "Grad-CAM inside the bird's box less the box's area, 64 units less the mean of fewer"),
        "the paper shows pictures, no number",
    ),
    _ratlip(
        "F5",
        "RATLIP separates attributes better than GALIP: an edited word changes less of the rest.",
        Finding("RATLIP-F5", "Share of unedited attributes that change with an edited word, GALIP less RATLIP"),
        "the paper shows one caption, no number",
    ),
    _ratlip(
        "Q7",
        "Shuffle attention keeps the LSTM from forgetting the text.",
        Finding(
            "RATLIP-Q7", "Change of a linear probe's accuracy from first to last step, with less without attention"
        ),
        "the paper argues with the CLIP score; no measurement",
    ),
)

PROMISES: tuple[Claim, ...] = (
    Claim(
        "PROMISE-FID",
        "After training on toy-scenes, AttnGAN and ALR-GAN have an FID under half of their untrained generator's.",
        Promise("fid", "lower", 0.5, reference="fid_untrained"),
        paper=OWN,
        published=PROMISED,
    ),
    Claim(
        "PROMISE-SETTING",
        "On toy-scenes the setting that the caption names is right in at least 80% of the drawn images.",
        Promise("setting_accuracy", "higher", 0.8),
        paper=OWN,
        published=PROMISED,
    ),
    Claim(
        "PROMISE-FID-CLIP",
        "After training on toy-birds, GALIP and RATLIP have an FID under half of their untrained generator's.",
        Promise("fid", "lower", 0.5, reference="fid_untrained", systems=("galip", "ratlip"), world="toy-birds"),
        paper=OWN,
        published=PROMISED,
    ),
)

CLAIMS = (*ALRGAN, *RATLIP_CLAIMS, *PROMISES)

_TABLE_I = (
    ("df-gan", "CUB-200-2011", "fid", "14.81"),
    ("df-gan", "CelebA-tiny", "fid", "137.6"),
    ("df-gan", "CUB-200-2011", "clip_score_x100", "29.20"),
    ("df-gan", "Oxford-102", "clip_score_x100", "26.67"),
    ("df-gan", "CelebA-tiny", "clip_score_x100", "24.41"),
    ("galip", "CUB-200-2011", "fid", "10"),
    ("galip", "CelebA-tiny", "fid", "94.45"),
    ("galip", "CUB-200-2011", "clip_score_x100", "31.60"),
    ("galip", "Oxford-102", "clip_score_x100", "31.77"),
    ("galip", "CelebA-tiny", "clip_score_x100", "27.95"),
    ("ratlip", "CUB-200-2011", "fid", "13.28"),
    ("ratlip", "CelebA-tiny", "fid", "81.48"),
    ("ratlip", "CUB-200-2011", "clip_score_x100", "32.03"),
    ("ratlip", "Oxford-102", "clip_score_x100", "31.94"),
    ("ratlip", "CelebA-tiny", "clip_score_x100", "28.91"),
)

# Numbers of the papers' systems that our sources hold. Other data, other sizes and another feature network than ours:
# they say where the field stands and are not comparable with a toy world's.
PUBLISHED: tuple[dict[str, Any], ...] = (
    {
        "system": "attngan",
        "dataset": "MS-COCO",
        "metric": "inception_score",
        "value": "25.89 ± 0.47",
        "source": "comparison study",
    },
    {
        "system": "attngan",
        "dataset": "MS-COCO",
        "metric": "inception_score",
        "value": "23.61",
        "source": "GR-GAN, Table 1",
    },
    {"system": "attngan", "dataset": "MS-COCO", "metric": "fid", "value": "34.90", "source": "GR-GAN, Table 1"},
    {"system": "attngan", "dataset": "CUB-200-2011", "metric": "fid", "value": "23.98", "source": "RATLIP, Table I"},
    *(
        {"system": system, "dataset": data, "metric": metric, "value": value, "source": "RATLIP, Table I"}
        for system, data, metric, value in _TABLE_I
    ),
)


def judge(runs: list[Record], findings: list[Record], profile: str) -> list[Record]:
    """Every claim's entry of results.json, from the entries of the runs and the findings of the notebooks.

    Only runs trained here count. Raises UserError for an unknown profile.
    """
    nearest(profile, PROFILES, "profile")
    trained = [run for run in runs if run.get("trained_here") is not False]
    judged = []
    for claim in CLAIMS:
        measured, ruling, why = claim.evidence.judge(trained, findings, profile)
        judged.append(
            {
                "id": claim.id,
                "paper": claim.paper,
                "statement": claim.statement,
                "published": claim.published,
                "measured": measured,
                "verdict": ruling,
                "why": f"{why}.",
            }
        )
    return judged
