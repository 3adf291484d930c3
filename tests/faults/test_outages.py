"""The broker leaves, dies, stays away: the services wait for it, the console says so, nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .rig import Row, Site, get

pytestmark = pytest.mark.broker


def test_the_broker_restarts_and_stays_away(make_site: Callable[..., Site], report: Callable[[Row], None]) -> None:
    site = make_site()
    away = 60.0 if site.story.long else 8.0
    site.start("ingest")
    site.start("workers", "stage1", "stage2")
    site.start("alerts", "alerts", "delivery")
    site.start("console")
    pids = {name: service.pid for name, service in site.services.items()}
    url = site.url()
    site.feed(0.3)
    site.until(site.judged, "the first part was judged")

    # leaves orderly and comes back at once
    site.feed(0.4)
    site.broker.stop()
    site.feed(0.5)
    site.broker.start()
    site.wait(1.0)

    # dies, and stays away
    site.feed(0.6)
    site.broker.kill()
    site.feed(0.8)
    site.until(lambda: "cannot be reached" in get(url + "/readyz")[1], "the console says that it is away", 30.0)
    status, page = get(url + "/streams")
    assert (status, "The log cannot be reached" in page) == (503, True)
    assert "opintel_log_up 0.0" in get(url + "/metrics")[1]
    site.wait(away)
    assert get(url + "/healthz") == (200, "ok\n")
    assert get(url + "/")[0] == 200, "what is in the store is shown without the log"
    assert "cannot be reached" in get(url + "/readyz")[1]
    site.broker.start()
    for name in ("ingest", "workers", "alerts"):
        site.says(name, "when (the log|it) can be reached")
    site.until(lambda: get(url + "/readyz") == (200, "ok\n"), "the console sees the log again")

    assert site.outcome().findings.keys() < site.story.expected.findings.keys(), "there was nothing left to disturb"
    site.finish()
    assert {name: service.pid for name, service in site.services.items()} == pids
    site.settle()
    report(site.check(f"broker: SIGTERM and start, SIGKILL, away {away:.0f} s"))
