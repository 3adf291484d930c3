"""The template miner beside Drain3 in one run: `python benchmarks/templates.py [MESSAGES.csv [LABELLED.csv…]]`.

Speed on streams of real error messages (column `message`) with a given share of exact repeats, each id resolved; what a
sender costs who puts a fresh word in front of every message; and grouping accuracy on labelled logs (columns content,
event_id). Drain3 runs with masks like those of its examples, and without. CPU seconds, memory in MB. The data are
those of `../shared/data` unless files are named.
"""

from __future__ import annotations

import csv
import random
import re
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from drain3 import TemplateMiner as Drain3
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

from opintel.fts.templates.evaluation import evaluate, f1_of_grouping, grouping_accuracy
from opintel.fts.templates.miner import TemplateMiner

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fts"
MESSAGES = 50_000
REPEATS = (0.94, 0.4)
BURST = 5_000
_BEFORE, _AFTER = r"((?<=[^A-Za-z0-9])|^)", r"((?=[^A-Za-z0-9])|$)"
MASKS = (
    (rf"{_BEFORE}(([0-9a-f]{{2,}}:){{3,}}([0-9a-f]{{2,}})){_AFTER}", "ID"),
    (rf"{_BEFORE}(\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}){_AFTER}", "IP"),
    (rf"{_BEFORE}([0-9a-f]{{6,}} ?){{3,}}{_AFTER}", "SEQ"),
    (rf"{_BEFORE}([0-9A-F]{{4}} ?){{4,}}{_AFTER}", "SEQ"),
    (rf"{_BEFORE}(0x[a-f0-9A-F]+){_AFTER}", "HEX"),
    (rf"{_BEFORE}([\-\+]?\d+){_AFTER}", "NUM"),
)
"""Those of Drain3's examples/drain3.ini."""


def main() -> None:
    named = [Path(name) for name in sys.argv[1:]]
    with (named[0] if named else DATA / "fts_10k_messages.csv").open(newline="") as file:
        texts = [row["message"] for row in csv.DictReader(file)]
    ours: Mine = lambda messages: resolved(TemplateMiner(), messages)  # noqa: E731
    for share in REPEATS:
        messages = stream(texts, share)
        print(f"{MESSAGES} messages, {1 - len(set(messages)) / len(messages):.0%} exact repeats")
        spent = compare(messages, {"opintel": ours, "Drain3, masks": drain(MASKS), "Drain3, no masks": drain(())})
        print(f"  {spent['Drain3, masks'] / spent['opintel']:.1f} times Drain3 with masks")
    rng = random.Random(2)
    hostile = [f"{''.join(rng.choices('abcdefghij0123456789', k=9))} {rng.choice(texts)}" for _ in range(2 * MESSAGES)]
    print(f"{len(hostile)} messages, each with a fresh first word")
    compare(hostile, {"opintel": ours})
    print(f"the first {BURST} of them, all of them new forms")
    compare(hostile[:BURST], {"opintel": ours})
    print(f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most, all of this included")
    labelled = named[1:] or sorted((DATA / "loghub2k").glob("*.csv"))
    found = evaluate(labelled)
    print(f"{'labelled log':16} {'GA':>6} {'FGA':>6}   Drain3, masks: {'GA':>6} {'FGA':>6}")
    theirs = []
    for path, row in zip(labelled, found["files"], strict=True):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        truth, predicted = [row["event_id"] for row in rows], drain(MASKS)([row["content"] for row in rows])
        theirs.append((grouping_accuracy(truth, predicted), f1_of_grouping(truth, predicted)))
        print(f"{row['name']:16} {row['ga']:6.3f} {row['fga']:6.3f} {'':16} {theirs[-1][0]:6.3f} {theirs[-1][1]:6.3f}")
    mean = [sum(column) / len(theirs) for column in zip(*theirs, strict=True)]
    print(f"{'mean':16} {found['mean']['ga']:6.3f} {found['mean']['fga']:6.3f} {'':16} {mean[0]:6.3f} {mean[1]:6.3f}")


Mine = Callable[[Sequence[str]], list[str]]


def compare(messages: Sequence[str], miners: dict[str, Mine]) -> dict[str, float]:
    """CPU seconds of each, the better of two turns; a turn each after the other."""
    spent = dict.fromkeys(miners, float("inf"))
    for _ in range(2):
        for name, mine in miners.items():
            start = time.process_time()
            ids = mine(messages)
            spent[name] = min(spent[name], time.process_time() - start)
            templates = len(set(ids))
    for name, seconds in spent.items():
        print(f"  {name:18} {len(messages) / seconds:9.0f} messages a CPU-second")
    print(f"  {templates} templates of the last")
    return spent


def resolved(miner: TemplateMiner, messages: Sequence[str]) -> list[str]:
    """Today's id of each message's template."""
    return [miner.resolve(id) for id in miner.assign(messages)]


def drain(masks: Sequence[tuple[str, str]]) -> Mine:
    """Drain3 with its defaults; each message's final cluster."""

    def mine(messages: Sequence[str]) -> list[str]:
        config = TemplateMinerConfig()
        config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]
        miner = Drain3(config=config)
        return [str(miner.add_log_message(message)["cluster_id"]) for message in messages]

    return mine


def stream(texts: Sequence[str], repeats: float) -> list[str]:
    """Draws of real messages: of a few hundred distinct ones, and, so that a share repeats, others with fresh ids."""
    rng = random.Random(1)
    few = list(dict.fromkeys(texts))[:300]
    varying = [text for text in texts if PATH.search(text)]
    return [rng.choice(few) if rng.random() < repeats else renewed(rng, rng.choice(varying)) for _ in range(MESSAGES)]


def renewed(rng: random.Random, text: str) -> str:
    return PATH.sub(lambda path: ID.sub(lambda id: fresh(rng, id.group()), path.group()), text)


PATH = re.compile(r"/\S*[0-9a-f]{8}\S*")
ID = re.compile(r"[0-9a-f]{2,}")


def fresh(rng: random.Random, id: str) -> str:
    return "".join(rng.choices("0123456789abcdef" if not id.isdigit() else "0123456789", k=len(id)))


if __name__ == "__main__":
    main()
