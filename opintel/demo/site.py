"""The site of a demo: the shipped YAML, with tickets going to the demo's own receiver."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from opintel.alerts.sinks.webhook import read_secret
from opintel.demo.plan import stories_by_stream
from opintel.demo.receiver import Receiver
from opintel.site.errors import UserError
from opintel.site.load import load_site
from opintel.site.shipped import copy_shipped

RECEIVER_PORT = 8096
LOCAL, CLUSTER = 1, 2
"""Partitions of a raw topic at most: as many as there are processes of stage 1. Findings do not depend on their number,
and each of them costs what a batch costs."""


def make_site(data: Path, *, headless: bool, bus: str | None) -> tuple[Path, Receiver]:
    """(folder of settings below `data`, the receiver of its tickets, listening). `bus`: bootstrap of a broker, if any.

    Tickets go by themselves, but for kinds of finding that a domain's `Stories` name: theirs are proposed, to show that
    too.
    """
    import yaml

    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    secret_file = data.absolute() / "webhook.secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(secret)
    try:
        receiver = Receiver(read_secret(secret), port=0 if headless else RECEIVER_PORT).start()
    except OSError as error:
        raise UserError(f"port {RECEIVER_PORT}: {error.strerror}; `--headless` takes free ports") from error
    folder = data.absolute() / "site"
    copy_shipped(folder)
    told = stories_by_stream(load_site(folder))
    most = LOCAL if bus is None else CLUSTER
    for stream in (folder / "streams").glob("*.yaml"):
        if stream.stem not in told:
            stream.unlink()  # nothing would come
            continue
        fewer = re.sub(r"(?m)^(partitions: )(\d+)", lambda n: n[1] + str(min(int(n[2]), most)), stream.read_text())
        stream.write_text(fewer)
    proposed = sorted({kind for stories in told.values() for kind in stories.proposed})
    routes = {
        "sinks": {"tickets": {"type": "webhook", "url": f"{receiver.url}/tickets", "secret_file": str(secret_file)}},
        "routes": [
            *([{"match": {"kinds": proposed}, "sinks": ["tickets"], "ticket": "propose"}] if proposed else []),
            {"match": {"severities": ["warning", "critical"]}, "sinks": ["tickets"], "ticket": "auto"},
        ],
    }
    (folder / "alerts" / "routes.yaml").write_text(yaml.safe_dump(routes))
    shared = {"simulated": True, **({} if bus is None else {"bus": {"bootstrap": [bus]}})}
    (folder / "site.yaml").write_text(yaml.safe_dump(shared))
    return folder, receiver


def write_topology(folder: Path, places: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Writes what belongs together into a folder of settings."""
    import yaml

    (folder / "alerts" / "topology.yaml").write_text(yaml.safe_dump({"places": dict(places)}))
