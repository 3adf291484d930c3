"""Instances that fall silent: when it is said, how surprising it is, and what is not silence."""

from __future__ import annotations

import random

import msgspec
import pytest

from opintel.detector import Closing, Controls, Record
from opintel.finding import NS, Finding, Window, clock, rfc3339
from opintel.health import silent
from opintel.health.lives import LEAST_WINDOWS
from opintel.health.silent import GIVEN_UP, SilentInstanceJudge, SilentInstanceSettings
from opintel.health.windows import SERIES, Point, SeriesWindow

MINUTE = 60 * NS
BEGIN = 1_700_000_040 * NS


def closing(n: int, hosts: list[str], *, complete: bool = True) -> Closing:
    """Window n, in which these hosts had two series each."""
    window = Window(BEGIN + n * MINUTE, BEGIN + (n + 1) * MINUTE)
    payload = SeriesWindow(1, 0, Point(window.start, 1.0, None, None), None, False, "", 0, window.start)
    records = [
        Record(window, SERIES, f'{name}{{instance="{host}"}}', "node", payload)
        for host in sorted(hosts)
        for name in ("load", "temperature")
    ]
    return Closing(window, "node", records, Controls(), SilentInstanceSettings(), "model", complete)


def play(judge: SilentInstanceJudge, present: list[list[str]], at: int = 0) -> list[list[Finding]]:
    return [judge.judge(closing(n, hosts)) for n, hosts in enumerate(present, at)]


HOSTS = [f"h{n:02d}" for n in range(20)]


def test_a_silent_host_is_found_within_minutes_until_it_is_back() -> None:
    away = [h for h in HOSTS if h != "h07"]
    told = play(SilentInstanceJudge(), [HOSTS] * 200 + [away] * 30 + [HOSTS] * 5)
    assert not any(told[:201])
    assert [f"{f.kind} {f.severity} {f.basis}" for (f,) in told[201:230]] == ["down critical none"] * 29
    (finding,) = told[229]
    assert finding.subject == {"scope": "node", "instance": "h07"}
    assert finding.summary == "h07 is down since 01:34: none of its 2 series has a sample"
    (back,) = told[230]
    assert (back.kind, back.severity, back.subject) == ("down", "info", finding.subject)
    assert back.summary == "h07 is back, it was down since 01:34"
    assert not any(told[231:])


def test_who_is_new_or_comes_and_goes_is_not_tested() -> None:
    some = [HOSTS if n % 7 < 3 else HOSTS[1:] for n in range(400)]
    judge = SilentInstanceJudge()
    assert not any(play(judge, some))
    assert judge.tests == {"silent": 20}  # 19 steady ones and the scope
    new = SilentInstanceJudge()
    assert not any(play(new, [HOSTS] * (LEAST_WINDOWS - 1) + [HOSTS[1:]] * 20))


def test_single_empty_windows_are_no_silence() -> None:
    rng = random.Random(1)
    present = [[h for h in HOSTS if rng.random() > 0.02] for _ in range(500)]
    judge = SilentInstanceJudge()
    assert not any(f.log10_p < -4 for found in play(judge, present) for f in found if f.log10_p is not None)
    assert judge.tests["silent"] > 15


def test_instances_without_room_are_told_and_the_others_judged_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent, "CAP", 20)
    judge = SilentInstanceJudge()
    assert not any(play(judge, [HOSTS] * 100))
    more = [*HOSTS[1:], "h98", "h99"]
    told = play(judge, [more] * 20, at=100)
    notice = told[0][-1]
    assert (notice.kind, notice.severity, notice.log10_p, notice.effect.value) == ("refused", "info", None, 2.0)
    assert notice.summary.startswith("2 instances whose silence is not seen, as h98: more than 20 instances")
    assert [[f.kind for f in found] for found in told[-3:]] == [["down", "refused"]] * 3
    assert [f.severity for f in play(judge, [HOSTS], at=120)[0]] == ["info"]


def test_who_comes_back_later_from_the_fleets_silence_learns_nothing_of_it() -> None:
    first = {}
    for late in (0, 1):
        judge = SilentInstanceJudge()
        back = [HOSTS[:8] + HOSTS[8 + 10 * late :]] * late
        play(judge, [HOSTS] * 300 + [[]] * 60 + back + [HOSTS] * 200)
        told = play(judge, [HOSTS[1:]] * 10, at=900)
        first[late] = next(n for n, found in enumerate(told) if found)
    assert first == {0: 1, 1: 1}


