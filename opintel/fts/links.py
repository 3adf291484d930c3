"""Failures of endpoints and links in one table of counts without history: `judge`.

It asks which links fail more than links usually do, with the over-dispersion of healthy links in the p-value, and
blames endpoints first: what a failing endpoint explains is no news about its links. The statistics are those of
`opintel.stats`; the stream's judge, which knows what is usual for each link, is `opintel.fts.judging.failures`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from opintel.stats.counts import Floats, Ints
from opintel.stats.fdr import benjamini_hochberg
from opintel.stats.groups import Blame, Bools, blame
from opintel.stats.rates import fit_rates

COLUMNS = ("source", "destination", "transfers", "failures")
ROUNDS = 4
LOCAL = 2.0
"""A flagged link is healthy with a probability of at most so many times the false discovery rate: the mean over all
flagged ones is well below the rate, which leaves room for what the fit does not know."""


def judge(counts: pa.Table, fdr: float = 0.05) -> pa.Table:
    """Which endpoints and links of one window fail more than healthy links do.

    `counts`: source, destination (text), transfers, failures (integers); one row a link. Returns one row an endpoint
    and role (`kind` = `source` or `destination`, the other column null), then one row a link (`kind` = `link`) in the
    order given: kind, source, destination, transfers, failures, p_value, flagged.

    A link's p-value is the upper mid-p under the healthy links' rates, whose distribution is fitted to the window
    itself beside broken links (`stats.rates`). An endpoint's is that of the sum of its links' capped scores, broken
    against healthy (`stats.groups`), less the links that a flagged endpoint of the other role explains; 1 where none is
    left, and never flagged with fewer than two active links: its one link says all there is to say. Ties below 1e-12
    for endpoints. `flagged`: false discovery rate `fdr`, of endpoints by Benjamini-Hochberg, then of the links that no
    flagged endpoint explains by the local one (Efron et al. 2001, JASA 96, 1151): the probability that a link is
    healthy, given its count. Links of a flagged endpoint are listed, not flagged. Raises ValueError, with the row, for
    any other table.
    """
    source, destination, n, k = _checked(counts, fdr)
    names, groups = endpoints_of(source, destination)
    active = n > 0
    groups = [members[active[members]] for members in groups]
    judged = np.array([len(members) > 0 for members in groups], dtype=np.bool_)

    def significant(p: Floats, _: Bools) -> Bools:
        hit = np.zeros(len(p), dtype=np.bool_)
        hit[judged] = benjamini_hochberg(p[judged], fdr)
        return hit

    found = Blame(np.ones(0), np.ones(0), np.zeros(len(groups), dtype=np.bool_), np.full(len(n), -1))
    for _ in range(ROUNDS):
        free, before = found.by < 0, found.blamed
        rates = fit_rates(k[free], n[free])
        found = blame(groups, rates.scores(k, n), significant)
        if np.array_equal(found.blamed, before):
            break
    p = rates.mid_p(k, n)
    open_ = np.flatnonzero(active & (found.by < 0))
    flagged = np.zeros(len(n), dtype=np.bool_)
    flagged[open_] = rates.healthy(k[open_], n[open_]) <= LOCAL * fdr

    roles = [role for role, _ in names]
    totals = [(int(n[members].sum()), int(k[members].sum())) for members in groups]
    return pa.table(
        {
            "kind": roles + ["link"] * len(n),
            "source": [host if role == "source" else None for role, host in names] + source,
            "destination": [host if role == "destination" else None for role, host in names] + destination,
            "transfers": pa.array([t for t, _ in totals] + n.tolist(), pa.int64()),
            "failures": pa.array([f for _, f in totals] + k.tolist(), pa.int64()),
            "p_value": pa.array(np.concatenate([found.p, p]), pa.float64()),
            "flagged": pa.array(np.concatenate([found.blamed, flagged]), pa.bool_()),
        },
        schema=pa.schema(
            [(c, pa.string()) for c in ("kind", "source", "destination")]
            + [("transfers", pa.int64()), ("failures", pa.int64()), ("p_value", pa.float64()), ("flagged", pa.bool_())]
        ),
    )


def endpoints_of(source: list[str], destination: list[str]) -> tuple[list[tuple[str, str]], list[Ints]]:
    """All (role, host), sources first, by name; and the links of each."""
    members: dict[tuple[str, str], list[int]] = {}
    for i, (s, d) in enumerate(zip(source, destination, strict=True)):
        members.setdefault(("source", s), []).append(i)
        members.setdefault(("destination", d), []).append(i)
    names = sorted(members, key=lambda name: (name[0] != "source", name[1]))
    return names, [np.array(members[name], dtype=np.int64) for name in names]


def _checked(counts: Any, fdr: float) -> tuple[list[str], list[str], Ints, Ints]:
    if not isinstance(counts, pa.Table):
        raise ValueError(f"counts: expected a pyarrow.Table of {', '.join(COLUMNS)}, got {type(counts).__name__}")
    if not 0.0 < fdr < 1.0:
        raise ValueError(f"fdr: expected a number between 0 and 1, got {fdr!r}")
    if sorted(counts.column_names) != sorted(COLUMNS):
        raise ValueError(f"counts: expected the columns {', '.join(COLUMNS)}, got {', '.join(counts.column_names)}")
    for name in COLUMNS:
        column = counts[name]
        if column.null_count:
            raise ValueError(f"{name} is null in row {pc.index(pc.is_null(column), True).as_py()}")
        if name in ("transfers", "failures") and not pa.types.is_integer(column.type):
            raise ValueError(f"{name}: expected an integer column, got {column.type}")
    hosts: list[list[str]] = []
    for name in ("source", "destination"):
        kind = counts.schema.field(name).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)):
            raise ValueError(f"{name}: expected a text column, got {kind}")
        hosts.append(counts[name].to_pylist())
    n, k = (counts[name].cast(pa.int64()).to_numpy() for name in ("transfers", "failures"))
    for wrong, why in ((n < 0, "transfers < 0"), (k < 0, "failures < 0"), (k > n, "failures > transfers")):
        if wrong.any():
            raise ValueError(f"row {int(np.argmax(wrong))}: {why}")
    seen: dict[tuple[str, str], int] = {}
    for i, link in enumerate(zip(*hosts, strict=True)):
        if link in seen:
            raise ValueError(f"rows {seen[link]} and {i} are the same link, {link[0]} to {link[1]}: one row a link")
        seen[link] = i
    return hosts[0], hosts[1], n, k
