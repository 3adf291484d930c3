"""A broker of one's own: it keeps what it acknowledged through stop and kill, and never outlives who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from opintel.demo.broker import Broker, BrokerError, find_jars


@pytest.mark.broker
def test_what_was_acknowledged_survives_stop_and_kill(part: Callable[[str], Path], tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", jars=part("kafka"))
    with broker:
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
        admin.close()
        for value, end in ((b"a", broker.stop), (b"b", broker.kill), (b"c", lambda: None)):
            producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
            producer.send("kept", value).get(timeout=30)
            producer.close()
            end()
            broker.start()
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
        consumer.assign([TopicPartition("kept", 0)])
        found: list[bytes] = []
        while len(found) < 3:
            found += [record.value for records in consumer.poll(timeout_ms=10_000).values() for record in records]
        consumer.close()
    assert found == [b"a", b"b", b"c"]
    assert broker.pid is None


@pytest.mark.broker
def test_a_broker_ends_with_its_process(part: Callable[[str], Path], tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom opintel.demo.broker import Broker\n"
        f"broker = Broker(Path({str(tmp_path / 'broker')!r}), jars=Path({str(part('kafka'))!r}))\n"
        "broker.start()\nprint(broker.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    broker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30.0
    while alive(broker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(broker)


@pytest.mark.broker
def test_settings_that_kafka_refuses_are_told_in_its_words(part: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="Unable to parse nonsense to a broker endpoint") as caught:
        Broker(tmp_path / "a", properties={"listeners": "nonsense"}, jars=part("kafka")).start()
    assert "\tat " not in str(caught.value)
    wrong = Broker(tmp_path / "b", properties={"auto.create.topics.enable": "perhaps"}, jars=part("kafka"))
    with pytest.raises(BrokerError, match="perhaps"):
        wrong.start()
    assert wrong.pid is None


def test_jars_are_found_or_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "java"
    program.touch(mode=0o755)
    for name in ("PATH", "OPINTEL_PARTS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path / "home"))
    with pytest.raises(BrokerError, match=r"set KAFKA_HOME .* or install Maven"):
        find_jars()
    cached = tmp_path / "opintel" / "kafka"
    for folder in (cached, tmp_path / "home" / "libs", tmp_path / "kafka"):
        folder.mkdir(parents=True)
        (folder / "kafka_2.13-4.1.1.jar").touch()
        assert find_jars() == folder
    program.unlink()
    with pytest.raises(BrokerError, match="needs Java 17"):
        find_jars()


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()


def test_the_start_script_leaves_a_running_broker_alone(
    kafka: Broker, part: Callable[[str], Path], tmp_path: Path
) -> None:
    port = int(kafka.bootstrap.rpartition(":")[2])
    own = tmp_path / "own.properties"
    own.write_text(f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:1\n")
    script = Path(__file__).resolve().parents[2] / "deploy/kafka/start"
    parts = {**os.environ, "OPINTEL_PARTS": str(part("kafka").parent)}
    done = subprocess.run([script, tmp_path / "data", own], env=parts, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"127.0.0.1:{port} is taken: a broker runs already? Stop it, or give another port (docs/kafka.md)"
    ]
    assert not (tmp_path / "data/logs").exists()
