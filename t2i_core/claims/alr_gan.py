"""What ALR-GAN claims."""

from __future__ import annotations

from t2i_core.claims.claim import NO_NUMBER, Claim
from t2i_core.evidence import BRIEF, Described, Finding, Paired


def _ablation(number: int, variant: str, statement: str) -> Claim:
    return Claim(f"ALRGAN-Ab{number}", statement, Paired("fid", "lower", against=("alr-gan", variant)))


CLAIMS: tuple[Claim, ...] = (
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
        Finding("ALRGAN-F3", "Overlap of the words' regions with the objects' masks, ALR-GAN less no-alr", BRIEF),
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
