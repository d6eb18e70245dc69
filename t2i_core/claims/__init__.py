"""The papers' claims that the reproduction answers, one by one, each with the evidence that decides it.

One file a paper; `judge` gives every claim's entry of results.json. The rule and the kinds of evidence are in
`t2i_core.evidence`.
"""

from __future__ import annotations

from t2i_core.claims import alr_gan, gr_gan, promises, ratlip
from t2i_core.claims.claim import Claim
from t2i_core.claims.published import PUBLISHED
from t2i_core.config import PROFILES, nearest
from t2i_core.evidence import RULE, VERDICTS, Record

__all__ = ["CLAIMS", "PUBLISHED", "RULE", "VERDICTS", "Claim", "judge"]

CLAIMS: tuple[Claim, ...] = (*alr_gan.CLAIMS, *ratlip.CLAIMS, *gr_gan.CLAIMS, *promises.CLAIMS)


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
