"""What the comparison study claims of GAN-CLS, the conditional GAN, StackGAN, AttnGAN and SDN."""

from __future__ import annotations

from t2i_core.claims.claim import Claim
from t2i_core.evidence import Evidence, Finding, Paired

PAPER = "comparison study"
NO_MEASUREMENT = "argued, not measured"


def _study(number: str, statement: str, evidence: Evidence, note: str) -> Claim:
    return Claim(f"STUDY-{number}", statement, evidence, paper=PAPER, published={"note": note})


def _against(metric: str, better: str, system: str, without: str) -> Paired:
    return Paired(metric, better, (system, "default"), (system, without), "toy-scenes")


CLAIMS: tuple[Claim, ...] = (
    _study(
        "Q1",
        "AttnGAN has the highest Inception Score of the five systems on the most complex data.",
        Finding("STUDY-Q1", "Inception Score on toy-scenes, AttnGAN less the best of the four others"),
        "COCO: 25.89 for AttnGAN",
    ),
    _study(
        "Q2",
        "SDN has the highest Inception Score of the five systems on the smaller, simpler data.",
        Finding("STUDY-Q2", "Inception Score on toy-birds, SDN less the best of the four others"),
        "CUB: 6.68, Oxford: 4.28 for SDN",
    ),
    _study(
        "M1-ATTENTION",
        "Attention to words raises AttnGAN's Inception Score.",
        _against("inception_score", "higher", "attngan", "no-attention"),
        NO_MEASUREMENT,
    ),
    _study(
        "M1-DAMSM",
        "The matching model's loss (DAMSM) raises AttnGAN's Inception Score.",
        _against("inception_score", "higher", "attngan", "no-damsm"),
        NO_MEASUREMENT,
    ),
    _study(
        "M2",
        "Two stages draw better than one (StackGAN; FID).",
        _against("fid", "lower", "stackgan", "one-stage"),
        NO_MEASUREMENT,
    ),
    _study(
        "M3",
        "Distillation from a network that reads images makes the drawing better (SDN; FID).",
        _against("fid", "lower", "sdn", "no-distillation"),
        NO_MEASUREMENT,
    ),
    _study(
        "O3",
        "People and the Inception Score order the systems alike.",
        Finding("STUDY-O3", "Spearman correlation of the systems' mean rank by people, best first, with their score"),
        "an open question of the study; its human scores are ranks, of which the lower is the better",
    ),
)
