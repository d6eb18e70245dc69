"""What RATLIP claims."""

from __future__ import annotations

from t2i_core.claims.claim import Claim
from t2i_core.evidence import BRIEF, Finding, Paired


def _ratlip(number: str, statement: str, evidence, note: str) -> Claim:
    return Claim(f"RATLIP-{number}", statement, evidence, paper="RATLIP", published={"note": note})


GALIP, RATLIP, RAT = ("galip", "default"), ("ratlip", "default"), ("ratlip", "no-attention")


def _score(ours: tuple[str, str], against: tuple[str, str], world: str) -> Paired:
    return Paired("clip_score_x100", "higher", ours, against, world)


CLAIMS: tuple[Claim, ...] = (
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
        Finding("RATLIP-T2", "Spearman correlation of the number of units with the CLIP score", BRIEF),
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
        Finding(
            "RATLIP-F3", "Grad-CAM inside the bird's box less the box's area, 64 units less the mean of fewer", BRIEF
        ),
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
