"""Numbers that the papers print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_DISTANCES = ("fid", "itdis", "cmd")

# GR-GAN, MS-COCO. A system with its variant has the name that a run of ours has.
_TABLE_1 = {
    "attngan": ("23.61", "34.90", "1.07", "15.97"),
    "obj-gan": ("24.07", "36.52"),
    "dm-gan": ("32.32", "27.42", "0.98", "12.68"),
    "op-gan": ("27.88", "24.70", "0.83", "11.99"),
    "cp-gan": ("52.73", "47.91", "1.27", "16.05"),
    "dall-e": ("17.90", "27.50"),
    "gr-gan": ("25.60", "22.58", "0.80", "8.04"),
}
_TABLE_2 = {
    "attngan no-damsm": ("43.88", "1.31", "17.65"),
    "attngan": ("34.90", "1.07", "15.97"),
    "gr-gan attention-damsm": ("29.69", "1.05", "14.89"),
    "attngan itm": ("30.21", "1.04", "11.36"),
    "gr-gan attention": ("28.72", "0.87", "10.57"),
    "dm-gan no-damsm": ("28.56", "1.06", "13.67"),
    "dm-gan": ("27.42", "0.98", "12.68"),
    "gr-gan damsm": ("25.83", "1.00", "11.84"),
    "dm-gan itm": ("25.33", "0.96", "9.01"),
    "gr-gan": ("22.58", "0.80", "8.04"),
}
_TABLE_3 = {
    "damsm": ("27.2", "63.7", "79.6", "28.92", "63.98", "77.88"),
    "clip vit": ("49.6", "77.4", "87.8", "47.14", "77.26", "88.24"),
    "clip rn101": ("49.6", "78.7", "87.9", "47.64", "78.20", "87.98"),
    "itm": ("53.1", "83.8", "92.7", "52.64", "83.22", "92.60"),
}
_RECALLS = tuple(f"{way} R@{k}" for way in ("image finds caption", "caption finds image") for k in (1, 5, 10))
_TABLE_4 = {
    "dm-gan itm-1-1": ("28.03", "0.89", "9.52"),
    "dm-gan itm-2-1": ("26.58", "0.91", "9.55"),
    "dm-gan itm-3-1": ("26.59", "0.88", "9.53"),
    "dm-gan itm": ("25.33", "0.87", "8.93"),
    "dm-gan itm-4-2": ("28.92", "0.95", "10.13"),
    "dm-gan itm-5-2": ("29.92", "0.97", "10.02"),
}
_TABLE_6 = {  # after the last of three stages
    "gr-gan": ("22.58", "0.80", "8.04"),
    "gr-gan iws": ("25.93", "0.85", "9.13"),
    "gr-gan swi": ("34.99", "0.92", "10.31"),
}
_TABLE_6_BEFORE = {  # after the first and the second
    "gr-gan": ("169.13", "2.05", "36.71", "61.37", "1.15", "15.67"),
    "gr-gan iws": ("168.52", "2.04", "36.66", "63.54", "1.12", "16.62"),
    "gr-gan swi": ("182.12", "2.18", "36.98", "69.33", "1.18", "16.81"),
}

# RATLIP
_TABLE_I = (  # without AttnGAN's CLIP score, which stands under another dataset in the read-me of its code
    ("attngan", "CUB-200-2011", "fid", "23.98"),
    ("attngan", "CelebA-tiny", "fid", "125.98"),
    ("lafite", "CUB-200-2011", "fid", "14.58"),
    ("lafite", "CUB-200-2011", "clip_score_x100", "31.25"),
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
_TABLE_II = {  # CLIP score, and the parameters it prints as "(B)": of the generator, of all
    "ratlip hidden-0": ("31.62", "131.01", "160.39"),
    "ratlip hidden-4": ("30.81", "132.09", "161.47"),
    "ratlip hidden-8": ("31.38", "132.27", "161.65"),
    "ratlip hidden-16": ("31.02", "132.57", "161.95"),
    "ratlip hidden-32": ("31.89", "133.25", "162.63"),
    "ratlip hidden-64": ("32.03", "134.68", "164.06"),
    "ratlip hidden-128": ("32.12", "137.93", "167.31"),
}
_TABLE_III = {
    "galip": ("31.60", "31.77", "27.95"),
    "ratlip no-attention": ("31.62", "31.83", "27.63"),
    "ratlip": ("32.03", "31.94", "28.91"),
}
_DATASETS = ("CUB-200-2011", "Oxford-102", "CelebA-tiny")

# The comparison study. By people: it does not say on what scale, nor whether more is better.
_STUDY = (
    ("attngan", "MS-COCO", "inception_score", "25.89 ± 0.47"),
    ("sdn", "CUB-200-2011", "inception_score", "6.68 ± 0.06"),
    ("sdn", "Oxford-102", "inception_score", "4.28 ± 0.09"),
    ("sdn", "CUB-200-2011", "score by people", "2.81 ± 0.03"),
    ("sdn", "Oxford-102", "score by people", "1.87 ± 0.03"),
)


def _rows(table: Mapping[str, Sequence[str]], metrics: Sequence[str], source: str, data: str = "MS-COCO") -> list[dict]:
    """A table with a row a system and a column a metric; a short row lacks the last metrics."""
    return [
        {"system": system, "dataset": data, "metric": metric, "value": value, "source": source}
        for system, values in table.items()
        for metric, value in zip(metrics, values, strict=False)
    ]


def _listed(rows: Sequence[tuple[str, str, str, str]], source: str) -> list[dict]:
    keys = ("system", "dataset", "metric", "value")
    return [dict(zip(keys, row, strict=True)) | {"source": source} for row in rows]


# Numbers that our sources hold. Other data, other sizes and other feature networks than ours: they say where the field
# stands and are not comparable with a toy world's.
PUBLISHED: tuple[dict[str, Any], ...] = (
    *_listed(_STUDY, "comparison study"),
    *_listed(_TABLE_I, "RATLIP, Table I"),
    *_rows(
        _TABLE_II, ("clip_score_x100", "parameters, generator", "parameters, all"), "RATLIP, Table II", "CUB-200-2011"
    ),
    *(
        row
        for k, data in enumerate(_DATASETS)
        for row in _rows(
            {s: v[k : k + 1] for s, v in _TABLE_III.items()}, ("clip_score_x100",), "RATLIP, Table III", data
        )
    ),
    *_rows(_TABLE_1, ("inception_score", *_DISTANCES), "GR-GAN, Table 1"),
    *_rows(_TABLE_2, _DISTANCES, "GR-GAN, Table 2"),
    *_rows(_TABLE_3, _RECALLS, "GR-GAN, Table 3"),
    *_rows(_TABLE_4, _DISTANCES, "GR-GAN, Table 4"),
    *(
        row
        for stage in (0, 1)
        for row in _rows(
            {s: v[3 * stage : 3 * stage + 3] for s, v in _TABLE_6_BEFORE.items()},
            _DISTANCES,
            f"GR-GAN, Table 6, stage {stage + 1}",
        )
    ),
    *_rows(_TABLE_6, _DISTANCES, "GR-GAN, Table 6, stage 3"),
)
