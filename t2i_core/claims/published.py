"""Numbers that the papers print."""

from __future__ import annotations

from typing import Any

_TABLE_1 = (
    ("attngan", "inception_score", "23.61"),
    ("attngan", "fid", "34.90"),
    ("attngan", "itdis", "1.07"),
    ("attngan", "cmd", "15.97"),
    ("dm-gan", "inception_score", "32.32"),
    ("dm-gan", "fid", "27.42"),
    ("dm-gan", "itdis", "0.98"),
    ("dm-gan", "cmd", "12.68"),
    ("gr-gan", "inception_score", "25.60"),
    ("gr-gan", "fid", "22.58"),
    ("gr-gan", "itdis", "0.80"),
    ("gr-gan", "cmd", "8.04"),
)

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
    {"system": "attngan", "dataset": "CUB-200-2011", "metric": "fid", "value": "23.98", "source": "RATLIP, Table I"},
    *(
        {"system": system, "dataset": "MS-COCO", "metric": metric, "value": value, "source": "GR-GAN, Table 1"}
        for system, metric, value in _TABLE_1
    ),
    *(
        {"system": system, "dataset": data, "metric": metric, "value": value, "source": "RATLIP, Table I"}
        for system, data, metric, value in _TABLE_I
    ),
)
