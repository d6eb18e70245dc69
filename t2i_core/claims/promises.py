"""What this project promises of its own runs."""

from __future__ import annotations

from t2i_core.claims.claim import Claim
from t2i_core.evidence import Promise

OWN = "this project"
PROMISED = {"note": "a promise of this project, not of a paper"}

CLAIMS: tuple[Claim, ...] = (
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
    Claim(
        "PROMISE-FID-GRADUAL",
        "After training on toy-scenes, DM-GAN and GR-GAN have an FID under half of their untrained generator's.",
        Promise("fid", "lower", 0.5, reference="fid_untrained", systems=("dm-gan", "gr-gan")),
        paper=OWN,
        published=PROMISED,
    ),
)
