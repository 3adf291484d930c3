"""What `ReferenceModel` finds in histograms of good runs that vary, beside what the field uses, in the same run.

    python benchmarks/dqm_references.py shapes FOLDER     # faults put into real variation, 25 histograms
    python benchmarks/dqm_references.py labelled FOLDER   # real labelled lumisections, each run left out in turn
    python benchmarks/dqm_references.py autoencoder FOLDER  # whether a network adds to it
    python benchmarks/dqm_references.py rolling           # drifting runs, beside EWMA templates (arXiv 2501.19237)

FOLDER holds `csc_fullrank_pca_2017/csc_pca.npz` (mean and covariance of the shapes of real CMS histograms) and
`cms_pixel_charge_perLS_2017B/perLS_chargeInner_PXLayer_1.csv`. Set OPENBLAS_NUM_THREADS=1: the matrices are small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from dqm_peers import EwmaTemplate, peer_scores
from dqm_rolling import drifting_runs, rolling_model, steps_to_adapt
from numpy.typing import NDArray
from scipy.stats import rankdata

from opintel.dqm import ReferenceModel
from opintel.dqm.modelled.evaluate_references import (
    FAULTS,
    STATISTICS,
    ShapeFindings,
    labelled_lumisections,
    left_out_scores,
    true_positive_rate,
    with_fault,
)

Floats = NDArray[np.float64]


def shapes(folder: Path, references: int, cases: int, clean: int) -> None:
    """True positive rate at 1 % false positives (threshold on clean draws of each histogram), 18 cells, all tests."""
    found: dict[str, dict[str, list[float]]] = {}
    false: dict[float, list[float]] = {}
    for entries in STATISTICS:
        for n, one in enumerate(ShapeFindings.chosen(folder, 25)):
            rng = np.random.default_rng([n, int(entries)])
            good = one.draw(rng, entries * rng.uniform(0.5, 2.0, references))
            model = ReferenceModel().fit(good[:, None])

            def scores(x: Floats, model: ReferenceModel = model, good: Floats = good) -> dict[str, Floats]:
                return {"model": -model.judge(x[:, None]).log10_p[:, 0], **peer_scores(x, good)}

            null = scores(one.draw(rng, np.full(clean, entries)))
            false.setdefault(entries, []).append(float((null["model"] > 2.0).mean()))
            for fault in FAULTS:
                faulty = rng.poisson(with_fault(fault, one.shapes(rng, cases), one.mean, rng) * entries).astype(float)
                got = scores(faulty)
                cell = found.setdefault(f"{fault}@{entries:.0e}", {})
                for name, value in got.items():
                    cell.setdefault(name, []).append(true_positive_rate(value, null[name], 0.01))
                cell.setdefault("model p<=.01", []).append(float((got["model"] >= 2.0).mean()))
    table = {cell: {name: float(np.mean(v)) for name, v in row.items()} for cell, row in found.items()}
    names = list(next(iter(table.values())))
    print(f"{references} references;", " | ".join(["cell", *names]))
    for cell, row in table.items():
        print(" | ".join([cell, *(f"{row[name]:.2f}" for name in names)]))
    print(" | ".join(["mean", *(f"{np.mean([row[name] for row in table.values()]):.3f}" for name in names)]))
    for entries, rates in false.items():
        print(
            f"false positives at p <= .01, {entries:.0e} entries: mean {np.mean(rates):.4f}, largest {max(rates):.3f}"
        )


def autoencoder(folder: Path, references: int, cases: int, clean: int) -> None:
    """The same on six histograms, beside scikit-learn's network of 16, 4 and 16 hidden units that learns to rebuild
    shares, and the smaller rank of both: whether it adds anything at the same false positives."""
    from sklearn.neural_network import MLPRegressor

    found: dict[str, list[float]] = {}
    for entries in STATISTICS[1:]:
        for n, one in enumerate(ShapeFindings.chosen(folder, 6)):
            rng = np.random.default_rng([n, int(entries)])
            good = one.draw(rng, entries * rng.uniform(0.5, 2.0, references))
            mean = good.sum(axis=0) / good.sum()
            unit = np.sqrt(mean + 1e-6)
            spread = float(((good / good.sum(axis=1, keepdims=True) - mean) / unit).std())

            def scaled(x: Floats, mean: Floats = mean, unit: Floats = unit, spread: float = spread) -> Floats:
                return np.asarray((x / x.sum(axis=1, keepdims=True) - mean) / unit / spread)

            network = MLPRegressor(
                hidden_layer_sizes=(16, 4, 16), activation="tanh", alpha=1e-3, max_iter=600, random_state=0
            )
            network.fit(scaled(good), scaled(good))
            model = ReferenceModel().fit(good[:, None])

            def scores(x: Floats, network: MLPRegressor = network, model: ReferenceModel = model) -> list[Floats]:
                left = scaled(x) - network.predict(scaled(x))
                return [-model.judge(x[:, None]).log10_p[:, 0], np.square(left).sum(axis=1)]

            null = scores(one.draw(rng, np.full(clean, entries)))

            def either(both: list[Floats], null: list[Floats] = null) -> Floats:
                return -np.min([(b[None] >= a[:, None]).mean(axis=1) for a, b in zip(both, null, strict=True)], axis=0)

            for fault in FAULTS:
                shares = with_fault(fault, one.shapes(rng, cases), one.mean, rng)
                got = scores(rng.poisson(shares * entries).astype(float))
                for name, a, b in (
                    ("model", got[0], null[0]),
                    ("autoencoder", got[1], null[1]),
                    ("either", either(got), either(null)),
                ):
                    found.setdefault(name, []).append(true_positive_rate(a, b, 0.01))
    print({name: round(float(np.mean(rates)), 3) for name, rates in found.items()})


def labelled(folder: Path) -> None:
    """AUC and true positive rate at 1 % false positives; entries alone as a score, matched on entries, and the
    first five and the last six bad runs apart."""
    data = labelled_lumisections(folder)
    entries = data.contents.sum(axis=1)
    scores = {"entries alone": entries, **left_out_scores(data)}
    good_runs = {int(run): int((~data.bad[data.run == run]).sum()) for run in np.unique(data.run)}
    print("good lumisections by run", {run: n for run, n in good_runs.items() if n})
    early = data.run <= np.unique(data.run[data.bad])[4]
    parts = {"all": data.bad | ~data.bad, "first bad runs": early | ~data.bad, "last bad runs": ~early | ~data.bad}
    parts["matched on entries"] = _matched(entries, data.bad)
    for name, score in scores.items():
        cells = []
        for part, chosen in parts.items():
            bad, rank = data.bad[chosen], rankdata(score[chosen])
            n = int(bad.sum())
            auc = (rank[bad].sum() - n * (n + 1) / 2) / n / (len(bad) - n)
            rate = true_positive_rate(score[chosen][bad], score[chosen][~bad], 0.01)
            cells.append(f"{part}: AUC {auc:.3f} TPR {rate:.3f}")
        if name.startswith("Ref"):
            often = [(score[rows] >= 2.0).mean() for rows in (~data.bad, data.bad)]
            cells.append(f"p <= .01: good {often[0]:.3f} bad {often[1]:.3f}")
        print(f"{name}: {'; '.join(cells)}")


def _matched(entries: Floats, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All bad ones, and for each the good one whose entries are nearest, none twice."""
    chosen, free = bad.copy(), np.flatnonzero(~bad)
    for row in np.flatnonzero(bad):
        nearest = int(np.abs(entries[free] - entries[row]).argmin())
        chosen[free[nearest]] = True
        free = np.delete(free, nearest)
    return chosen


