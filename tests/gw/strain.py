"""Strain of our own making: coloured Gaussian noise with sine-Gaussians of a known optimal SNR."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np


@dataclass(frozen=True)
class Burst:
    """exp(-t^2 / tau^2) cos(2 pi f t), tau = Q / (sqrt(2) pi f); `at` seconds after the start."""

    at: float
    frequency: float
    q: float
    snr: float


def density(frequency: np.ndarray) -> np.ndarray:
    """One-sided, 1 / Hz: a wall, a floor and shot noise, about as strain has them."""
    x = np.maximum(frequency, 8.0) / 150.0
    return 1e-47 * (0.05 * x**-6 + 0.5 + 0.3 * x**2)


def noise(seed: int, rate: float, seconds: float) -> np.ndarray:
    samples = round(rate * seconds)
    bins = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    return np.fft.irfft(bins * np.sqrt(density(np.fft.rfftfreq(samples, 1 / rate)) * rate / 2), samples)


def burst(rate: float, seconds: float, of: Burst) -> np.ndarray:
    t = np.arange(round(rate * seconds)) / rate - of.at
    tau = of.q / (sqrt(2) * pi * of.frequency)
    h = np.exp(-((t / tau) ** 2)) * np.cos(2 * pi * of.frequency * t)
    f = np.fft.rfftfreq(len(h), 1 / rate)
    rho = sqrt(4 * float((np.abs(np.fft.rfft(h) / rate) ** 2 / density(f)).sum()) / seconds)
    return h * (of.snr / rho)


def strain(seed: int, rate: float, seconds: float, *bursts: Burst) -> np.ndarray:
    return noise(seed, rate, seconds) + sum(burst(rate, seconds, of) for of in bursts)


def matches(rows: list[dict], start: float, of: Burst) -> list[dict]:
    """The triggers that are this burst's: in time, frequency and SNR."""
    return [
        row
        for row in rows
        if abs(row["t_peak"] - start - of.at) < 0.01 + 1 / of.frequency
        and abs(row["f_peak"] / of.frequency - 1) < 0.2
        and abs(row["snr"] - of.snr) < 0.08 * of.snr + 3
    ]
