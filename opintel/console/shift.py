"""The pages for shifters of data quality: runs and their lumisections, a histogram, sign-off, a summary for the e-log.

They are there where a stream has findings of kind `quality`. This and its neighbours (`lumisections`, `histograms`,
`elog`) are what the console knows of the domain DQM.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from opintel.alerts.actions import Refused
from opintel.alerts.lifecycle import LIVE
from opintel.console import elog, histograms, reading
from opintel.console.lumisections import JudgedRun, JudgedRuns, RunView, place_at, strips
from opintel.console.operate import Endpoint, read_form
from opintel.console.pages import Pages
from opintel.console.render import Renderer, operator
from opintel.console.security import Credentials
from opintel.dqm.quality.advice import FIRST_ACTION
from opintel.dqm.quality.certify import FLAGGED
from opintel.dqm.quality.findings import TREE, UNCONFIRMED
from opintel.dqm.quality.tree import Folder
from opintel.finding import parse_rfc3339, rfc3339
from opintel.site.certification import sign_off
from opintel.store import Store, queries

Json = dict[str, Any]
RUNS_SHOWN = 12
INCIDENTS_SHOWN = 10
DEFECTS_SHOWN = 100
HOURS = {"8": "8 hours", "24": "24 hours", "168": "7 days"}
"""What a summary may span."""
_PLACE = re.compile(r"run \d+ lumisection \d+: ")
SEVERITIES = {"critical": 0, "warning": 1, "info": 2}


class ShiftPages:
    """The endpoints under `/dqm`. `streams` are those that have such findings, at least one."""

    def __init__(
        self,
        store: Store,
        streams: Sequence[str],
        pages: Pages,
        renderer: Renderer,
        keys: Credentials,
        now: Callable[[], int],
    ) -> None:
        self._store, self._streams = store, list(streams)
        self._pages, self._renderer, self._keys, self._now = pages, renderer, keys, now
        self._runs = JudgedRuns(store)
        self._incidents = reading.IncidentList(store)

    def run(self, request: Request) -> Response:
        """`/dqm?stream=&run=&ls=`: a run, by default the newest, or one lumisection of it."""
        stream, runs, run = self._asked(request)
        if run is None:
            return self._pages.polled(request, "shift", stream=stream, streams=self._others(stream), view=None)
        view = self._runs.view(stream, run)
        chosen = _number(request.query_params.get("ls", ""))
        chosen = chosen if chosen in run.windows else None
        given = {"stream": stream, "run": str(run.number)} | ({} if chosen is None else {"ls": str(chosen)})
        values: Json = {
            "stream": stream,
            "streams": self._others(stream),
            "view": view,
            "strips": strips(view),
            "runs": [(one.number, one is run) for one in list(runs.values())[:RUNS_SHOWN]],
            "begin": rfc3339(run.start),
            "end": rfc3339(run.end),
            "chosen": chosen,
            "near": _near(run, chosen),
            "tree": [] if chosen is None else self._tree(view, chosen),
            "defects": _worst(view)[:DEFECTS_SHOWN],
            "incidents": self._ranked(stream, runs, run),
        }
        return self._pages.polled(request, "shift", query=f"?{urlencode(given)}", **values)

    def histogram(self, request: Request) -> Response:
        """`/dqm/histogram?stream=&subsystem=&path=`: what was found about a histogram, and when."""
        stream, runs, _ = self._asked(request)
        subsystem, path = (request.query_params.get(name, "") for name in ("subsystem", "path"))
        found = histograms.findings_about(self._store, stream, subsystem, path)
        views = [self._runs.view(stream, run) for run in list(runs.values())[: histograms.RUNS_SHOWN]]
        rows = histograms.history(views, subsystem, path)
        if not found and not rows:
            raise HTTPException(404, "There is no such histogram: nothing was ever found about it.")
        newest = found[0] if found else None
        return self._renderer.page(
            request,
            "shift_histogram.html",
            stream=stream,
            subsystem=subsystem,
            histogram=path,
            newest=newest,
            blocks=[] if newest is None else histograms.blocks(newest),
            spoke="" if newest is None else histograms.spoke(newest),
            first="" if newest is None else FIRST_ACTION.get(newest["kind"], ""),
            rows=rows,
            matters=reading.matters(found, "stream"),
        )

    def summary(self, request: Request) -> Response:
        """`/dqm/summary?stream=&hours=`: the last hours as text, for the e-log."""
        stream, runs, _ = self._asked(request)
        asked = request.query_params.get("hours", "")
        hours = asked if asked in HOURS else next(iter(HOURS))
        end = max((run.end for run in runs.values()), default=self._now())
        begin = end - int(hours) * elog.HOUR
        views = [self._runs.view(stream, run) for run in runs.values() if run.end > begin]
        incidents = self._ranked(stream, runs, None, begin)
        return self._renderer.page(
            request,
            "shift_summary.html",
            stream=stream,
            hours=[(number, text, number == hours) for number, text in HOURS.items()],
            text=elog.summary(stream, begin, end, views, incidents),
        )

    def signing(self) -> Endpoint:
        """`POST /dqm/sign-off`."""

        async def sign(request: Request) -> Response:
            form = await read_form(request, self._keys)
            return await run_in_threadpool(self._sign, request, form)

        return sign

    def _sign(self, request: Request, form: dict[str, str]) -> Response:
        stream = form.get("stream", "")
        run, first, last = (_number(form.get(name, "")) for name in ("run", "first", "last"))
        try:
            if stream not in self._streams or run is None or first is None or last is None:
                raise Refused("expected a run, and a first and a last lumisection, as numbers")
            said = (form.get("subsystem", ""), run, first, last, form.get("verdict", ""), operator(request))
            sign_off(self._store, stream, *said, now=self._now(), comment=form.get("comment", ""))
        except Refused as error:
            return self._renderer.page(request, "error.html", 409, code=409, text=f"Not signed off: {error}.")
        return RedirectResponse(f"/dqm?{urlencode({'stream': stream, 'run': str(run)})}", 303)

    def _asked(self, request: Request) -> tuple[str, dict[int, JudgedRun], JudgedRun | None]:
        """The stream, its runs, and the run that is asked for; what does not exist counts as not given."""
        asked = request.query_params.get("stream", "")
        stream = asked if asked in self._streams else self._streams[0]
        runs = self._runs.runs(stream)
        run = runs.get(_number(request.query_params.get("run", "")) or -1)
        return stream, runs, run or next(iter(runs.values()), None)

    def _others(self, stream: str) -> list[tuple[str, bool]]:
        return [(name, name == stream) for name in self._streams] if len(self._streams) > 1 else []

    def _tree(self, view: RunView, number: int) -> list[Json]:
        """The subsystems in a lumisection, those that spoil it first: folders and flagged histograms."""
        order = {"bad": 0, "insufficient": 1, "minor": 2, "good": 3}
        standing = {name: view.standing(number, name) for name in view.run.subsystems}
        ids = [one.finding for one in standing.values() if one is not None and one.finding]
        said = {f["id"]: f for f in queries.findings_of(self._store, ids)}
        tree = []
        for name, one in standing.items():
            found = said.get(one.finding) if one else None
            tables = {b["title"]: b["rows"] for b in found["evidence"] if b["type"] == "table"} if found else {}
            tree.append(
                {
                    "subsystem": name,
                    "status": one.status if one else "insufficient",
                    "signed": one.signed if one else None,
                    "summary": found["summary"].rpartition(": ")[2] if found else "nothing came",
                    "finding": found["id"] if found else "",
                    "folders": [_branch(row) for row in tables.get(TREE, [])],
                    "flags": tables.get(FLAGGED, []),
                    "unconfirmed": {row[0]: (row[2], row[3]) for row in tables.get(UNCONFIRMED, [])},
                }
            )
        return sorted(tree, key=lambda branch: (order[branch["status"]], branch["subsystem"]))

    def _ranked(
        self, stream: str, runs: dict[int, JudgedRun], run: JudgedRun | None, begin: int | None = None
    ) -> list[Json]:
        """The incidents of a run (None: since `begin`) that matter most: live ones, then the more severe, then the more
        surprising; each with `since`, the run and lumisection of its start, `what`, its title without a place, `first`,
        the first action, and `histogram`, (subsystem, path) or None."""
        newest = run is None or run is next(iter(runs.values()))
        begin = run.start if run is not None else begin or 0
        found = []
        for incident in self._incidents.read():
            start, last = (parse_rfc3339(incident[name]) for name in ("start", "last"))
            live = incident["state"] in LIVE
            ours = incident["stream"] == stream and not incident["merged_into"]
            here = (last > begin or (live and newest)) and (run is None or start < run.end)
            if ours and here:
                surprise = incident["lead"].log10_p if incident["lead"] else None
                rank = (not live, SEVERITIES[incident["severity"]], surprise or 0.0, incident["id"])
                found.append((rank, start, incident))
        ranked = []
        for _, start, incident in sorted(found, key=lambda one: one[0])[:INCIDENTS_SHOWN]:
            lead = next(iter(reading.lead_findings(self._store, incident["id"])), None)
            kind = lead["kind"] if lead else ""
            subject = lead["subject"] if lead else {}
            more = {
                "since": place_at(runs, start),
                "what": _PLACE.sub("", incident["title"]),
                "first": FIRST_ACTION.get(kind, ""),
                "histogram": (subject["scope"], subject["histogram"]) if "histogram" in subject else None,
            }
            ranked.append(incident | more)
        return ranked


def _near(run: JudgedRun, chosen: int | None) -> tuple[int | None, int | None]:
    """The lumisections before and after the chosen one; without one, the last of the run."""
    numbers = sorted(run.windows)
    if chosen is None:
        return numbers[-1], None
    at = numbers.index(chosen)
    return (numbers[at - 1] if at else None), (numbers[at + 1] if at + 1 < len(numbers) else None)


def _branch(row: Sequence[Any]) -> Json:
    """A row of the status tree as it is drawn: its name below the folder above it, and how deep that is."""
    folder = Folder(*row)
    depth = folder.path.count("/") + 1 if folder.path else 0
    return {"name": folder.path.rpartition("/")[2], "depth": min(depth, 8), **folder._asdict()}


def _worst(view: RunView) -> list[Any]:
    """The defects of a run, those that spoil it first."""
    return sorted(view.defects, key=lambda d: (not d.critical, -d.last, d.log10_p or -1e9, d.bit, d.histogram))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
