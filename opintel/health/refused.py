"""The notice that some series or instances are not judged: a finding that raises no alarm, so that nothing is left out
in silence. The health judges whose memory is bounded make it.
"""

from __future__ import annotations

from collections.abc import Mapping

from opintel.detector import Closing, Judge
from opintel.evidence import Table, capped
from opintel.finding import Effect, Finding, finding_id

LISTED = 50
"""Of them in the table."""


def refused(judge: Judge, closing: Closing, title: str, why: Mapping[str, str]) -> Finding:
    """A finding of kind `refused` about the scope; `why` has a reason for each that is not judged (at least one)."""
    subject = {"scope": closing.scope}
    name, reason = next(iter(why.items()))
    rows: list[list[str | float | int | None]] = [[*one] for one in list(why.items())[:LISTED]]
    return Finding(
        id=finding_id(judge.name, judge.version, closing.model, {**subject, "": "refused"}, closing.window),
        detector=judge.name,
        kind="refused",
        subject=subject,
        window=closing.window,
        log10_p=None,
        basis="none",
        effect=Effect(float(len(why)), title),
        severity="info",
        summary=f"{len(why)} {title}, as {name[:150]}: {reason[:150]}",
        evidence=capped([Table(title[0].upper() + title[1:], ["which", "why"], rows)]),
        model=closing.model,
    )
