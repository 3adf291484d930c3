"""A real broker with TLS, SCRAM users and ACLs, set up as `deploy/kafka/secure.properties` says: who may come in, what
a refusal says, and that each service can do its work and no more.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion
from kafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from opintel.demo.broker import Broker, free_port, shipped_folder
from opintel.streams.kafka import acls, reach
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.kafka.topics import ASIDES, apply, difference, plan
from opintel.streams.log import Aside, Entry, LogError, LogUnavailable
from opintel.streams.log_kafka import KafkaLog
from opintel.streams.sequencer import control_topic
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.vitals import stream_status

pytestmark = pytest.mark.broker

STREAM = Stream("fts", "fts.transfers", partitions=1)
TOPICS = (STREAM.topic, control_topic(STREAM), STREAM.derived, FINDINGS, ASIDES)
PASSWORD = "correct horse battery staple"
REFUSALS = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError, GroupAuthorizationFailedError)


class Authority(NamedTuple):
    """Signs certificates; all of its files are PEM."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def sign(self, name: str) -> tuple[Path, Path]:
        """Certificate and private key for `name` on localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = certify(name, key, self.certificate.subject, self.key).add_extension(names, critical=False)
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(certificate.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


def certify(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name | None, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def authority(folder: Path) -> Authority:
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    builder = certify("an authority", key, None, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    made = Authority(folder, key, builder.sign(key, hashes.SHA256()))
    made.file.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    return made


class Cluster(NamedTuple):
    """The broker and how to come in."""

    client: KafkaSettings
    """Without a user."""
    administrator: KafkaSettings
    stranger: Authority
    """Another authority than the broker's."""

    def of(self, service: str) -> KafkaSettings:
        return msgspec.structs.replace(self.client, user=acls.principal(service).removeprefix("User:"))


