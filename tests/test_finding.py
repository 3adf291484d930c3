"""The currency: ids, times, JSON and Arrow forms, and evidence that explains without ever being too large."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.evidence import (
    MAX_BYTES,
    Axis,
    Band,
    Evidence,
    Histogram,
    Image,
    Links,
    Mark,
    Matrix,
    Region,
    Series,
    Table,
    Texts,
    capped,
)
from opintel.finding import (
    Effect,
    Finding,
    Window,
    finding_id,
    finding_json,
    findings_from_table,
    findings_table,
    parse_rfc3339,
    rfc3339,
    same_content,
)

TIMES = st.integers(-(2**60), 2**60)
LABELS = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), min_size=1, max_size=4)
NUMBERS = st.floats(-1e300, 1e300)
AXIS = Axis("x", "u", 0.0, 1.0)
EVIDENCE = st.lists(
    st.one_of(
        st.builds(lambda v: Series("s", list(range(len(v))), v, "u"), st.lists(NUMBERS | st.none(), max_size=4)),
        st.builds(lambda t: Texts("t", [(t, 1)]), st.text(max_size=30)),
        st.builds(lambda c: Table("x", ["a", "b"], [[c, None]]), st.text(max_size=5) | NUMBERS | st.integers(0, 99)),
        st.just(Matrix("m", ["r"], ["c"], [[0.5]], "u")),
        st.just(Links("l", [("here", "https://example.org")])),
        st.builds(
            lambda v: Histogram("h", "x", "u", v, categories=["c"] * len(v), regions=[Region(0, 0, "dead")]),
            st.lists(NUMBERS | st.none(), min_size=1, max_size=4),
        ),
        st.builds(
            lambda p: Image("i", AXIS, AXIS, AXIS, 1, len(p), p, marks=[Mark("m", 1.0, 2.0, (3.0, 4.0))]),
            st.binary(min_size=1, max_size=9),
        ),
    ),
    max_size=3,
).map(tuple)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    start = draw(TIMES)
    window = Window(start, start + draw(st.integers(1, 10**15)))
    p = draw(st.none() | st.floats(-300, 0))
    return Finding(
        id=draw(st.text("0123456789abcdef", min_size=32, max_size=32)),
        detector="d",
        kind=draw(st.sampled_from(["a", "b"])),
        subject=draw(LABELS),
        window=window,
        log10_p=p,
        basis="none" if p is None else "exact",
        effect=Effect(draw(NUMBERS), "u"),
        severity=draw(st.sampled_from(["info", "warning", "critical"])),
        summary=draw(st.text(max_size=20).map(lambda s: s.replace("\n", " "))),
        evidence=draw(EVIDENCE),
        model="m",
        origin=draw(st.sampled_from(["live", "replay", "backfill"])),
        onset=draw(st.none() | st.integers(window.start, window.end - 1)),
    )


@given(finding=findings())
def test_json_msgpack_and_arrow_give_the_same_finding_back(finding: Finding) -> None:
    assert msgspec.json.decode(msgspec.json.encode(finding), type=Finding) == finding
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(finding), type=Finding) == finding
    assert findings_from_table(findings_table([finding, finding])) == [finding, finding]


@given(finding=findings())
def test_content_is_compared_but_for_origin_and_rounding(finding: Finding) -> None:
    nearly = Effect(finding.effect.value * (1 + 1e-12), "u")
    assert same_content(finding, msgspec.structs.replace(finding, origin="backfill", effect=nearly))
    other = Effect(finding.effect.value * 1.001 + 1.0, "u")
    assert not same_content(finding, msgspec.structs.replace(finding, effect=other))
    assert not same_content(finding, msgspec.structs.replace(finding, summary=finding.summary + "!"))


@given(subject=LABELS, other=LABELS, start=TIMES)
def test_an_id_depends_on_what_it_is_about_and_on_nothing_else(
    subject: dict[str, str], other: dict[str, str], start: int
) -> None:
    window = Window(start, start + 1)
    made = finding_id("d", 1, "m", subject, window)
    assert made == finding_id("d", 1, "m", dict(reversed(subject.items())), Window(start, start + 1))
    changed = [
        finding_id("e", 1, "m", subject, window),
        finding_id("d", 2, "m", subject, window),
        finding_id("d", 1, "n", subject, window),
        finding_id("d", 1, "m", subject, Window(start, start + 2)),
        finding_id("d", 1, "m", subject, "key"),
    ]
    assert len({made, *changed}) == 6
    assert (finding_id("d", 1, "m", other, window) == made) == (other == subject)


@given(ns=st.integers(-(2**61), 2**62 // 2))
def test_times_survive_as_text_to_the_nanosecond(ns: int) -> None:
    text = rfc3339(ns)
    assert text.endswith("Z")
    assert parse_rfc3339(text) == ns


@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_times_are_those_of_the_standard_library(moment: datetime) -> None:
    ns = int(moment.replace(tzinfo=UTC, microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000
    assert datetime.fromisoformat(rfc3339(ns)) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00", "noon", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00.1234567890Z"]
)
def test_a_time_without_zone_or_with_odd_decimals_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the standard library's in part
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"log10_p": 0.5}, "at most 0"),
        ({"log10_p": math.nan}, "at most 0"),
        ({"log10_p": -math.inf}, "at most 0"),
        ({"log10_p": None}, "contradict"),
        ({"basis": "none"}, "contradict"),
        ({"summary": "two\nlines"}, "one line"),
        ({"onset": 10}, "inside the window"),
    ],
)
def test_a_finding_that_contradicts_itself_is_refused(change: dict, said: str) -> None:
    whole = {
        "id": "i", "detector": "d", "kind": "k", "subject": {}, "window": Window(0, 10), "log10_p": -1.0,
        "basis": "exact", "effect": Effect(1.0, "u"), "severity": "info", "summary": "s",
    }  # fmt: skip
    assert Finding(**whole).p_value == pytest.approx(0.1)
    with pytest.raises(ValueError, match=said):
        Finding(**(whole | change))


def test_json_has_the_published_keys() -> None:
    made = Finding(
        id="i", detector="d", kind="k", subject={"a": "b"}, window=Window(0, 10**9), log10_p=None, basis="none",
        effect=Effect(1.0, "u"), severity="info", summary="s",
    )  # fmt: skip
    plain = finding_json(made)
    assert plain["window"] == {"start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:00:01Z"}
    assert plain["p_value"] is None
    assert {"id", "detector", "kind", "subject", "window", "log10_p", "basis", "p_value", "effect", "severity"} <= set(
        plain
    )
    assert {"summary", "evidence", "model", "origin"} <= set(plain)


@given(sizes=st.lists(st.integers(0, 100_000), max_size=8))
def test_evidence_stays_under_its_limit_and_says_what_is_left_out(sizes: list[int]) -> None:
    blocks = [Texts(f"b{n}", [("x" * size, 1)]) for n, size in enumerate(sizes)]
    kept = capped(blocks)
    assert len(msgspec.json.encode(kept)) <= MAX_BYTES
    if len(kept) < len(blocks) or (kept and kept[-1] not in blocks):
        assert isinstance(kept[-1], Table)
        assert [row[0] for row in kept[-1].rows] == [b.title for b in blocks[len(kept) - 1 :]]
    else:
        assert list(kept) == blocks


@pytest.mark.parametrize(
    "make",
    [
        lambda: Series("t", [1, 2], [1.0], "u"),
        lambda: Series("t", [1], [1.0], "u", Band([0.0], [], 0.9)),
        lambda: Matrix("t", ["a"], ["b"], [[1.0, 2.0]], "u"),
        lambda: Matrix("t", ["a", "b"], ["b"], [[1.0]], "u"),
        lambda: Table("t", ["a"], [["x", "y"]]),
        lambda: Links("t", [("x", "javascript:alert(1)")]),
        lambda: Histogram("t", "x", "u", [1.0], edges=[0.0]),
        lambda: Histogram("t", "x", "u", [1.0, 2.0], edges=[0.0, 1.0, 1.0]),
        lambda: Histogram("t", "x", "u", [1.0], edges=[0.0, 1.0], log=True),
        lambda: Histogram("t", "x", "u", [1.0], edges=[0.0, math.inf]),
        lambda: Histogram("t", "x", "u", [1.0], edges=[0.0, 1.0], categories=["c"]),
        lambda: Histogram("t", "x", "u", [1.0], categories=["c"], pulls=[math.nan]),
        lambda: Histogram("t", "x", "u", [1.0], categories=["c"], expected=[]),
        lambda: Histogram("t", "x", "u", [1.0], categories=["c"], band=Band([0.0], [], 0.9)),
        lambda: Histogram("t", "x", "u", [1.0], categories=["c"], regions=[Region(0, 1, "dead")]),
        lambda: Histogram("t", "x", "u", [1.0] * 1025, categories=["c"] * 1025),
        lambda: Image("t", AXIS, AXIS, AXIS, 1, 2, b"x"),
        lambda: Image("t", AXIS, AXIS, AXIS, 1, 513, bytes(513)),
        lambda: Image("t", AXIS, AXIS, AXIS, 512, 512, bytes(512 * 512)),
        lambda: Image("t", AXIS, AXIS, AXIS, 0, 0, b""),
        lambda: Image("t", AXIS, AXIS, Axis("s", "u", 0.0, 1.0, True), 1, 1, b"x"),
        lambda: Image("t", AXIS, Axis("y", "u", 1.0, 1.0), AXIS, 1, 1, b"x"),
        lambda: Image("t", AXIS, AXIS, AXIS, 1, 1, b"x", diverging=True),
        lambda: Image("t", AXIS, AXIS, AXIS, 1, 1, b"x", marks=[Mark("m", math.nan, 0.0)]),
        lambda: Image("t", AXIS, AXIS, AXIS, 1, 1, b"x", marks=[Mark("m", 0.0, 0.0)] * 101),
    ],
)
def test_blocks_that_cannot_be_drawn_are_refused(make) -> None:
    with pytest.raises(ValueError, match="evidence"):
        make()


@pytest.mark.parametrize("pixels", ["AA=A", "AAA", "AA A", "A-_A", "AA==AA==", "AAAA"])
def test_pixels_that_are_no_base64_of_their_size_are_refused(pixels: str) -> None:
    plain = msgspec.to_builtins(Image("t", AXIS, AXIS, AXIS, 1, 1, b"x")) | {"pixels": pixels}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, Evidence)
