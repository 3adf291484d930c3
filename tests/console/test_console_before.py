"""An incident's page points at past ones of the same error, with what operators said."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from seed import IMAGE, NOW, SITES, endpoint, judge, make_app, window
from starlette.testclient import TestClient

from opintel.alerts import actions
from opintel.evidence import Table
from opintel.finding import Finding, Window
from opintel.store import open_store, queries, sqlite_url


def errors(first: int) -> Finding:
    """The errors of the hour that begins with the window `first`."""
    rows: list[list[str | float | int | None]] = [["no-space", 40, f"{SITES[0]} {SITES[1]}"]]
    return msgspec.structs.replace(
        endpoint(first + 5),
        id=f"errors {first}",
        kind="errors",
        subject={"scope": endpoint(0).subject["scope"]},
        window=Window(window(first).start, window(first + 5).end),
        log10_p=None,
        basis="none",
        severity="info",
        evidence=(Table("errors", ["family", "messages", "hosts"], rows),),
    )


def test_the_same_error_before_is_shown_with_the_note_of_the_operator(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path / "store.db"))
    judge(store, 0, 5, {2: [endpoint(2)], 3: [endpoint(3)], 5: [errors(0)]})
    [first] = queries.incidents(store)
    actions.confirm(store, first["id"], "ada", now=NOW, text=f"emptied the dark data {IMAGE}")
    actions.close(store, first["id"], "ada", now=NOW)
    judge(store, 6, 17, {11: [errors(6)], **{k: [endpoint(k)] for k in range(13, 16)}, 17: [errors(12)]})
    second = next(i for i in queries.incidents(store) if i["id"] != first["id"])
    client = TestClient(make_app(store), "http://127.0.0.1")
    page = client.get(f"/incidents/{second['id']}").text
    block = page[page.index("The same error before") :].partition("</section>")[0]
    assert re.findall('href="/incidents/([^"]*)"', block) == [first["id"]]
    assert "also <bdi>no-space</bdi>" in block
    assert "emptied the dark data &lt;img" in block
    assert "Confirmed as a true alarm" in block
    assert "The same error before" not in client.get(f"/incidents/{first['id']}").text
    store.close()
