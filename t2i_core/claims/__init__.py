"""The papers' claims that the reproduction answers, one by one, each with the evidence that decides it.

One file a paper; `judge` gives every claim's entry of results.json. The rule and the kinds of evidence are in
`t2i_core.evidence`.
"""

from __future__ import annotations

from t2i_core.claims import alr_gan, gr_gan, promises, ratlip, study
from t2i_core.claims.claim import Claim
from t2i_core.claims.published import PUBLISHED
from t2i_core.config import PROFILES, nearest
from t2i_core.evidence import CONFIDENCE, RULE, VERDICTS, Record, corrected

__all__ = ["CLAIMS", "PUBLISHED", "RULE", "VERDICTS", "Claim", "count_together", "judge"]

CLAIMS: tuple[Claim, ...] = (
    *alr_gan.CLAIMS,
    *ratlip.CLAIMS,
    *gr_gan.CLAIMS,
    *study.CLAIMS,
    *promises.CLAIMS,
)


def judge(runs: list[Record], findings: list[Record], profile: str) -> list[Record]:
    """Every claim's entry of results.json, from the entries of the runs and the findings of the notebooks.

    Only runs trained here count. The claims of one paper are a family: a verdict that does not stand when all of them
    are counted is withdrawn. Raises UserError for an unknown profile.
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
    for paper in dict.fromkeys(entry["paper"] for entry in judged):
        count_together([entry for entry in judged if entry["paper"] == paper])
    return judged


def count_together(family: list[Record]) -> None:
    """Write the corrected p value beside each claim's own, and withdraw the verdicts that do not survive it.

    ``family``: the judged claims of one paper, as in results.json; they are changed in place.
    """
    means = [entry["measured"].get("difference") or entry["measured"].get("mean") or {} for entry in family]
    tested = [(entry, mean) for entry, mean in zip(family, means, strict=True) if mean.get("p") is not None]
    for (entry, mean), p in zip(tested, corrected([mean["p"] for _, mean in tested]), strict=True):
        mean["p_corrected"] = p
        decided = entry["verdict"] in ("reproduced", "not reproduced")
        if decided and p >= 1 - CONFIDENCE:
            entry["verdict"] = "inconclusive"
            entry["why"] += f" Counted among {len(tested)} claims of this paper, it does not stand: p = {p:.2g}."
