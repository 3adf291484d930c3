"""The console without a browser: who may ask, what is refused, the JSON forms, what the pages say."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import seed
import sqlalchemy as sa
from seed import HOSTILE, SITES, endpoint, judge, make_app
from starlette.testclient import TestClient

from opintel.alerts.delivery import Deliverer
from opintel.alerts.settings import RetryPolicy
from opintel.alerts.sinks import Intent, Receipt
from opintel.console import reading
from opintel.console.app import serve
from opintel.console.security import LOOPBACK
from opintel.finding import rfc3339
from opintel.store import Store, open_store, queries, sqlite_url
from opintel.store import schema as t

PAGES = (
    "/",
    "/map",
    "/streams",
    "/findings",
    "/budgets",
    "/api/incidents",
    "/metrics",
    "/static/console.css",
    "/nowhere",
)


def open_incident(store: Store) -> str:
    """The id of the one about the endpoint."""
    return next(i["id"] for i in queries.incidents(store) if SITES[0] in i["title"])


def form_key(client: TestClient, path: str = "/") -> str:
    found = re.search(r'name="key" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("host", [*sorted(LOOPBACK), "localhost:8095", "[::1]:8095"])
def test_this_machine_is_served(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "localhost.", "", "127.0.0.1:x"])
def test_other_host_names_are_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/incidents", "/metrics"):
        assert client.get(path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8096"},
        {"Origin": "https://127.0.0.1:8095"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": ""},
        {"Origin": "http://["},
    ],
)
def test_a_post_of_another_site_changes_nothing(client: TestClient, store: Store, headers: dict[str, str]) -> None:
    id = open_incident(store)
    answer = client.post(f"/incidents/{id}/acknowledge", data={"key": form_key(client)}, headers=headers)
    assert answer.status_code == 403
    told = queries.incident(store, id)
    assert told
    assert told["state"] == "open"


def test_a_post_that_names_no_origin_is_refused(store: Store) -> None:
    bare = TestClient(make_app(store), "http://127.0.0.1:8095", follow_redirects=False)
    assert bare.post(f"/incidents/{open_incident(store)}/close", data={"key": form_key(bare)}).status_code == 403


@pytest.mark.parametrize("key", [None, "", "guess"])
def test_a_post_without_the_form_key_is_refused(client: TestClient, store: Store, key: str | None) -> None:
    data = {} if key is None else {"key": key}
    assert client.post(f"/incidents/{open_incident(store)}/close", data=data).status_code == 403


def test_a_get_changes_nothing(client: TestClient, store: Store) -> None:
    assert client.get(f"/incidents/{open_incident(store)}/acknowledge").status_code == 405


def test_a_huge_form_is_refused(client: TestClient, store: Store) -> None:
    data = {"key": form_key(client), "note": "x" * 20_000}
    assert client.post(f"/incidents/{open_incident(store)}/confirm", data=data).status_code == 413


def test_plain_forms_work_without_script(client: TestClient, store: Store) -> None:
    id = open_incident(store)
    key = form_key(client)
    client.cookies.set("opintel_operator", "Ada%20L")
    answer = client.post(f"/incidents/{id}/acknowledge", data={"key": key})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/incidents/{id}")
    told = queries.incident(store, id)
    assert told
    assert (told["state"], told["events"][-1]["by"]) == ("acknowledged", "Ada L")


def test_what_is_refused_says_why(client: TestClient, store: Store) -> None:
    id = open_incident(store)
    key = form_key(client)
    answer = client.post(f"/incidents/{id}/known-until", data={"key": key, "until": "2020-01-01T00:00"})
    assert answer.status_code == 409
    assert "has passed for this incident" in answer.text
    answer = client.post(f"/incidents/{id}/known-until", data={"key": key, "until": "soon"})
    assert "until when?" in answer.text


def test_what_is_refused_is_told_in_place(client: TestClient, store: Store) -> None:
    id = open_incident(store)
    data = {"key": form_key(client)}
    client.post(f"/incidents/{id}/acknowledge", data=data)
    answer = client.post(f"/incidents/{id}/acknowledge", data=data, headers={"HX-Request": "true"})
    assert answer.status_code == 409
    assert "an incident that is acknowledged cannot acknowledge" in answer.text
    assert 'id="standing" hx-swap-oob="true"' in answer.text
    seen = re.search(r'"seen": "([^"]+)"', answer.text)
    assert seen
    polled = client.get(f"/incidents/{id}", params={"seen": seen[1]}, headers={"HX-Request": "true"})
    assert polled.status_code == 204, "what it says stays to be read"


def test_a_ticket_that_has_failed_is_sent_again_by_a_button(client: TestClient, store: Store) -> None:
    id = open_incident(store)
    data = {"key": form_key(client), "sink": "helpdesk"}
    assert client.post(f"/incidents/{id}/retry-ticket", data={"sink": "helpdesk"}).status_code == 403, "no form key"
    assert "no message to &#39;helpdesk&#39; has failed" in client.post(f"/incidents/{id}/retry-ticket", data=data).text
    client.post(f"/incidents/{id}/send-ticket", data=data)
    assert "/retry-ticket" not in client.get(f"/incidents/{id}").text, "it has not been tried yet"
    one = Deliverer(store, "helpdesk", Refusing(), RetryPolicy())
    while one.step():
        pass
    assert "/retry-ticket" in client.get(f"/incidents/{id}").text
    assert client.post(f"/incidents/{id}/retry-ticket", data=data).status_code == 303
    told = queries.incident(store, id)
    assert told
    assert told["tickets"][0]["state"] == "queued"
    assert told["events"][-1]["kind"] == "ticket-retried"
    assert "Ticket sent again" in client.get(f"/incidents/{id}").text


class Refusing:
    def send(self, intent: Intent) -> Receipt:
        return Receipt("failed", "HTTP 400")

    def close(self) -> None:
        pass


def test_only_legal_actions_are_offered(client: TestClient, store: Store) -> None:
    id = open_incident(store)
    assert "Acknowledge" in client.get(f"/incidents/{id}").text
    client.post(f"/incidents/{id}/false-alarm", data={"key": form_key(client), "note": "planned"})
    text = client.get(f"/incidents/{id}").text
    for gone in ("/acknowledge", "/close", "/mitigate", "/known-until", "/false-alarm", "/send-ticket"):
        assert f'{gone}"' not in text
    assert "planned" in text


def test_with_a_token_nothing_is_told_without_it(guarded: TestClient) -> None:
    for path in ("/", "/streams", "/incidents/x"):
        answer = guarded.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=")
    assert guarded.get("/api/incidents").status_code == 401
    assert guarded.get("/", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"
    assert guarded.post("/incidents/x/close").status_code == 401
    for path in ("/metrics", "/healthz", "/login", "/static/console.css"):
        assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("token", ["correct horse", "correct horse battery x", "", "ä"])
def test_a_wrong_token_is_refused(guarded: TestClient, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()}
    assert guarded.get("/api/incidents", headers=headers).status_code == 401
    answer = guarded.post("/login", data={"key": form_key(guarded, "/login"), "token": token})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_the_token_opens_the_console(guarded: TestClient) -> None:
    bearer = {"Authorization": "Bearer correct horse battery"}
    assert guarded.get("/api/incidents", headers=bearer).status_code == 200
    key = form_key(guarded, "/login")
    data = {"key": key, "token": "correct horse battery", "next": "/streams"}
    answer = guarded.post("/login", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, "/streams")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert guarded.get("/").status_code == 200
    assert guarded.post("/logout", data={"key": key}).status_code == 303
    assert guarded.get("/").status_code == 303


@pytest.mark.parametrize("session", ["", "9999999999.", "9999999999.00", "x.y", "1.é"])
def test_a_forged_session_is_refused(guarded: TestClient, session: str) -> None:
    cookie = {"Cookie": f"opintel_session={session}".encode()}
    assert guarded.get("/", headers=cookie).status_code == 303


@pytest.mark.parametrize("wanted", ["//attacker.example", "https://attacker.example", "/\\attacker.example", "/a\r\nb"])
def test_log_in_leads_nowhere_else(guarded: TestClient, wanted: str) -> None:
    data = {"key": form_key(guarded, "/login"), "token": "correct horse battery", "next": wanted}
    assert guarded.post("/login", data=data).headers["location"] == "/"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "console.example.org"])
def test_an_open_console_without_token_is_refused(store: Store, host: str) -> None:
    with pytest.raises(ValueError, match="give it a token"):
        serve(make_app(store), host)


def test_an_empty_token_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="token is empty"):
        make_app(store, " ")


def test_a_served_console_stops(store: Store) -> None:
    import httpx

    console = serve(make_app(store))
    assert httpx.get(f"{console.url}/healthz").text == "ok\n"
    console.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(console.url)


def test_findings_of_one_matter_are_one_line_and_what_is_behind_it(client: TestClient, store: Store) -> None:
    id = open_incident(store)
    found = (queries.incident(store, id) or {})["evidence_findings"]
    matters = reading.matters(found, "role")
    assert sorted(f["id"] for matter in matters for f in matter) == sorted(f["id"] for f in found)
    assert any(len(matter) > 1 for matter in matters)
    assert all(len({(f["role"], f["kind"], str(f["subject"])) for f in matter}) == 1 for matter in matters)
    page = client.get(f"/incidents/{id}").text
    assert page.count("more like it") == sum(len(matter) > 1 for matter in matters)
    assert all(f'href="/findings/{f["id"]}"' in page for f in found)
    page = client.get(f"/findings?incident={id}").text
    assert set(re.findall(r'href="/findings/([^"]+)"', page)) == {f["id"] for f in found}
    assert f'href="/incidents/{id}"' in page
    assert page.count("more like it") == sum(len(matter) > 1 for matter in matters)
    assert client.get("/findings?incident=none").status_code == 404
    assert page.count("more like it") < client.get("/findings").text.count("<li>")


def test_the_json_forms(client: TestClient, store: Store) -> None:
    def get(path: str) -> Any:
        answer = client.get(path)
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    [*told] = get("/api/incidents")["incidents"]
    assert told == queries.incidents(store)
    assert {i["state"] for i in get("/api/incidents?state=open")["incidents"]} == {"open"}
    id = open_incident(store)
    assert get(f"/api/incidents/{id}")["id"] == id
    assert get("/api/incidents/none") == {"error": "there is no such incident"}
    whole, pages, before = get("/api/findings")["findings"], [], ""
    while before is not None:
        page = get(f"/api/findings?limit=7&before={before}")
        pages, before = page["findings"] + pages, page["before"]
    assert pages == whole
    opened, before = [], ""
    while before is not None:
        page = get(f"/api/incidents?limit=1&before={before}")
        opened, before = opened + page["incidents"], page["before"]
    assert opened == told
    found = get("/api/findings?stream=fts&limit=3")["findings"]
    assert found == get("/api/findings")["findings"][-3:]
    assert get("/api/findings?stream=none") == {"findings": [], "before": None}
    streams = get("/api/streams")["streams"]
    assert [s["name"] for s in streams] == ["fts", "quiet", "withholding"]
    assert streams[0]["recent"][-1].keys() == {"place", "reason", "excerpt", "rows"}
    assert (streams[0]["recent"][-1]["rows"], streams[0]["dead_letters"]) == (2000, len(HOSTILE) + 1999)
    page = client.get("/streams")
    assert page.status_code == 200
    assert "(2,000 rows)" in html.unescape(page.text)
    since = f'has not shown everything since <time datetime="{rfc3339(streams[2]["withheld"])}"'
    assert since in page.text


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=x",
        "limit=1001",
        "before=x",
        "before=1",
        "limit=-1",
        "limit=²",
        f"before={2**63}.x",
        "state=odd",
    ],
)
def test_bad_questions_are_answered_400(client: TestClient, query: str) -> None:
    assert client.get(f"/api/incidents?{query}").status_code == 400
    assert client.get(f"/api/findings?{query}").status_code == (200 if "state" in query else 400)


def test_metrics_and_probes(client: TestClient) -> None:
    assert client.get("/metrics").content == b"opintel_up 1\n"
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.text) == (503, "fts is 12000 records behind\n")


def test_what_has_not_changed_is_not_sent_again(client: TestClient, store: Store) -> None:
    polled = {"HX-Request": "true"}
    for path in ("/", f"/incidents/{open_incident(store)}", "/map", "/streams", "/budgets"):
        seen = re.search(r'"seen": "([^"]+)"', client.get(path).text)
        assert seen
        assert client.get(path, params={"seen": seen[1]}, headers=polled).status_code == 204
        assert client.get(path, params={"seen": "other"}, headers=polled).status_code == 200


def test_only_the_parts_that_changed_are_sent(client: TestClient, store: Store) -> None:
    path = f"/incidents/{open_incident(store)}"
    seen = re.search(r'"seen": "([^"]+)"', client.get(path).text)
    assert seen
    client.post(f"{path}/mitigate", data={"key": form_key(client)})
    text = client.get(path, params={"seen": seen[1]}, headers={"HX-Request": "true"}).text
    assert 'id="standing"' in text
    assert 'id="rail"' in text
    assert 'id="evidence"' not in text


def test_the_list_is_narrowed_and_ordered(client: TestClient) -> None:
    def titles(query: str) -> list[str]:
        return re.findall(r'href="/incidents/[^"]+"><bdi>([^ ]+)', client.get(f"/{query}").text)

    assert titles("") == [SITES[0], "fails", SITES[2]]
    assert titles("?state=resolved") == [SITES[2]]
    assert titles("?severity=critical") == [SITES[0]]
    assert titles("?state=odd") == titles("")
    assert "No incident matches" in client.get("/?stream=none").text


def test_quiet_is_said_in_words(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path / "quiet.db"))
    client = TestClient(make_app(store), "http://127.0.0.1")
    assert "Nothing has been judged yet" in client.get("/").text
    judge(store, 0, 3, {})
    text = client.get("/").text
    assert "All is quiet" in text
    assert "No incident so far" in text
    assert '<time datetime="2026-03-02T06:40:00Z"' in text
    judge(store, 4, 12, {4: [endpoint(4)]})
    text = client.get("/").text
    assert "All is quiet" in text
    assert f'Since <time datetime="{rfc3339(endpoint(4).window.end)}"' in text
    store.close()


def test_an_incident_leads_to_the_past_of_what_it_is_about(client: TestClient, store: Store) -> None:
    page = client.get(f"/incidents/{open_incident(store)}").text
    link = html.unescape(re.findall('href="(/things[^"]*)"', page)[0])
    assert client.get(link).status_code == 200


def test_silence_of_a_source_is_not_called_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = [msgspec.structs.replace(view, state="stale") for view in seed.stream_views()[:1]]
    monkeypatch.setattr(seed, "stream_views", lambda: stale)
    store = open_store(sqlite_url(tmp_path / "stale.db"))
    judge(store, 0, 3, {})
    text = TestClient(make_app(store), "http://127.0.0.1").get("/").text
    store.close()
    assert "No incident, but nothing is heard from fts" in text
    assert "All is quiet" not in text


def test_a_finding_in_a_downtime_says_so(client: TestClient, store: Store) -> None:
    id = queries.findings(store)[-1]["id"]
    assert "in a downtime" not in client.get(f"/findings/{id}").text + client.get("/findings").text
    with store.write() as connection:
        connection.execute(sa.update(t.finding).where(t.finding.c.id == id).values(downtime="new <disks>"))
    for path in (f"/findings/{id}", "/findings"):
        assert client.get(path).text.count("in a downtime: <bdi>new &lt;disks&gt;</bdi>") == 1


@pytest.mark.parametrize("path", ["/incidents/none", "/findings/none", "/nowhere"])
def test_what_is_not_there_is_404_in_words(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "To the incidents" in answer.text


def test_hostile_texts_are_escaped_on_every_page(client: TestClient, store: Store) -> None:
    paths = ["/", "/map", "/streams", "/findings", "/budgets"]
    paths += [f"/incidents/{i['id']}" for i in queries.incidents(store)]
    paths += [f"/findings/{f['id']}" for f in queries.findings(store)]
    for path in paths:
        text = client.get(path).text
        for tag in ("<script>", "<img src=x", "<svg onload"):
            assert tag not in text, path
        assert not set(text) & set("\u202e\x1b\x07"), path
    assert any("[U+202E]" in client.get(path).text for path in paths)
    assert len(HOSTILE) == 6
