"""A store with incidents as the alert service makes them, and texts that try to break out of a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from starlette.applications import Starlette

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings, Budget, Budgets, Grouping, Lifecycle, Route, Routes
from opintel.alerts.sinks.log import LogSink
from opintel.console.app import create_app
from opintel.console.views import StreamView
from opintel.evidence import Axis, Band, Evidence, Histogram, Image, Links, Mark, Matrix, Region, Series, Table, Texts
from opintel.finding import NS, Effect, Finding, Severity, Window, finding_id
from opintel.fts.naming import NAMING
from opintel.naming import Naming
from opintel.picture import histogram, image
from opintel.store import Store, open_store, sqlite_url
from opintel.streams.findings import Found, Judged

START = 1_772_431_200 * NS  # 2026-03-02T06:00:00Z
WIDTH = 600 * NS
SCOPE = "fts.example.org"
NOW = START + 18 * WIDTH

SCRIPT = "<script>window.pwned='script'</script>"
IMAGE = "<img src=x onerror=\"window.pwned='img'\">"
BREAKOUT = "'\"><svg onload=\"window.pwned='svg'\"></pre></textarea>"
OVERRIDE = "invoice\u202efdp.exe"
ANSI = "\x1b[31mred\x1b[0m\x07"
TEMPLATE = "{{ 7 * 7 }} ${7*7} <% 7*7 %>"
HOSTILE = (SCRIPT, IMAGE, BREAKOUT, OVERRIDE, ANSI, TEMPLATE)

NAMES = ["lincoln", "upton", "edinburgh", "lund", "karlsruhe", "vancouver", "madison", "lyon", "geneva", "annecy"]
SITES = [f"se01.tier{1 + k % 2}.{name}.example" for k, name in enumerate(NAMES)]
ENTITIES = {"fts": ["endpoint", "source", "destination"], "health": ["instance"]}
SETTINGS = AlertSettings(
    budgets=Budgets(streams={"fts": {"failures": Budget(kinds=["endpoint", "link"], false_alarms_a_week=0.5)}}),
    lifecycle=Lifecycle(grouping=Grouping(entities=ENTITIES)),
    routes=Routes(sinks={"helpdesk": LogSink()}, routes=[Route(sinks=["helpdesk"])]),
)


@cache
def _seeded() -> bytes:
    """Of a file of it: to decide costs more than most tests that look at it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "store.db")
        store = open_store(sqlite_url(path))
        _decide(store)
        store.close()
        return path.read_bytes()


def open_seeded(path: Path) -> Store:
    """Three incidents: one about an endpoint and one with hostile texts are open, one about a link is resolved."""
    path.write_bytes(_seeded())
    return open_store(sqlite_url(path))


def _decide(store: Store) -> None:
    judge(store, 0, 8, {k: [link(k, SITES[2], SITES[3])] for k in (5, 6)})
    bad = {"source": f"a{SCRIPT}", "destination": f"b{IMAGE}"}
    late = {k: [endpoint(k), hostile(k, bad)] for k in range(12, 16)}
    judge(store, 9, 15, late)


def judge(store: Store, first: int, last: int, story: dict[int, list[Finding]]) -> None:
    """Lets the alert service judge windows `first` to `last` with these findings."""
    service = AlertService(store, SETTINGS)
    records: list[Found | Judged] = []
    for k in range(first, last + 1):
        records += [Found("fts", f) for f in story.get(k, [])]
        records.append(Judged("fts", SCOPE, window(k), {"endpoint": 60, "link": 300}, True))
    position = service.position()
    service.consume(position, records, position + len(records))


def window(k: int) -> Window:
    """The k-th window."""
    return Window(START + k * WIDTH, START + (k + 1) * WIDTH)


def endpoint(k: int, host: str = SITES[0]) -> Finding:
    """An endpoint that fails as destination."""
    masked = [("HTTP third party copy: destination answered 507 Insufficient Storage for <PATH>", 19), ("timed out", 3)]
    sent = [(text.replace("<PATH>", "/pnfs/data/f.root"), count) for text, count in masked]
    blocks: list[Evidence] = [
        evolution(k),
        matrix(),
        Texts("Errors, masked", masked),
        Texts("Errors, an example of each as sent", sent),
        Table("Links in this window", ["source", "ok", "bytes"], [[site, 2, 9_937_895_935] for site in SITES[1:]]),
        Links("Read on", [("The site's page", "https://example.org/sites?a=1&b=2")]),
    ]
    text = f"{host} fails as destination: 71 of 90 files since 08:00 (usual 4.7 %); mostly '507 Insufficient Storage'"
    return finding(k, "endpoint", {"endpoint": host, "role": "destination"}, -12.0, "critical", text, blocks)