def test_the_longer_a_silence_the_more_surprising_it_is() -> None:
    """Also where it becomes longer than all before it."""
    judge = SilentInstanceJudge()
    long = [h for h in HOSTS if h not in ("h03", "h04", "h05")]
    play(judge, [HOSTS] * 2000 + [long] * 60 + [HOSTS] * 2000)
    told = play(judge, [HOSTS[1:]] * 200, at=5000)
    first = next(n for n, found in enumerate(told) if found)
    assert all(len(found) == 1 for found in told[first:])
    log10_p = [f.log10_p for (f,) in told[first:] if f.log10_p is not None]
    assert log10_p == sorted(log10_p, reverse=True)


def test_two_that_failed_hours_apart_are_two() -> None:
    judge, few = SilentInstanceJudge(), HOSTS[:4]
    play(judge, [few] * 300 + [few[1:]] * 500)
    told = play(judge, [few[2:]] * 12, at=800)
    assert sorted(f.subject.get("instance", "") for f in told[-1]) == ["h00", "h01"]


def test_most_of_the_fleet_is_one_finding_and_teaches_no_host() -> None:
    judge = SilentInstanceJudge()
    few = HOSTS[:4]
    told = play(judge, [HOSTS] * 600 + [few] * 40 + [HOSTS] * 60)
    scope = [found for found in told[602:640] if found]
    assert len(scope) > 20
    assert all([f.subject for f in found] == [{"scope": "node"}] for found in scope)
    assert scope[-1][0].severity == "critical"
    assert "16 of 20 instances" in scope[-1][0].summary
    again = play(judge, [HOSTS[1:]] * 12, at=700)
    assert [f.subject["instance"] for f in again[-1]] == ["h00"]


def test_the_p_value_is_the_rank_among_earlier_silences() -> None:
    """Hosts rest for 2 to 30 windows with chance .001 a window: how often p <= x is said, is x at most. Some 300
    silences of 16 windows are tried, so that the shares are known to 10 % and, of the longest, to 30 %."""
    rng = random.Random(7)
    judge, left = SilentInstanceJudge(), dict.fromkeys(HOSTS, 0)
    said, tried = {-2.0: 0, -3.0: 0}, 0
    for n in range(20_000):
        for h in HOSTS:
            left[h] = max(0, left[h] - 1) or (rng.randint(2, 30) if rng.random() < 0.001 else 0)
        told = judge.judge(
            closing(n, [h for h in HOSTS if not left[h]])._replace(settings=SilentInstanceSettings(emit=0.0))
        )
        if n > 4000:
            tried += judge.tests["silent"]
            for limit in said:
                said[limit] += sum(f.log10_p is not None and f.log10_p <= limit for f in told)
    assert 0.4 < said[-2.0] / tried / 1e-2 < 1.25
    assert said[-3.0] / tried / 1e-3 < 1.4


def test_it_goes_on_from_its_state() -> None:
    rng = random.Random(3)
    present = [[h for h in HOSTS if rng.random() > 0.01 and not (n > 150 and h == "h03")] for n in range(220)]
    whole = play(SilentInstanceJudge(), present)
    judge = SilentInstanceJudge()
    for n, hosts in enumerate(present):
        assert judge.judge(closing(n, hosts)) == whole[n]
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state()), strict=False)
        judge = SilentInstanceJudge()
        judge.restore(state)
    assert any(whole)


def test_the_end_of_the_input_is_no_silence_and_who_is_gone_for_a_day_is_forgotten() -> None:
    judge = SilentInstanceJudge()
    play(judge, [HOSTS] * 100)
    for n in range(100, 110):
        assert judge.judge(closing(n, HOSTS[1:], complete=False)) == []
    gone = play(judge, [HOSTS[1:]] * (GIVEN_UP + 1), at=110)
    assert gone[-2]
    assert gone[-1] == []


def test_since_when_is_told_though_not_all_windows_are_judged() -> None:
    judge = SilentInstanceJudge()
    play(judge, [HOSTS] * 200)
    told = play(judge, [HOSTS[1:]] * 30, at=200 + 600)
    (finding,) = told[-1]
    assert f"down since {rfc3339(BEGIN + 200 * MINUTE)[11:16]}:" in finding.summary


def test_a_silence_of_days_is_told_with_its_day() -> None:
    judge = SilentInstanceJudge()
    play(judge, [HOSTS] * 200)
    told = play(judge, [HOSTS[1:]] * 1438, at=200)
    [finding] = told[-1]
    assert f"down since {clock(BEGIN + 200 * MINUTE, finding.window.end)}:" in finding.summary
    assert " Nov " in finding.summary
