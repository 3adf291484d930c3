"""What an hour or a day shows ends when the windows say so."""

from __future__ import annotations

import pytest
from test_shared_causes import SIZE, down, found, healthy, story


@pytest.mark.parametrize(("start", "stop"), [(8, 18), (20, 32)])
def test_an_endpoint_that_is_well_again_is_no_news_of_the_hour_or_the_day(start: int, stop: int) -> None:
    """Two stories of 60 windows, seed fixed; a window falsely said has odds of 1e-4 for each of some 60 tests."""
    findings = found(story(21, 60, {start: down(5), stop: healthy}))
    site = [f for f in findings if f.subject.get("endpoint") == "se.site5.example"]
    assert {f.window.start // SIZE for f in site} == set(range(start, stop))
    assert len(findings) <= len(site) + 1
