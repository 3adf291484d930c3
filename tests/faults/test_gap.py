"""A worker that was away for longer than the retention: what fell out is a gap that is recorded and shown."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from opintel.finding import parse_rfc3339
from opintel.streams.log import Aside
from opintel.streams.vitals import stream_status

from .rig import STREAM, Row, Site, get

pytestmark = pytest.mark.broker


def gaps(site: Site) -> list[Aside]:
    return site.system.log.asides(kind="gap")


def test_a_stored_position_out_of_retention(make_site: Callable[..., Site], report: Callable[[Row], None]) -> None:
    site = make_site()
    log, stream = site.system.log, site.stream
    site.start("ingest")
    site.start("rest", "stage2", "alerts", "delivery", "console")
    site.start("stage1")
    site.feed(0.4)
    site.until(site.judged, "the first part was judged")
    site.leave("stage1")
    left = [log.end(stream.topic, p) for p in range(stream.partitions)]
    before = site.outcome().findings
    assert before
    assert not gaps(site)
    site.feed(0.6)
    pieces = site.story.pieces[: site.fed]
    site.until(lambda: stream_status(log, stream).messages == sum(p.count(b"\n") for p in pieces), "it was ingested")
    begin = [log.end(stream.topic, p) for p in range(stream.partitions)]
    assert log.trim(stream.topic, time.time_ns() + 10**9) == sum(begin)

    site.start("stage1 later", "stage1")
    site.finish()
    found = {(g.topic, g.partition): g for g in gaps(site)}
    assert found.keys() == {(stream.topic, p) for p in range(stream.partitions)}
    for p in range(stream.partitions):
        gap = found[stream.topic, p]
        assert gap.position == left[p]
        assert f"records {left[p]} to {begin[p] - 1} fell out of retention unread" in gap.reason
    assert "fell out of retention unread" in site.services["stage1 later"].told()
    url = site.url("rest")
    assert re.search(r"<dt>gaps</dt><dd>4</dd>", get(url + "/streams")[1])
    assert f'opintel_asides_total{{kind="gap",stream="{STREAM}"}} 4.0' in get(url + "/metrics")[1]
    site.settle()

    # what was judged stays; what came after the gap is judged
    after = site.outcome()
    assert {id: after.findings[id] for id in before} == before
    expected = site.story.expected
    last = max(parse_rfc3339(f["window"]["end"]) for f in before.values())
    assert any(parse_rfc3339(f["window"]["end"]) > last for f in after.findings.values())
    with site.system.store.read() as connection:
        judged = connection.exec_driver_sql("select max(through) from judged").scalar()
    assert judged is not None
    assert judged >= max(parse_rfc3339(f["window"]["end"]) for f in expected.findings.values())
    assert all(created == 1 for created, _, _ in after.tickets.values())
    assert {t["key"] for i in after.incidents for t in i["tickets"]} == after.tickets.keys()
    report(site.row("raw records out of retention: 4 gaps, reported; what follows starts afresh"))
