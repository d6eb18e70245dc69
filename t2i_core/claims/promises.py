"""What this project promises of its own runs."""

from __future__ import annotations

from t2i_core.claims.claim import Claim
from t2i_core.evidence import Promise

OWN = "this project"
PROMISED = {"note": "a promise of this project, not of a paper"}


def _half(number: str, systems: tuple[str, ...], world: str, who: str) -> Claim:
    return Claim(
        f"PROMISE-FID-{number}",
        f"After training on {world}, {who} an FID under half of the untrained generator's.",
        Promise("fid", "lower", 0.5, "fid_untrained", systems, world),
        paper=OWN,
        published=PROMISED,
    )


ALL = ("cgan", "gan-cls", "stackgan", "sdn", "attngan", "dm-gan", "gr-gan", "alr-gan", "df-gan clip", "galip", "ratlip")

CLAIMS: tuple[Claim, ...] = (
    _half("SCENES", ALL, "toy-scenes", "each of the eleven systems has"),
    _half("BIRDS", ("galip", "ratlip"), "toy-birds", "GALIP and RATLIP have"),
    Claim(
        "PROMISE-SETTING",
        "On toy-scenes the setting that the caption names is right in at least 80% of the images that AttnGAN and "
        "ALR-GAN draw.",
        Promise("setting_accuracy", "higher", 0.8),
        paper=OWN,
        published=PROMISED,
    ),
)