def rolling(datasets: int, runs: int) -> None:
    """Sensitivity, specificity and good runs until it is quiet after a rapid change; thresholds from the first
    fifth."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(datasets):
        data = drifting_runs(np.random.default_rng(seed), runs)
        history = runs // 5
        for name, score in (
            ("EWMA template, alpha .5", EwmaTemplate(0.5).scores(data.contents, data.bad)),
            ("EWMA template, best alpha", EwmaTemplate.best(data.contents, data.bad, history)),
            ("rolling ReferenceModel", rolling_model(data.contents, data.bad)),
        ):
            cut = _balanced(score[:history], data.bad[:history])
            late = np.arange(runs) >= history
            flagged, bad = score > cut, data.bad
            steps = steps_to_adapt(flagged, bad, data.changes[data.changes >= history])
            rows.setdefault(name, []).append(
                (
                    float(flagged[late & bad].mean()),
                    float(1.0 - flagged[late & ~bad].mean()),
                    steps,
                )
            )
    for name, found in rows.items():
        mean = np.mean(found, axis=0)
        print(f"{name}: sensitivity {mean[0]:.3f} specificity {mean[1]:.3f} runs to adapt {mean[2]:.2f}")


def _balanced(score: Floats, bad: NDArray[np.bool_]) -> float:
    """The threshold of the greatest balanced accuracy, as the paper chooses it."""
    cuts = np.unique(score[np.isfinite(score)])
    rates = [((score[bad] > cut).mean() + (score[~bad] <= cut).mean(), cut) for cut in cuts]
    return float(max(rates)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("shapes", "autoencoder", "labelled", "rolling"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--references", type=int, default=100)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--clean", type=int, default=1000)
    parser.add_argument("--datasets", type=int, default=5)
    parser.add_argument("--runs", type=int, default=2500)
    arguments = parser.parse_args()
    if arguments.what == "shapes":
        shapes(arguments.folder, arguments.references, arguments.cases, arguments.clean)
    elif arguments.what == "autoencoder":
        autoencoder(arguments.folder, arguments.references, arguments.cases, arguments.clean)
    elif arguments.what == "labelled":
        labelled(arguments.folder)
    else:
        rolling(arguments.datasets, arguments.runs)


if __name__ == "__main__":
    main()
