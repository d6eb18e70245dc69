"""What a claim is: a statement of a paper (or a promise of ours) and the evidence that decides it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from t2i_core.evidence import Evidence

NOT_IN_SOURCE = {"note": "not in our source"}  # a picture of a table there, and the picture is lost
NO_NUMBER = {"note": "the paper shows pictures, no number"}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper (or one promise of ours), and the evidence that decides it."""

    id: str
    statement: str
    evidence: Evidence
    paper: str = "ALR-GAN"
    published: dict[str, Any] = field(default_factory=lambda: dict(NOT_IN_SOURCE))
