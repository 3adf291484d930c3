"""A story's parts, and which incidents belong to which of its faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from opintel.finding import rfc3339
from opintel.simulation import HOUR
from opintel.site.domains import stories_of
from opintel.site.errors import UserError
from opintel.site.story import Chapter, Story, match

START = 1_772_445_600_000_000_000


def fault(stream: str, **subject: str) -> dict[str, Any]:
    return {
        "id": "1",
        "stream": stream,
        "subject": subject,
        "start": rfc3339(START),
        "end": rfc3339(START + HOUR),
    }


def incident(stream: str, *subjects: dict[str, str], start: int = START + HOUR // 2) -> dict[str, Any]:
    return {"id": "i", "streams": [stream], "start": rfc3339(start), "subjects": list(subjects)}


@pytest.mark.parametrize(
    ("told", "found", "belongs"),
    [
        (fault("fts", endpoint="a"), incident("fts", {"source": "a", "destination": "b"}), True),
        (fault("fts", source="a", destination="b"), incident("fts", {"endpoint": "b"}), True),
        (fault("fts", source="a", destination="b"), incident("fts", {"source": "a", "destination": "c"}), False),
        (fault("health", instance="h", metric="m"), incident("health", {"instance": "h"}), True),
        (fault("health", instance="h", metric="m"), incident("health", {"instance": "other", "metric": "m"}), False),
        (fault("health", instance="h", metric="m"), incident("health", {"instance": "h", "metric": "n"}), False),
        (
            fault("health", instance="h", metric="m"),
            incident("health", {"instance": "h", "metric": "n"}, {"instance": "h", "metric": "m"}),
            True,
        ),
        (fault("health", instance="h"), incident("fts", {"endpoint": "h"}), False),
        (fault("gw", scope="L1", witness="L1:A"), incident("gw", {"scope": "L1", "channel": "L1:B"}), False),
        (fault("gw", scope="L1"), incident("gw", {"scope": "L1", "channel": "L1:B"}), True),
        (fault("fts", endpoint="a"), incident("fts", {"endpoint": "a"}, start=START - HOUR), False),
        (fault("fts", endpoint="a"), incident("fts", {"endpoint": "a"}, start=START + 5 * HOUR), False),
    ],
)
def test_an_incident_belongs_to_a_fault_of_its_thing_and_time(
    told: dict[str, Any], found: dict[str, Any], belongs: bool
) -> None:
    assert match([told], [found]) == {"1": ["i"] if belongs else []}


def test_chapters_end_their_quiet_hours_together(tmp_path: Path) -> None:
    chapters = (Chapter("fts", "fts", 2.0, ("link-cut",)), Chapter("health", "health", 3.0, ("host-down",)))
    story = Story(seed=1, hours=6.0, chapters=chapters, speed=480.0, mark=str(tmp_path / "live"))
    assert msgspec.json.decode(msgspec.json.encode(story), type=Story) == story
    for chapter in chapters:
        told = story.simulation(chapter)
        assert (told.start, told.end) == (story.live_from - int(chapter.quiet_hours * HOUR), story.live_from + 6 * HOUR)
        assert all(story.live_from <= f.start < f.end <= told.end for f in told.truth)
        assert len(told.truth) == 1
    assert story.chapter("dqm") is None


def test_a_story_that_is_too_short_for_its_faults_says_so(tmp_path: Path) -> None:
    story = Story(1, 0.2, (Chapter("dqm", "dqm", 0.1, stories_of("dqm").faults),), 480.0, str(tmp_path / "live"))
    with pytest.raises(UserError, match="the story of dqm is too short or cannot be: expected 14 lumisections or more"):
        story.simulation(story.chapters[0])
