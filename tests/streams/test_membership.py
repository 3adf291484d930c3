"""Sharing the partitions of a topic by Kafka's group protocol, on the real broker."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opintel.demo.broker import Broker
from opintel.streams.kafka import membership
from opintel.streams.kafka.membership import GroupMembership
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.log import LogError, Membership
from opintel.streams.log_kafka import KafkaLog
from opintel.streams.ownership import Owned

SESSION = 6.0
"""The least that a broker grants by default."""
CHILD = """
import sys, time
from opintel.streams.kafka.membership import GroupMembership
from opintel.streams.kafka.settings import KafkaSettings
member = GroupMembership(KafkaSettings(bootstrap=[sys.argv[1]]), None, sys.argv[2], sys.argv[3], session=6.0)
while not member.owned():
    member.released()
    time.sleep(0.05)
print(len(member.owned()), flush=True)
time.sleep(600)
"""


class Group:
    """A topic of four partitions and members that come and go."""

    def __init__(self, bootstrap: str) -> None:
        self.name = f"shared-{secrets.token_hex(4)}"
        self.settings = KafkaSettings(bootstrap=[bootstrap])
        self.members: list[GroupMembership] = []
        log = KafkaLog(self.settings)
        log.create(self.name, 4)
        log.close()

    def join(self) -> GroupMembership:
        self.members.append(GroupMembership(self.settings, None, self.name, self.name, session=SESSION))
        return self.members[-1]

    def leave(self, member: GroupMembership) -> None:
        self.members.remove(member)
        member.close()

    def shares(self) -> list[int]:
        """What each member works on, all of them letting go what they are asked to."""
        owned = [member.owned() for member in self.members]
        for member in self.members:
            member.released()
        assert len(frozenset().union(*owned)) == sum(map(len, owned)), "two work on the same partition"
        return sorted(map(len, owned))


@pytest.fixture
def group(kafka: Broker) -> Iterator[Group]:
    made = Group(kafka.bootstrap)
    yield made
    for member in made.members:
        member.close()


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_members_share_and_one_that_leaves_gives_all_to_the_others(group: Group) -> None:
    group.join()
    eventually(lambda: group.shares() == [4])
    second = group.join()
    eventually(lambda: group.shares() == [2, 2])
    third = group.join()
    eventually(lambda: group.shares() == [1, 1, 2])
    group.leave(second)
    eventually(lambda: group.shares() == [2, 2])
    group.leave(third)
    eventually(lambda: group.shares() == [4])


def test_a_join_that_outlasts_a_poll_is_not_forgotten(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the answer comes after the poll that asked for it."""
    monkeypatch.setattr(membership, "LOOK", 0.002)
    for number in range(6):
        member = GroupMembership(group.settings, None, f"{group.name}-{number}", group.name, session=SESSION)
        group.members.append(member)
        eventually(lambda member=member: len(member.owned()) == 4)


def test_what_is_still_worked_on_moves_only_after_a_bounded_wait(group: Group) -> None:
    first = group.join()
    eventually(lambda: group.shares() == [4])
    second = group.join()
    began = time.monotonic()
    eventually(lambda: len(second.owned()) == 2)  # the first one is at work and looks at nothing
    assert time.monotonic() - began >= SESSION / 2
    assert not first.owned() & second.owned()


def test_long_work_does_not_lose_a_share_and_that_of_a_killed_member_comes_to_it(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = [sys.executable, "-c", CHILD, group.settings.bootstrap[0], group.name, group.name]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        member = group.join()
        assert child.stdout is not None
        child.stdout.readline()
        eventually(lambda: group.shares() == [2])
        child.send_signal(signal.SIGKILL)
        mine, until, sums = member.owned(), time.monotonic() + 1.6 * SESSION, 0
        while time.monotonic() < until:  # hard work: the other threads get only what Python grants them
            sums += sum(range(10_000))
        assert member.owned() >= mine
        eventually(lambda: group.shares() == [4])
        assert "thrown out" not in caplog.text
    finally:
        child.kill()
        child.wait()


def test_a_cluster_that_refuses_is_an_error_and_one_that_is_not_there_is_no_share(kafka: Broker) -> None:
    nobody = GroupMembership(KafkaSettings(bootstrap=["127.0.0.1:1"]), None, "g", "t")
    refused = GroupMembership(KafkaSettings(bootstrap=[kafka.bootstrap]), None, "", "t")

    def told() -> bool:
        try:
            refused.owned()
        except LogError:
            return True
        return False

    eventually(told)
    assert nobody.owned() == frozenset()
    began = time.monotonic()
    nobody.close()
    refused.close()
    assert time.monotonic() - began < 3.0


class Standing:
    """A service that asks in each step where its partition ends."""

    name = "standing"

    def __init__(self, log: KafkaLog, topic: str, alive: list[Standing]) -> None:
        self.log, self.topic, self.alive = log, topic, alive
        self.steps = 0
        alive.append(self)

    def step(self) -> bool:
        self.log.end(self.topic, 0)
        self.steps += 1
        return False

    def idle(self) -> bool:
        return True

    def close(self) -> None:
        self.alive.remove(self)


@pytest.mark.broker
def test_a_cluster_that_comes_back_empty_is_worked_on_again(kafka: Broker, tmp_path: Path) -> None:
    alive: list[Standing] = []
    with Broker(tmp_path / "broker") as broker:
        log = KafkaLog(KafkaSettings(bootstrap=[broker.bootstrap]))

        def join() -> Membership:
            log.create("wiped", 1)
            return log.join("of-wiped", "wiped")

        owned = Owned("wiped", join, lambda _: [Standing(log, "wiped", alive)])

        def works() -> bool:
            owned.step()
            return any(service.steps for service in alive)

        try:
            eventually(works)
            before = log.create("wiped", 1).epoch
            broker.kill()
            eventually(lambda: not owned.step() and not alive)
            shutil.rmtree(broker.folder / "logs")
            broker.start()
            eventually(works)
            assert log.create("wiped", 1).epoch != before
        finally:
            owned.close()
            log.close()