@pytest.fixture(scope="module")
def cluster(part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("secure")
    own = authority(folder / "authority")
    certificate, key = own.sign("kafka")
    (folder / "broker.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
    clients, internal, controller = free_port(), free_port(), free_port()
    shipped = (line.partition("=") for line in (shipped_folder() / "secure.properties").read_text().splitlines())
    properties = {key: value for key, equals, value in shipped if equals and not key.startswith("#")} | {
        "listeners": f"CLIENTS://127.0.0.1:{clients},INTERNAL://127.0.0.1:{internal},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": (
            f"CLIENTS://localhost:{clients},INTERNAL://localhost:{internal},CONTROLLER://localhost:{controller}"
        ),
        "controller.quorum.bootstrap.servers": f"localhost:{controller}",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.location": str(own.file),
    }
    administrator = KafkaSettings(
        bootstrap=[f"localhost:{internal}"],
        tls=True,
        ca_file=str(own.file),
        cert_file=str(certificate),
        key_file=str(key),
    )
    client = KafkaSettings(bootstrap=[f"localhost:{clients}"], tls=True, ca_file=str(own.file))
    with Broker(folder / "broker", port=clients, properties=properties, jars=part("kafka")):
        with reach.administer(administrator) as admin:
            for service in acls.SERVICES:
                user = acls.principal(service).removeprefix("User:")
                admin.alter_user_scram_credentials(
                    [UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, PASSWORD)]
                )
            apply(admin, plan([STREAM], {"fts": 10**15}, 1))
            assert {change.action for change in acls.grant(admin, acls.rights([STREAM]))} == {"create"}
        yield Cluster(client, administrator, authority(folder / "stranger"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 1.0)


def test_a_user_with_its_password_comes_in(cluster: Cluster) -> None:
    with reach.administer(cluster.of("stage1"), PASSWORD) as admin:
        assert set(TOPICS) <= set(admin.list_topics())


@pytest.mark.parametrize(
    ("wrong", "password", "reason"),
    [
        ({}, "Tr0ub4dor&3", "answers, but does not serve us; is the password of 'opintel-stage1' right?"),
        ({"user": "mallory"}, PASSWORD, "answers, but does not serve us; is the password of 'mallory' right?"),
        ({"user": None}, None, "answers, but does not serve us; does it ask for a user?"),
        ({"tls": False, "ca_file": None}, PASSWORD, "hangs up on us; does it expect TLS?"),
        ({"ca_file": None}, PASSWORD, "its certificate is not accepted: unable to get local issuer"),
    ],
)
def test_a_refusal_says_why_and_no_password(
    cluster: Cluster,
    caplog: pytest.LogCaptureFixture,
    wrong: dict[str, object],
    password: str | None,
    reason: str,
) -> None:
    settings = msgspec.structs.replace(cluster.of("stage1"), **wrong)
    with (
        caplog.at_level(logging.DEBUG, logger="kafka"),
        pytest.raises(LogUnavailable) as caught,
        reach.administer(settings, password),
    ):
        pass
    assert reason in str(caught.value)
    assert str(caught.value).startswith(settings.bootstrap[0])
    assert "kafka" in caplog.text  # the client did log, its configuration among the rest
    assert not password or password not in caplog.text + str(caught.value)


def test_another_authority_or_host_name_is_refused(cluster: Cluster) -> None:
    stranger = msgspec.structs.replace(cluster.of("stage1"), ca_file=str(cluster.stranger.file))
    address = cluster.client.bootstrap[0].replace("localhost", "127.0.0.1")
    elsewhere = msgspec.structs.replace(cluster.of("stage1"), bootstrap=[address])
    for settings in (stranger, elsewhere):
        with (
            pytest.raises(LogUnavailable, match="its certificate is not accepted"),
            reach.administer(settings, PASSWORD),
        ):
            pass


def test_who_comes_without_a_certificate_of_ours_is_no_administrator(cluster: Cluster) -> None:
    certificate, key = cluster.stranger.sign("kafka")
    forged = msgspec.structs.replace(cluster.administrator, cert_file=str(certificate), key_file=str(key))
    for settings in (forged, msgspec.structs.replace(cluster.administrator, cert_file=None, key_file=None)):
        with (
            pytest.raises(LogUnavailable, match="asks for a certificate of ours, or refuses it"),
            reach.administer(settings),
        ):
            pass


@pytest.mark.parametrize("service", acls.SERVICES)
def test_a_service_writes_and_reads_its_topics_and_no_other(cluster: Cluster, service: str) -> None:
    keywords = cluster.of(service).client(PASSWORD)
    planned = [right for right in acls.rights([STREAM]) if right.principal == acls.principal(service)]
    writes = {right.name for right in planned if (right.kind, right.operation) == ("topic", "write")}
    reads = {right.name for right in planned if (right.kind, right.operation) == ("topic", "read")}
    assert {topic for topic in TOPICS if may_write(keywords, topic)} == writes
    assert {topic for topic in TOPICS if may_read(keywords, topic)} == reads


def test_a_service_is_no_administrator(cluster: Cluster) -> None:
    specs = plan([STREAM], {"fts": 10**15}, 1)
    with reach.administer(cluster.of("console"), PASSWORD) as admin:
        assert {change.action for change in difference(admin, specs)} == {"error"}
    with (
        pytest.raises(LogError, match="the user 'opintel-console' may not do that"),
        reach.administer(cluster.of("console"), PASSWORD) as admin,
    ):
        acls.missing(admin, acls.rights([STREAM]))


def test_each_topic_that_carries_meaning_has_one_writer() -> None:
    writers = {
        topic: [r.principal for r in acls.rights([STREAM]) if (r.operation, r.name) == ("write", topic)]
        for topic in TOPICS
        if topic != ASIDES
    }
    assert writers == {
        STREAM.topic: ["User:opintel-ingest"],
        control_topic(STREAM): ["User:opintel-ingest"],
        STREAM.derived: ["User:opintel-stage1"],
        FINDINGS: ["User:opintel-stage2"],
    }


@pytest.mark.parametrize(
    ("service", "group", "allowed"),
    [
        ("ingest", "opintel.fts.ingest", True),
        ("stage1", "opintel.fts.stage1", True),
        ("stage1", "opintel.stage1", True),
        ("stage1", "opintel.fts.stage2", False),
        ("console", "opintel.fts.stage1", False),
    ],
)
def test_a_service_joins_and_commits_to_its_own_groups(
    cluster: Cluster, service: str, group: str, allowed: bool
) -> None:
    keywords = cluster.of(service).client(PASSWORD)
    consumer = KafkaConsumer(**keywords, group_id=group, enable_auto_commit=False)
    try:
        consumer.assign([TopicPartition(STREAM.topic, 0)])
        place = {TopicPartition(STREAM.topic, 0): OffsetAndMetadata(0, "", -1)}
        if allowed:
            consumer.commit(place)
            assert consumer.committed(TopicPartition(STREAM.topic, 0)) == 0
        else:
            with pytest.raises(GroupAuthorizationFailedError):
                consumer.commit(place)
    finally:
        consumer.close()


def test_the_log_works_with_a_services_rights(cluster: Cluster) -> None:
    controls = control_topic(STREAM)
    ingest, stage1, console = (KafkaLog(cluster.of(name), PASSWORD) for name in ("ingest", "stage1", "console"))
    try:
        for log in (ingest, stage1, console):
            assert [log.create(topic, 1).partitions for topic in TOPICS] == [1] * len(TOPICS)
        end = ingest.end(STREAM.topic, 0)
        ingest.append([Entry(STREAM.topic, 0, b"a row"), Entry(controls, 0, b"a control", b"its key")])
        assert [value for _, value, _ in stage1.read(STREAM.topic, 0, end, 10)] == [b"a row"]
        stage1.append([Entry(STREAM.derived, 0, b"a result")])
        stage1.put_asides([Aside("dead", STREAM.topic, 0, end, 0, "a reason")])
        stage1.commit("stage1", STREAM.topic, 0, end + 1)
        assert stage1.committed()["stage1", STREAM.topic, 0] == end + 1
        assert console.committed()["stage1", STREAM.topic, 0] == end + 1
        assert Aside("dead", STREAM.topic, 0, end, 0, "a reason") in console.asides()
        for log, topic in ((stage1, controls), (stage1, STREAM.topic), (console, STREAM.topic), (console, ASIDES)):
            with pytest.raises((LogError, LogUnavailable)):
                log.append([Entry(topic, 0, b"not mine")])
        with pytest.raises((LogError, LogUnavailable)):
            stage1.read(FINDINGS, 0, 0, 10)
    finally:
        for log in (ingest, stage1, console):
            log.close()


@pytest.mark.parametrize("service", acls.SERVICES)
def test_every_service_sees_what_it_serves_as_metrics(cluster: Cluster, service: str) -> None:
    log = KafkaLog(cluster.of(service), PASSWORD)
    try:
        assert stream_status(log, STREAM).lag >= 0
        assert log.end(FINDINGS, 0) >= 0
    finally:
        log.close()


def test_rights_given_twice_change_nothing_and_foreign_writers_are_shown(cluster: Cluster) -> None:
    wanted = acls.rights([STREAM])
    foreign = acls.Right("User:mallory", "write", "topic", control_topic(STREAM))
    with reach.administer(cluster.administrator) as admin:
        assert {change.action for change in acls.grant(admin, wanted)} == {"same"}
        acls.grant(admin, [foreign])
        extra = [change for change in acls.missing(admin, wanted) if change.action != "same"]
    assert [(change.right, change.action) for change in extra] == [(foreign, "extra")]


def may_write(keywords: dict[str, object], topic: str) -> bool:
    producer = KafkaProducer(**keywords, retries=0)
    try:
        producer.send(topic, b"x", key=b"k").get(timeout=20)
    except REFUSALS:
        return False
    finally:
        producer.close()
    return True


def may_read(keywords: dict[str, object], topic: str) -> bool:
    consumer = KafkaConsumer(**keywords, auto_offset_reset="earliest")
    try:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.poll(timeout_ms=5000)
    except KafkaError as error:
        if isinstance(error, REFUSALS):
            return False
        raise
    finally:
        consumer.close()
    return True
