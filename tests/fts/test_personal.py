"""People and secrets in texts: each form is hidden, what looks like one stays, any text survives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.fts.texts.credentials import redact
from opintel.fts.texts.personal import PUBLIC_KEY, Pseudonyms

NAMES = Pseudonyms(b"secret")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("no file /store/user/jdoe/a.root", "no file /store/user/{}/a.root"),
        ("/rucio/user/jdoe/aa/bb/f", "/rucio/user/{}/aa/bb/f"),
        ("/store/user/rucio/jdoe/x", "/store/user/rucio/{}/x"),
        ("/eos/user/j/jdoe/x", "/eos/user/j/{}/x"),
        ("open /eos/home-j/jdoe/f failed", "open /eos/home-j/{}/f failed"),
        ("read /home/jdoe", "read /home/{}"),
        ("read %2Fhome%2Fjdoe%2Ff", "read %2Fhome%2F{}%2Ff"),
        ("/~jdoe/x", "/~{}/x"),
        ("cannot read ~jdoe/x", "cannot read ~{}/x"),
        ("scope user.jdoe:file", "scope user.{}:file"),
        ("/DC=org/CN=Jane Doe is not authorized", "/DC=org/CN={} is not authorized"),
        ("CN=Jane Doe,OU=people", "CN={},OU=people"),
        ("CN=Robot: Jane Doe, OU=people", "CN=Robot: {}, OU=people"),
        ("CN=Robot - Jane Doe", "CN=Robot - {}"),
        ("ＣＮ＝Jane Doe is unknown", "ＣＮ＝{} is unknown"),
        ("dn=%2FDC%3Dorg%2FCN%3DJane%20Doe denied", "dn=%2FDC%3Dorg%2FCN%3D{} denied"),
        ("%252FCN%253DJane%2520Doe: denied", "%252FCN%253D{}: denied"),
        ("user=jdoe, status=400", "user={}, status=400"),
        ("x?user=jdoe&x=1", "x?user={}&x=1"),
        ("user%3Djdoe%26x", "user%3D{}%26x"),
        ("username=jdoe denied", "username={} denied"),
        ("owner = Jane Doe, x", "owner = {}, x"),
        ("uid=jdoe,ou=people", "uid={},ou=people"),
        ('"preferred_username": "jdoe"', '"preferred_username": "{}"'),
        ("sub: jdoe, iss", "sub: {}, iss"),
        ("logname= uid=jdoe tty=ssh ruser= rhost=1.2.3.4", "logname= uid={} tty=ssh ruser= rhost=1.2.3.4"),
        ("voms user: Jane Doe has no role", "voms user: {} has no role"),
        ("User jdoe is not authorised", "User {} is not authorised"),
        ("quota of user jdoe exceeded", "quota of user {} exceeded"),
        ("Mapped user jdoe is invalid.", "Mapped user {} is invalid."),
        ("mapped to jdoe, refused", "mapped to {}, refused"),
        ("permission denied for mapped user 'jdoe' here", "permission denied for mapped user '{}' here"),
        ("no mapping for user 'Jane Doe'", "no mapping for user '{}'"),
        ("no mapping for login user jdoe", "no mapping for login user {}"),
        ("token username jdoe has no storage.modify", "token username {} has no storage.modify"),
        ("Failed password for jdoe from 1.2.3.4 port 5", "Failed password for {} from 1.2.3.4 port 5"),
        ("Accepted publickey for jdoe from 1.2.3.4", "Accepted publickey for {} from 1.2.3.4"),
        ("session opened for user jdoe by (uid=0)", "session opened for user {} by (uid=0)"),
        ("input_userauth_request: invalid user jdoe [preauth]", "input_userauth_request: invalid user {} [preauth]"),
        ("account jdoe is locked", "account {} is locked"),
        ("jdoe.1234:56@se1.example.org left", "{}.1234:56@se1.example.org left"),
        ("root://jdoe@se1.example.org//f", "root://{}@se1.example.org//f"),
        ("root://jdoe:REDACTED@se1.example.org//f", "root://{}:REDACTED@se1.example.org//f"),
    ],
)
def test_people_are_replaced(text: str, kept: str) -> None:
    person = NAMES.of("Jane Doe" if "Jane" in text else "jdoe")
    assert NAMES.scrub(text) == kept.replace("{}", person)


@pytest.mark.parametrize(
    "text",
    ["jane.doe@example.org", "jane.doe%40example.org", "jane.doe&#64;example.org", "emailAddress=jane@a.org/CN=Jane"],
)
def test_mail_addresses_are_replaced(text: str) -> None:
    assert not re.search("jane|doe|example", NAMES.scrub(f"mail {text} failed").lower())


def test_a_user_who_is_called_user_hides_no_other_word() -> None:
    assert NAMES.scrub("invalid user user from 1.2.3.4") == f"invalid user {NAMES.of('user')} from 1.2.3.4"


def test_a_name_is_hidden_wherever_it_stands() -> None:
    text = "local=/eos/store/group/g/jdoe/jdoe_1.root, uid=31152(jdoe), user=jdoe: jdoes of jdoe"
    person = NAMES.of("jdoe")
    hidden = NAMES.scrub(text)
    assert "31152" not in hidden
    assert hidden.count(person) == 5
    assert hidden.startswith(f"local=/eos/store/group/g/{person}/{person}_1.root, uid=uid-")
    assert hidden.endswith(f"user={person}: jdoes of {person}")


@pytest.mark.parametrize(
    "text",
    [
        "/dpm/site.example/home/atlas/x",
        "/users",
        "CN",
        "a superuser.b",
        "user defined checksum, User and destination checksums do not match",
        "User quota exceeded on space token",
        "user not found in gridmap",
        "Insufficient user privileges to trigger a recall",
        "operation canceled by user",
        "Invalid request; user not authenticated",
        "User certificate has expired, user proxy is expired",
        "user authentication failed, user mapping failed: no entry",
        "username or password invalid; the user name is missing; user: permission denied",
        "user=root denied, uid=0 euid=0",
        "login failed, account: disabled, owner root",
        "mapped to the wrong pool",
        "Failed password for invalid user admin from 1.2.3.4",
        "pam_unix(sshd:auth): user=sshd",
        "one-time password for this file expired",
        "certificate /OU=hosts/CN=se1.example.org has expired",
        "gsiftp://se1.example.org:2811//data [2001:db8::1]:80",
        "~/x, about ~5 s, file.root~",
    ],
)
def test_what_is_not_a_person_stays(text: str) -> None:
    assert NAMES.scrub(text) == text


JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJleGFtcGxlIn0.bm90LWEtc2lnbmF0dXJl"
MACAROON = "MDAxY2xvY2F0aW9uIE9wdGlvbmFsLmVtcHR5CjAwMThpZGVudGlmaWVy"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"open https://a/f?authz=Bearer%20{JWT}&x=5: 403", "open https://a/f?authz=Bearer%20{}&x=5: 403"),
        (f"authz%3DBearer%2520{JWT}", "authz%3DBearer%2520{}"),
        (f"Authorization: Bearer {JWT} rejected: token expired", "Authorization: Bearer {} rejected: token expired"),
        (f"TransferHeaderAuthorization: Bearer {JWT[:30]}", "TransferHeaderAuthorization: Bearer {}"),
        ("Authorization: Basic dXNlcjpwYXNz denied", "Authorization: Basic {} denied"),
        ("Bearer abcdefghijklmnopqrstuvwxyz0 expired", "Bearer {} expired"),
        (f"got {JWT}, expired", "got {}, expired"),
        (f"macaroon {MACAROON} has no activity", "macaroon {} has no activity"),
        ("?X-Amz-Credential=KEY&X-Amz-Signature=0123&a=b: 403", "?X-Amz-Credential={}&X-Amz-Signature={}&a=b: 403"),
        (
            "?AWSAccessKeyId=AKIAEXAMPLEEXAMPLE&Signature=a%2Bb%3D&Expires=1",
            "?AWSAccessKeyId={}&Signature={}&Expires=1",
        ),
        ("?sv=2020&sig=abc%2Bdef%3D&se=2026", "?sv=2020&sig={}&se=2026"),
        ("root://jdoe:pass@se1.example.org//f denied", "root://jdoe:{}@se1.example.org//f denied"),
        ("root://jdoe:p@ss@se1.example.org//f denied", "root://jdoe:{}@se1.example.org//f denied"),
        ("cut short: root://jdoe:pas", "cut short: root://jdoe:{}"),
        ("expected a host, got 'root://jdoe:pas'", "expected a host, got 'root://jdoe:{}'"),
        ("https%3A%2F%2Fjdoe%3Apass%40a.org", "https%3A%2F%2Fjdoe%3A{}%40a.org"),
        ("password: hunter2, passwd=hunter", "password: {}, passwd={}"),
        ('"access_token": "abc123", "client_secret":"x"', '"access_token": "{}", "client_secret":"{}"'),
        ("Set-Cookie: sid=9f8e; X-Auth-Token: 9f8e", "Set-Cookie: {} X-Auth-Token: {}"),
        ("-----BEGIN RSA PRIVATE KEY----- MIIE -----END RSA PRIVATE KEY----- x", "{} x"),
    ],
)
def test_secrets_are_replaced(text: str, kept: str) -> None:
    assert redact(text) == kept.replace("{}", "REDACTED")


@pytest.mark.parametrize(
    "text",
    [
        "Bearer token missing in request",
        "Authorization header not accepted: 401 Unauthorized",
        'WWW-Authenticate: Bearer realm="x", error="invalid_token"',
        "Basic authentication failed, token=expired, password: incorrect",
        "Failed to obtain refreshed token for source",
        "token error: signature verification failed; oauth token: invalid_grant",
        "Space associated with the space token 2310037, spacetoken=ATLASDATADISK",
        "https://se1.example.org:2811/x https://[2001:db8::1]:80/x gsiftp://se1.example.org:2811",
        "macaroon invalid: caveat activity, keytab=/etc/krb5.keytab",
        "wtoken = AppWindowToken{9f4ef63 token=Token{a64f992}}",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


PIECES = [
    *("/", "~", "user", "user.", "home", " ", "CN=", ",", "jd", "J d", "uid=", "'", ":", "@", "%2F", "%3D", "a.b.org"),
    *("eyJ", "Bearer ", "authz=", "://", "x:y", "password: ", "cookie:", "MDA", "ＣＮ＝", "é", "$", '"', "REDACTED"),
]
pieces = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@given(pieces)
def test_any_text_survives(text: str) -> None:
    hidden = redact(text)
    assert redact(hidden) == hidden
    scrubbed = Pseudonyms(PUBLIC_KEY).scrub(hidden)
    assert scrubbed == hidden or re.search(r"(?:user|uid)-[0-9a-f]{6}", scrubbed)
