"""What GR-GAN claims."""

from __future__ import annotations

from t2i_core.claims.claim import Claim
from t2i_core.config import PROFILES
from t2i_core.evidence import BRIEF, Evidence, Finding, Paired

ATTNGAN, DMGAN, GRGAN = ("attngan", "default"), ("dm-gan", "default"), ("gr-gan", "default")
SHORTER = {
    p.name: f"at {p.name} ITM's layers are trained for {p.itm_steps} steps on a CLIP of {p.clip_steps}, which together "
    f"are fewer than DAMSM's {p.matcher_steps}"
    for p in PROFILES.values()
    if p.itm_steps + p.clip_steps < p.matcher_steps
}


def _claim(number: str, statement: str, evidence: Evidence, note: str) -> Claim:
    return Claim(f"GRGAN-{number}", statement, evidence, paper="GR-GAN", published={"note": note})


def _lower(metric: str, ours: tuple[str, str], against: tuple[str, str]) -> Paired:
    return Paired(metric, "lower", ours, against, "toy-scenes")


CLAIMS: tuple[Claim, ...] = (
    *(
        _claim(
            f"T1-{metric.upper()}-{short}",
            f"GR-GAN has a lower {name} than {full}.",
            _lower(metric, GRGAN, against),
            f"COCO: {ours} against {theirs}",
        )
        for metric, name, ours, numbers in (
            ("fid", "FID", "22.58", ("27.42", "34.90")),
            ("itdis", "ITDis", "0.80", ("0.98", "1.07")),
            ("cmd", "CMD", "8.04", ("12.68", "15.97")),
        )
        for (short, full, against), theirs in zip(
            (("DM", "DM-GAN", DMGAN), ("ATTN", "AttnGAN", ATTNGAN)), numbers, strict=True
        )
    ),
    *(
        _claim(f"T2-{number}", statement, _lower(metric, ours, against), note)
        for number, statement, metric, ours, against, note in (
            (
                "GRG-ATTN",
                "Gradual refinement lowers the FID on AttnGAN (with DAMSM).",
                "fid",
                ("gr-gan", "attention-damsm"),
                ATTNGAN,
                "COCO: 29.69 against 34.90",
            ),
            (
                "GRG-DM",
                "Gradual refinement lowers the FID on DM-GAN (with DAMSM).",
                "fid",
                ("gr-gan", "damsm"),
                DMGAN,
                "COCO: 25.83 against 27.42",
            ),
            (
                "GRG-ITDIS",
                "Gradual refinement lowers ITDis on DM-GAN (with DAMSM).",
                "itdis",
                ("gr-gan", "damsm"),
                DMGAN,
                "COCO: 1.00 against 0.98: the paper's own table says the opposite",
            ),
            (
                "ITM-ATTN",
                "ITM in the place of DAMSM lowers AttnGAN's FID.",
                "fid",
                ("attngan", "itm"),
                ATTNGAN,
                "COCO: 30.21 against 34.90",
            ),
            (
                "ITM-DM",
                "ITM in the place of DAMSM lowers DM-GAN's FID.",
                "fid",
                ("dm-gan", "itm"),
                DMGAN,
                "COCO: 25.33 against 27.42",
            ),
            (
                "BOTH",
                "ITM and gradual refinement together lower DM-GAN's CMD most: below ITM alone.",
                "cmd",
                GRGAN,
                ("dm-gan", "itm"),
                "COCO: 8.04 against 9.01",
            ),
        )
    ),
    _claim(
        "T3",
        "ITM retrieves better than DAMSM and than the CLIP it is built on.",
        Finding("GRGAN-T3", "R@1, mean of both ways, ITM less the better of DAMSM and CLIP", SHORTER),
        "COCO, R@1: ITM 53.1 / 52.64, CLIP-Res 49.6 / 47.64, DAMSM 27.2 / 28.92",
    ),
    _claim(
        "T4",
        "ITDis does not rise directly with the weights of the matching loss.",
        Finding("GRGAN-T4", "Spearman correlation of lambda_1 + lambda_2 with ITDis, with its sign turned", BRIEF),
        "COCO: 0.89, 0.91, 0.88, 0.87, 0.95, 0.97 for (1, 1), (2, 1), (3, 1), (4, 1), (4, 2), (5, 2): 0.49",
    ),
    _claim(
        "T5",
        "GR-GAN depicts clearer scenes than AttnGAN: the setting that the caption names is there more often.",
        Paired("setting_accuracy", "higher", GRGAN, ATTNGAN, "toy-scenes"),
        "the paper shows pictures, no number",
    ),
    _claim(
        "T6",
        "The order image, sentence, words ends with a lower CMD than the two other orders.",
        Finding("GRGAN-T6", "CMD of the last stage, mean of IWS and SWI less ISW", BRIEF),
        "COCO: ISW 8.04, IWS 9.13, SWI 10.31",
    ),
    _claim(
        "Q4",
        "The Inception Score overfits: it can be far above that of real images on bad ones.",
        Finding("GRGAN-Q4", "Inception Score of images made for its classifier less that of real images"),
        "COCO: CP-GAN has an Inception Score of 52.73 with an FID of 47.91",
    ),
    _claim(
        "Q5",
        "R-precision exceeds that of real images because the scorer also trained the generator.",
        Finding("GRGAN-Q5", "R-precision over that of real images, the training scorer's less an independent one's"),
        "stated of earlier papers, without a number",
    ),
    _claim(
        "Q9",
        "From stage to stage the images get better (FID).",
        Finding("GRGAN-Q9", "FID of GR-GAN's first stage less that of its last"),
        "COCO: 169.13, 61.37, 22.58",
    ),
    _claim(
        "Q10",
        "With the image stage last the images are worst (FID).",
        Finding("GRGAN-Q10", "FID of the last stage, SWI less the better of ISW and IWS", BRIEF),
        "COCO: SWI 34.99, IWS 25.93, ISW 22.58",
    ),
)