def link(k: int, source: str, destination: str) -> Finding:
    """A link that fails."""
    text = f"{source} to {destination} fails: 39 of 39 files since 06:50 (usual 11 %)"
    labels = {"source": source, "destination": destination}
    return finding(k, "link", labels, -10.5, "warning", text, [evolution(k)])


def hostile(k: int, labels: dict[str, str]) -> Finding:
    """A finding whose every text wants to be more than text."""
    names = [f"{n}{text}" for n, text in enumerate(HOSTILE)]
    blocks: list[Evidence] = [
        Series(f"Files {SCRIPT}", [window(j).start for j in range(k)], [1.0] * k, f"files {IMAGE}"),
        Matrix(f"Matrix {IMAGE}", names, names, [[0.5] * len(names)] * len(names), "failed share", BREAKOUT, SCRIPT),
        Texts(f"Errors {BREAKOUT}", [(text, 3) for text in HOSTILE]),
        Table(f"Table {SCRIPT}", [SCRIPT, IMAGE], [[text, text] for text in HOSTILE]),
        histogram(f"Bins {IMAGE}", [1] * 6, names, axis=SCRIPT, unit=IMAGE, regions=[Region(2, 3, BREAKOUT)]),
        image(
            f"Map {SCRIPT}",
            np.eye(3),
            Axis(SCRIPT, IMAGE, 0.0, 1.0),
            Axis(OVERRIDE, ANSI, 0.0, 1.0),
            of=IMAGE,
            unit=SCRIPT,
            marks=[Mark(text, 0.5, 0.5) for text in HOSTILE],
        ),
        Links(f"Links {IMAGE}", [(text, f'https://example.org/"><script>{n}') for n, text in enumerate(HOSTILE)]),
    ]
    return finding(k, "link", labels, -9.0, "warning", f"fails {' '.join(HOSTILE)}; mostly {SCRIPT}", blocks)


def pictured(k: int) -> Finding:
    """A histogram with a dead and a hot region, categories, and three maps: pulls, counts, a spectrum over time."""
    blocks: list[Evidence] = [charge(), pulls(), quality(), occupancy(), spectrogram()]
    text = f"{SITES[0]} has a dead and a hot region; 12 bins without entries (usual 0)"
    return finding(k, "endpoint", {"endpoint": SITES[0], "role": "source"}, -14.0, "critical", text, blocks)


def charge() -> Histogram:
    """A Landau-like spectrum of 100 bins: six are dead, three hot."""
    rng = np.random.default_rng(9)
    edges = np.linspace(0, 100, 101)
    middle = (edges[1:] - 22) / 6
    expected = 4000 * np.exp(-0.5 * (middle + np.exp(-middle)))
    observed = rng.poisson(expected).astype(float)
    observed[40:46] = 0
    observed[70:73] *= 3
    sigma = np.sqrt(np.maximum(expected, 1))
    return histogram(
        "Cluster charge, layer 2",
        observed,
        edges,
        axis="cluster charge",
        unit="ke",
        expected=np.round(expected, 1),
        band=(np.round(np.maximum(expected - 2.6 * sigma, 0), 1), np.round(expected + 2.6 * sigma, 1), 0.99),
        pulls=np.round((observed - expected) / sigma, 2),
        regions=[Region(40, 45, "dead"), Region(70, 72, "hot")],
        over=41,
        entries=float(observed.sum()),
    )


def pulls() -> Image:
    """A map of 100 × 100 pulls: noise, a dead tower at -5, a hot one at +5, and a corner without value."""
    values = np.clip(np.random.default_rng(10).normal(0, 0.9, (100, 100)), -4, 4)
    values[20:30, 20:30] = -5
    values[70:80, 60:70] = 5
    values[:12, 88:] = np.nan
    marks = [Mark("dead tower", -1.56, -1.88, (-1.04, -1.26)), Mark("hot cell", 0.78, 1.57)]
    eta, phi = Axis("η", "", -2.6, 2.6), Axis("φ", "rad", -3.14, 3.14)
    return image("Occupancy against its reference", values, eta, phi, of="pull", unit="σ", diverging=True, marks=marks)


def quality() -> Histogram:
    """Six categories."""
    names = ["pixel", "strip", "TOB", "transition radiation", "calorimeter", "muon chambers"]
    return histogram("Hits by detector", [820, 1310, 96, 770, None, 402], names, axis="detector", unit="")


