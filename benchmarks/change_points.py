"""Change points of a whitened residual: the EWMA charts beside CUSUM and Shiryaev–Roberts, at one false alarm rate.

python benchmarks/change_points.py [--series 4000]

Residuals are Gaussian, or Student's t (3 degrees) as conformal z: the normal quantile of their rank among those before.
Each chart's threshold is the one that a clean row in 10^4 crosses; share of series found within 50 rows of a level, 250
of a drift (over 200 rows).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import ndtri

CLEAN, BEFORE, AFTER = 3000, 500, 250
FAULTS: dict[str, tuple[int, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "level .5": (50, lambda z, n: z + 0.5),
    "level .7": (50, lambda z, n: z + 0.7),
    "level 1": (50, lambda z, n: z + 1.0),
    "drift .3": (250, lambda z, n: z + 0.3 * np.minimum(n / 200.0, 1.0)[:, None]),
    "drift .5": (250, lambda z, n: z + 0.5 * np.minimum(n / 200.0, 1.0)[:, None]),
    "drift 1": (250, lambda z, n: z + np.minimum(n / 200.0, 1.0)[:, None]),
}
SIZES = (0.3, 0.6, 1.0, 2.0)


def ewma(z: np.ndarray, memories: tuple[float, ...]) -> Iterator[np.ndarray]:
    """Row by row, the largest standardised average of these memories."""
    state = np.zeros((len(memories), z.shape[1]))
    tau = np.array(memories)[:, None]
    for row in z:
        state += (np.clip(row, -3.0, 3.0) - state) / (1.0 + tau)
        yield np.abs(state * np.sqrt(2.0 * tau + 1.0)).max(axis=0)


def cusum(z: np.ndarray, sizes: tuple[float, ...]) -> Iterator[np.ndarray]:
    """The largest size × sum: in nats, Page 1954 (Biometrika 41, 100)."""
    state, size = np.zeros((2 * len(sizes), z.shape[1])), np.array([*sizes, *(-s for s in sizes)])[:, None]
    for row in z:
        state = np.maximum(0.0, state + size * np.clip(row, -3.0, 3.0) - size * size / 2.0)
        yield state.max(axis=0)


def shiryaev(z: np.ndarray, sizes: tuple[float, ...]) -> Iterator[np.ndarray]:
    """log of the mean of R = (1 + R) × likelihood ratio over sizes and signs (Roberts 1966, Technometrics 8, 411)."""
    size = np.array([*sizes, *(-s for s in sizes)])[:, None]
    state = np.full((2 * len(sizes), z.shape[1]), -np.inf)
    for row in z:
        state = np.logaddexp(0.0, state) + size * np.clip(row, -3.0, 3.0) - size * size / 2.0
        yield np.logaddexp.reduce(state, axis=0) - np.log(len(size))


CHARTS: dict[str, Callable[[np.ndarray], Iterator[np.ndarray]]] = {
    "EWMA 3, 25, 100": lambda z: ewma(z, (3.0, 25.0, 100.0)),
    "CUSUM": lambda z: cusum(z, SIZES),
    "Shiryaev-Roberts": lambda z: shiryaev(z, SIZES),
}


def conformal(x: np.ndarray) -> np.ndarray:
    """Each row's normal quantile of its rank among the 500 rows before it, series by series."""
    out = np.empty_like(x)
    for at in range(len(x)):
        past = np.sort(x[max(0, at - 500) : at], axis=0)
        rank = (past < x[at]).sum(axis=0) + 0.5
        out[at] = ndtri(rank / (len(past) + 1.0))
    return out


def residuals(law: str, rng: np.random.Generator, rows: int, series: int) -> np.ndarray:
    if law == "gauss":
        return rng.standard_normal((rows, series))
    return rng.standard_t(3, (rows, series)) / 3.0**0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=4000)
    k = parser.parse_args().series
    for law in ("gauss", "t3, conformal"):
        rng = np.random.default_rng(1)
        seen = conformal if "conformal" in law else lambda x: x
        clean = seen(residuals(law, rng, CLEAN, k // 4))
        faulty = residuals(law, rng, BEFORE + AFTER, k)
        print(f"{law:20}" + "".join(f"{name:>10}" for name in FAULTS))
        since = np.arange(1, AFTER + 1)
        z = {fault: faulty.copy() for fault in FAULTS}
        for fault, (_, change) in FAULTS.items():
            z[fault][BEFORE:] = change(faulty[BEFORE:], since)
            z[fault] = seen(z[fault])
        for name, chart in CHARTS.items():
            values = np.concatenate([row for n, row in enumerate(chart(clean)) if n >= BEFORE])
            threshold = np.quantile(values, 1.0 - 1e-4)
            shares = []
            for fault, (within, _) in FAULTS.items():
                rows = list(chart(z[fault]))[BEFORE : BEFORE + within]
                shares.append(np.mean(np.max(rows, axis=0) > threshold))
            print(f"{name:20}" + "".join(f"{share:10.3f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
