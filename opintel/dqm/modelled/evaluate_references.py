"""What `ReferenceModel` finds: on faults put into real variation of shapes, and on real labelled lumisections.

What `opintel evaluate dqm FOLDER` prints; `benchmarks/dqm_references.py` has the peers. The data are found by argument.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from opintel.dqm.comparing.bin_tables import Bools
from opintel.dqm.modelled.reference_model import ReferenceModel
from opintel.stats.counts import Floats

SHAPES = Path("csc_fullrank_pca_2017/csc_pca.npz")
LABELLED = Path("cms_pixel_charge_perLS_2017B/perLS_chargeInner_PXLayer_1.csv")
STATISTICS = (2e3, 1e4, 1e5)
FAULTS = ("dead", "hot", "half", "shift", "smear", "patch")
"""The fullest bin empty; the bin of median content times 3; the fullest bin halved; all moved by one bin; smeared
with 1/4, 1/2, 1/4; a twentieth of the bins, where there is content, at .7."""
FALSE_POSITIVES = 0.01


def holds_references(folder: Path) -> bool:
    """Whether a folder holds data to evaluate with."""
    return (folder / SHAPES).exists() or (folder / LABELLED).exists()


def evaluate(folder: Path) -> dict[str, Any]:
    """`{"folder", "shapes": {…}, "labelled": {…}}` of what the folder holds. OSError, KeyError or ValueError where a
    file is not what its name says."""
    document: dict[str, Any] = {"folder": str(folder)}
    if (folder / SHAPES).exists():
        document["shapes"] = shapes(folder)
    if (folder / LABELLED).exists():
        document["labelled"] = labelled(folder)
    return document


class ShapeFindings(NamedTuple):
    """The shapes of one histogram in good runs: a normal law around `mean` (B,), cut at 0."""

    name: str
    mean: Floats
    patterns: Floats
    """(K, B)"""
    variance: Floats
    """(K,)"""

    @classmethod
    def chosen(cls, folder: Path, count: int) -> list[ShapeFindings]:
        """`count` of the histograms of 60 to 200 bins in `SHAPES`, evenly over their names."""
        with np.load(folder / SHAPES) as file:
            names = sorted({key.rsplit("/", 1)[0] for key in file.files})
            names = [name for name in names if 60 <= len(file[f"{name}/mean"]) <= 200]
            names = [names[i] for i in np.linspace(0, len(names) - 1, count).round().astype(int)]
            return [
                cls(n, *(file[f"{n}/{part}"].astype(np.float64) for part in ("mean", "comp", "var"))) for n in names
            ]

    def shapes(self, rng: np.random.Generator, count: int) -> Floats:
        """(count, B) shares."""
        drawn = self.mean + rng.normal(size=(count, len(self.variance))) * np.sqrt(self.variance) @ self.patterns
        drawn = np.maximum(drawn, 0.0)
        return np.asarray(drawn / drawn.sum(axis=1, keepdims=True), dtype=np.float64)

    def draw(self, rng: np.random.Generator, entries: Floats) -> Floats:
        """Counts (n, B) of good runs with these expected entries (n,)."""
        return rng.poisson(self.shapes(rng, len(entries)) * entries[:, None]).astype(np.float64)


def with_fault(fault: str, shares: Floats, mean: Floats, rng: np.random.Generator) -> Floats:
    """Shares (n, B) with one of `FAULTS`; `mean` (B,) says which bins are meant."""
    shares, bins = shares.copy(), shares.shape[1]
    fullest, filled = int(mean.argmax()), np.flatnonzero(mean > 0.0)
    if fault == "dead":
        shares[:, fullest] = 0.0
    elif fault == "hot":
        shares[:, filled[np.argsort(mean[filled])[len(filled) // 2]]] *= 3.0
    elif fault == "half":
        shares[:, fullest] *= 0.5
    elif fault == "shift":
        shares = np.concatenate([np.zeros((len(shares), 1)), shares[:, :-1]], axis=1)
    elif fault == "smear":
        wide = np.pad(shares, ((0, 0), (1, 1)), mode="edge")
        shares = wide[:, :-2] / 4 + wide[:, 1:-1] / 2 + wide[:, 2:] / 4
    elif fault == "patch":
        width = max(3, bins // 20)
        for n, middle in enumerate(rng.choice(bins, len(shares), p=mean / mean.sum())):
            first = max(0, min(bins - width, middle - width // 2))
            shares[n, first : first + width] *= 0.7
    else:
        raise ValueError(f"expected one of {', '.join(FAULTS)}, got {fault!r}")
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)


def true_positive_rate(bad: Floats, good: Floats, false: float) -> float:
    """The share of the scores `bad` above the threshold that the share `false` of the scores `good` exceeds."""
    return float((bad > np.quantile(good, 1.0 - false)).mean())


def shapes(
    folder: Path, *, references: int = 100, cases: int = 40, clean: int = 400, histograms: int = 25
) -> dict[str, Any]:
    """True positive rates at 1 % false positives on 18 cells, and the false positives of p <= .01 itself."""
    found: dict[str, list[float]] = {}
    false: dict[str, list[float]] = {}
    for entries in STATISTICS:
        for n, one in enumerate(ShapeFindings.chosen(folder, histograms)):
            rng = np.random.default_rng([n, int(entries)])
            model = ReferenceModel().fit(one.draw(rng, entries * rng.uniform(0.5, 2.0, references))[:, None])
            null = -model.judge(one.draw(rng, np.full(clean, entries))[:, None]).log10_p[:, 0]
            false.setdefault(f"{entries:.0f}", []).append(float((null >= 2.0).mean()))
            for fault in FAULTS:
                shares = with_fault(fault, one.shapes(rng, cases), one.mean, rng)
                score = -model.judge(rng.poisson(shares * entries)[:, None]).log10_p[:, 0]
                found.setdefault(f"{fault}@{entries:.0f}", []).append(true_positive_rate(score, null, FALSE_POSITIVES))
    cells = {name: float(np.mean(rates)) for name, rates in found.items()}
    return {
        "references": references,
        "true_positive_rate": cells,
        "mean": float(np.mean(list(cells.values()))),
        "false_positives_at_p_0.01": {name: float(np.mean(rates)) for name, rates in false.items()},
    }


class Lumisections(NamedTuple):
    """Labelled histograms of single lumisections."""

    contents: Floats
    """(n, B) under- and overflow included"""
    run: NDArray[np.int64]
    number: NDArray[np.int64]
    bad: Bools


def labelled_lumisections(folder: Path) -> Lumisections:
    """`LABELLED`: certified good, or marked bad by the pixel experts; what is bad for other reasons is left out."""
    with (folder / LABELLED).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["good"] == "1" or row["good_pixel"] == "0"]
    contents = np.array([[float(row[f"bin_{n}"]) for n in range(int(row["xbins"]) + 2)] for row in rows])
    run, number = (np.array([int(row[name]) for row in rows]) for name in ("run", "lumi"))
    return Lumisections(contents, run, number, np.array([row["good_pixel"] == "0" for row in rows]))


def left_out_scores(data: Lumisections) -> dict[str, Floats]:
    """Scores of each lumisection by the good ones of all other runs: −log10 p of the model, also where the runs are not
    known to it, and the squared error that one or two principal components leave."""
    names = ("ReferenceModel", "ReferenceModel without runs", "PCA SSE, one component", "PCA SSE, two components")
    found = {name: np.zeros(len(data.run)) for name in names}
    shares = data.contents / data.contents.sum(axis=1, keepdims=True)
    for run in np.unique(data.run):
        mine, others = data.run == run, (data.run != run) & ~data.bad
        references = data.contents[others][:, None]
        for name, runs in zip(names, (data.run[others], None), strict=False):
            fitted = ReferenceModel().fit(references, runs)
            found[name][mine] = -fitted.judge(data.contents[mine][:, None]).log10_p[:, 0]
        mean = shares[others].mean(axis=0)
        patterns = np.linalg.svd(shares[others] - mean, full_matrices=False)[2]
        for name, few in zip(names[2:], (patterns[:1], patterns[:2]), strict=True):
            left = shares[mine] - mean
            found[name][mine] = np.square(left - left @ few.T @ few).sum(axis=1)
    return found


def labelled(folder: Path) -> dict[str, Any]:
    """Area under the curve and true positive rate at 1 % false positives, each run judged by the others; entries
    alone as a score show how much of it is statistics."""
    data = labelled_lumisections(folder)
    scores = {"entries alone": data.contents.sum(axis=1), **left_out_scores(data)}
    return {
        "lumisections": len(data.bad),
        "bad": int(data.bad.sum()),
        **{n: curve(s, data.bad) for n, s in scores.items()},
    }


def curve(score: Floats, bad: Bools) -> dict[str, float]:
    """Area under the curve and true positive rate at 1 % false positives of a score (n,)."""
    rank, n = rankdata(score), int(bad.sum())
    area = (rank[bad].sum() - n * (n + 1) / 2) / n / (len(bad) - n)
    return {"area": float(area), "true_positive_rate": true_positive_rate(score[bad], score[~bad], FALSE_POSITIVES)}