def occupancy() -> Image:
    """Counts over five decades."""
    x, y = np.meshgrid(np.linspace(-1, 1, 240), np.linspace(-1, 1, 160))
    counts = np.random.default_rng(11).poisson(20_000 * np.exp(-9 * (x**2 + 1.6 * y**2)))
    axes = Axis("x", "mm", -120.0, 120.0), Axis("y", "mm", -80.0, 80.0)
    return image("Hits of the beam spot", counts, *axes, of="hits", unit="", log=True, low=1)


def spectrogram() -> Image:
    """A chirp over noise: a logarithmic axis of frequency."""
    time, step = np.meshgrid(np.linspace(-1, 0.2, 500), np.linspace(0, 1, 200))
    track = np.log(35 * np.maximum(-time, 0.002) ** -0.375 / 20) / np.log(1024 / 20)
    power = np.random.default_rng(12).exponential(1, time.shape) + 22 * np.exp(-(((step - track) / 0.02) ** 2)) * (
        time < 0
    )
    axes = Axis("time from 14:07:31", "s", -1.0, 0.2), Axis("frequency", "Hz", 20.0, 1024.0, log=True)
    mark = Mark("chirp", -0.35, 45.0, (0.02, 600.0))
    return image("Strain, Q-transform", power, *axes, of="energy", unit="", low=0, high=25, marks=[mark])


def finding(
    k: int,
    kind: str,
    labels: dict[str, str],
    log10_p: float,
    severity: Severity,
    summary: str,
    evidence: list[Evidence],
) -> Finding:
    """A finding of the k-th window."""
    subject = {"scope": SCOPE, **labels}
    return Finding(
        id=finding_id(f"fts.{kind}", 1, "m", subject, window(k)),
        detector=f"fts.{kind}",
        kind=kind,
        subject=subject,
        window=window(k),
        log10_p=log10_p,
        basis="exact",
        effect=Effect(0.79, "failed share"),
        severity=severity,
        summary=summary,
        evidence=tuple(evidence),
        model="m",
    )


def evolution(k: int) -> Series:
    """A failed share that rises in its last windows."""
    rng = np.random.default_rng(7)
    quiet = [0.01 + 0.05 * float(x) for x in rng.random(max(0, k - 3))]
    values: list[float | None] = [*quiet, *[0.64, 0.73, 0.84, 0.79][: k + 1 - len(quiet)]]
    times = [window(j).start for j in range(k + 1)]
    band = Band([0.0] * len(times), [0.22] * len(times), 0.98)
    return Series("Failed share by window", times, values, "failed share", band, (window(k).start, window(k).end))


def matrix() -> Matrix:
    """All fail to the first site, little elsewhere."""
    rng = np.random.default_rng(8)
    rows = SITES[1:]
    values = [
        [float(rng.uniform(0.6, 1)) if column == SITES[0] else None if rng.random() < 0.5 else 0.0 for column in SITES]
        for _ in rows
    ]
    return Matrix("Failed share by link", rows, SITES, values, "failed share", "source", "destination")


def stream_views() -> list[StreamView]:
    """One stream with hostile dead letters, one that has not begun, one whose source withholds something."""
    none = {"findings": 0, "lag": 0, "dead_letters": 0, "late": 0, "refused": 0, "quarantined": 0, "gaps": 0}
    counts = {**none, "findings": 10, "lag": 4, "dead_letters": len(HOSTILE) + 1999, "late": 12}
    dead = [(f"messages/7.jsonl:{n}{text}", f"not JSON {text}", text, 1) for n, text in enumerate(HOSTILE)]
    dead[-1] = (*dead[-1][:3], 2000)
    return [
        StreamView(
            name="fts", messages=60_562, freshness=12.4, watermark=window(15).end, state="live", recent=dead, **counts
        ),
        StreamView(name="quiet", messages=0, freshness=None, watermark=None, state="idle", recent=[], **none),
        StreamView(
            name="withholding",
            messages=5,
            freshness=1.0,
            watermark=window(14).end,
            state="withheld",
            withheld=window(15).end,
            recent=[],
            **none,
        ),
    ]


def make_app(
    store: Store,
    token: str | None = None,
    naming: Naming = NAMING,
    shifts: Sequence[str] = (),
    interferometers: Sequence[str] = (),
    **more: Any,
) -> Starlette:
    """The console of a store."""
    return create_app(
        store,
        grouping=SETTINGS.lifecycle.grouping,
        names={"fts": naming},
        streams=stream_views,
        metrics=lambda: b"opintel_up 1\n",
        healthy=lambda: (True, "ok"),
        ready=lambda: (False, "fts is 12000 records behind"),
        now=lambda: NOW,
        token=token,
        shifts=shifts,
        interferometers=interferometers,
        **more,
    )
