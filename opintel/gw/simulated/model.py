"""What a simulated interferometer is made of: its channels, how they couple into the strain, and how often they glitch.

Two sizes: `SMALL` for the demo, `LARGE` for benchmarks and evaluation. Names are in the style of LIGO's, without the
interferometer in front. Strain is reckoned in units of 1e-21, in which single precision holds it and its squares.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from opintel.gw.simulated.motion import Sine
from opintel.gw.simulated.noise import Density, power_law

STRAIN = "GDS-CALIB_STRAIN"
STATE = "DMT-DQ_VECTOR"
BITS = ("DATA", "HW_INJECTION", "LOCKED")
"""Of the state vector, the lowest first: science data, a hardware injection, the interferometer is locked."""
DATA, LOCKED = 1, 4
STATE_RATE = 16
"""Hz."""
UNIT = 1e-21
"""Strain."""
ORDER = 4
"""Of the filters by which channels couple into the strain."""


def in_units(strain: Density) -> Density:
    """A noise of strain in units of 1e-21."""
    return lambda frequency: strain(frequency) / UNIT


class SimulatedChannel(NamedTuple):
    """An auxiliary channel: noise of a power law, and what is added to it."""

    name: str
    rate: int
    unit: str = "counts"
    level: float = 1.0
    """Noise at 100 Hz, unit / sqrt(Hz)."""
    slope: float = 0.5
    """It falls as f^-slope."""
    dtype: str = "float32"
    mains: float = 0.0
    """Amplitude of 60 Hz, unit."""
    senses: str = ""
    """`alignment` or `microseism`: the motion that it senses."""
    constant: bool = False

    @property
    def density(self) -> Density:
        """Its noise."""
        return power_law(self.level, self.slope)


class Coupling(NamedTuple):
    """An auxiliary channel → strain, by a causal filter that passes a band; times the alignment where it is bilinear.

    `level`: noise of the channel in strain as a share of the strain's own, in the middle of the band.
    """

    witness: str
    band: tuple[float, float]
    """Hz."""
    level: float = 0.08
    bilinear: bool = False
    broad: bool = False
    """Whether it is one that may rise and cost range."""

    def response(self, channel: SimulatedChannel, strain: Density, rate: int) -> np.typing.NDArray[np.complex128]:
        """(channel.rate + 1,) strain (units of 1e-21, sampled at `rate`) per unit of the channel, every 0.5 Hz."""
        middle = np.array([np.sqrt(self.band[0] * self.band[1])])
        noise = channel.mains if channel.mains else float(channel.density(middle)[0])
        frequency = np.arange(channel.rate + 1) / 2.0
        return _passed(frequency, self.band, rate) * (self.level * float(strain(middle)[0]) / UNIT / noise)


def _passed(
    frequency: np.typing.NDArray[np.float64], band: tuple[float, float], rate: int
) -> np.typing.NDArray[np.complex128]:
    """The response of a digital Butterworth filter of fourth order that passes a band, all in Hz: 1 / the product of
    (x - p) over the poles p of the low-pass prototype, x = i (s^2 - a b) / (s (b - a)) with s = tan(pi f / rate), and a
    and b so of the ends of the band (S. Butterworth, Wireless Engineer 7, 536, 1930; the bilinear transform)."""
    low, high = (float(np.tan(np.pi * end / rate)) for end in band)
    s = np.tan(np.pi * frequency[frequency > 0.0] / rate)
    poles = np.exp(1j * np.pi * (2.0 * np.arange(ORDER) + ORDER + 1.0) / (2.0 * ORDER))
    x = 1j * (s * s - low * high) / (s * (high - low))
    found = np.zeros(len(frequency), dtype=np.complex128)
    found[frequency > 0.0] = 1.0 / np.prod(x[:, None] - poles, axis=1)
    return found


class Population(NamedTuple):
    """Glitches of one kind that come at random, SNR as rho^-3 from the least on."""

    kind: str
    """`witnessed` (through the channel's coupling), `whistle` (so too), `blip` (in strain alone), `innocent` (in the
    channel alone)."""
    channel: str
    """Empty for blips."""
    an_hour: float
    frequencies: tuple[float, float]
    """Hz."""
    qualities: tuple[float, float]
    least: float = 6.5
    """SNR in strain; of what is innocent, in its channel."""


class InterferometerModel(NamedTuple):
    """All of an interferometer."""

    rate: int
    """Hz, of the strain and its copies."""
    channels: tuple[SimulatedChannel, ...]
    copies: tuple[tuple[str, str, float], ...]
    """(name, unit, unit per strain) of channels that hold the strain: they carry every signal."""
    couplings: tuple[Coupling, ...]
    populations: tuple[Population, ...]
    lines: tuple[tuple[int, float], ...]
    """(hundredths of Hz, amplitude in units of the noise in 1 Hz) of lines in strain."""
    science: int
    every: int
    """s of science data; from the start of one stretch to the next."""

    def channel(self, name: str) -> SimulatedChannel:
        """The auxiliary channel of a name."""
        return next(channel for channel in self.channels if channel.name == name)

    def coupling(self, name: str) -> Coupling:
        """That of a witness."""
        return next(coupling for coupling in self.couplings if coupling.witness == name)

    def sines(self, strain: Density) -> tuple[Sine, ...]:
        """The lines in units of 1e-21."""
        frequency = np.array([hundredths / 100.0 for hundredths, _ in self.lines])
        noise = strain(frequency) / UNIT
        return tuple(
            Sine(hundredths, float(size * one)) for (hundredths, size), one in zip(self.lines, noise, strict=True)
        )


_COPIES = (
    ("OMC-DCPD_SUM_OUT_DQ", "mA", 2e19),
    ("CAL-DELTAL_EXTERNAL_DQ", "m", 4000.0),
    ("PEM-CS_ADC_5_31_2K_OUT_DQ", "counts", 5e22),  # a spare input to which somebody connected the readout
)
_MICROPHONE = "PEM-EY_MIC_VEA_MINUSX_DQ"
_PERISCOPE = "PEM-CS_ACC_PSL_PERISCOPE_X_DQ"
_MAGNETOMETER = "PEM-EX_MAG_VEA_FLOOR_X_DQ"
_MAINS = "PEM-CS_MAINSMON_EBAY_1_DQ"
_MODE_CLEANER = "IMC-F_OUT_DQ"
_POINTING = "IMC-WFS_A_DC_PIT_OUT_DQ"
_SCATTERER = "ISI-ETMX_ST2_CPS_X_DISP_DQ"
_ALIGNMENT = "ISI-ITMY_ST2_CPS_RX_DISP_DQ"
_COUNTS = "ASC-AS_B_DC_SUM_OUT_DQ"
_SEISMOMETER = "PEM-EX_SEIS_VEA_FLOOR_Z_DQ"
_CONSTANT = "TCS-ITMX_CO2_ISS_CTRL2_OUT_DQ"


def _named(rate: int) -> tuple[SimulatedChannel, ...]:
    """The channels that have a part in every story; `rate`: of the fast ones."""
    return (
        SimulatedChannel(_MICROPHONE, rate, "Pa", 1e-3),
        SimulatedChannel(_PERISCOPE, rate, "m/s^2", 2e-5, 0.3),
        SimulatedChannel(_MAGNETOMETER, min(rate, 1024), "T", 1e-12, 0.5),
        SimulatedChannel(_MODE_CLEANER, rate, "kHz", 1e-4, 0.8),
        SimulatedChannel(_POINTING, rate, "counts", 3.0, 0.4),
        SimulatedChannel(_MAINS, 256, "V", 2e-4, 0.5, mains=1.0),
        SimulatedChannel(_ALIGNMENT, 256, "urad", 1e-4, 1.0, senses="alignment"),
        SimulatedChannel(_SCATTERER, 16, "um", 1e-5, 1.0, senses="microseism"),
        SimulatedChannel(_COUNTS, 256, "counts", 120.0, 0.2, dtype="int16"),
        SimulatedChannel(_CONSTANT, 256, "V", constant=True),
    )


_COUPLINGS = (
    Coupling(_MICROPHONE, (50.0, 150.0)),
    Coupling(_PERISCOPE, (90.0, 250.0)),
    Coupling(_MAGNETOMETER, (30.0, 120.0), bilinear=True),
    Coupling(_MODE_CLEANER, (60.0, 400.0)),
    Coupling(_POINTING, (25.0, 300.0), level=0.1, broad=True),
    Coupling(_MAINS, (45.0, 80.0), level=0.3, bilinear=True),
)
_POPULATIONS = (
    Population("witnessed", _MICROPHONE, 24.0, (60.0, 130.0), (5.0, 20.0)),
    Population("witnessed", _PERISCOPE, 12.0, (110.0, 220.0), (8.0, 30.0)),
    Population("witnessed", _MAGNETOMETER, 12.0, (45.0, 90.0), (4.0, 12.0)),
    Population("whistle", _MODE_CLEANER, 12.0, (70.0, 110.0), (60.0, 90.0)),
    Population("blip", "", 30.0, (90.0, 300.0), (3.0, 6.0)),
    Population("innocent", _SEISMOMETER, 40.0, (15.0, 60.0), (5.0, 20.0), 8.0),
)
_LINES = ((3590, 15.0), (6000, 25.0))

_QUIET = (
    SimulatedChannel(_SEISMOMETER, 256, "um/s", 1e-3, 1.0),
    SimulatedChannel("HPI-ETMY_BLND_L4C_Y_IN1_DQ", 256, "nm/s", 1.0, 1.0),
    SimulatedChannel("LSC-PRCL_OUT_DQ", 1024, "counts", 5.0, 0.3),
)
SMALL = InterferometerModel(
    1024, (*_named(1024), *_QUIET), _COPIES, _COUPLINGS, _POPULATIONS, _LINES, science=160, every=3600
)
"""Strain and sixteen auxiliary channels at 16 to 1024 Hz, three of them copies; 160 s of science data every hour."""


def _many() -> tuple[SimulatedChannel, ...]:
    """A hundred channels more, in which nothing happens but what is theirs."""
    stations, optics = ("CS", "EX", "EY"), ("ITMX", "ITMY", "ETMX", "ETMY", "BS")
    sensors = ("PR3", "SR3", "ITMX", "ITMY", "BS")
    loops = ("CHARD", "DHARD", "CSOFT", "DSOFT", "MICH", "PRC2")
    channels = [
        *(
            SimulatedChannel(f"PEM-{a}_MIC_{b}_DQ", 4096, "Pa", 1e-3)
            for a, b in product(stations, ("EBAY", "VEA_PLUSY"))
        ),
        *(
            SimulatedChannel(f"PEM-{a}_ACC_{b}_{c}_DQ", 2048, "m/s^2", 2e-5, 0.3)
            for a, b, c in product(stations, ("BEAMTUBE", "FLOOR"), "XYZ")
        ),
        *(SimulatedChannel(f"PEM-{a}_MAG_EBAY_{b}_DQ", 1024, "T", 1e-12) for a, b in product(stations, "XYZ")),
        *(
            SimulatedChannel(f"PEM-{a}_SEIS_VEA_FLOOR_{b}_DQ", 256, "um/s", 1e-3, 1.0)
            for a, b in product(stations, "XYZ")
        ),
        *(
            SimulatedChannel(f"ISI-{a}_ST1_BLND_{b}_T240_CUR_IN1_DQ", 512, "nm/s", 0.1, 1.0)
            for a, b in product(optics, "XYZ")
        ),
        *(SimulatedChannel(f"HPI-{a}_BLND_L4C_{b}_IN1_DQ", 512, "nm/s", 1.0, 1.0) for a, b in product(optics, "XYZ")),
        *(SimulatedChannel(f"SUS-{a}_M1_DAMP_{b}_IN1_DQ", 256, "um", 1e-4, 1.0) for a, b in product(sensors, "LPY")),
        *(SimulatedChannel(f"ASC-{a}_{b}_OUT_DQ", 512, "counts", 1.0, 0.8) for a, b in product(loops, "PY")),
        *(SimulatedChannel(f"LSC-{a}_OUT_DQ", 2048, "counts", 5.0, 0.3) for a in ("MICH", "PRCL", "SRCL")),
        *(SimulatedChannel(f"PSL-{a}_OUT_DQ", 4096, "V", 1e-5, 0.2) for a in ("ISS_PDA_REL", "FSS_FAST_MON", "PMC_HV")),
        *(SimulatedChannel(f"TCS-{a}_HWS_PROBE_DQ", 16, "counts", 1.0, 0.0) for a in ("ITMX", "ITMY")),
        *(SimulatedChannel(f"ISI-{a}_ST2_CPS_X_DISP_DQ", 16, "um", 1e-5, 1.0) for a in ("ITMX", "ITMY", "BS")),
    ]
    return tuple(channels)


_BEAMTUBE, _HIGH, _FAST = "PEM-EY_ACC_BEAMTUBE_Z_DQ", "PSL-FSS_FAST_MON_OUT_DQ", "PSL-ISS_PDA_REL_OUT_DQ"
_FURTHER = (
    Coupling(_BEAMTUBE, (200.0, 500.0)),
    Coupling(_HIGH, (300.0, 1200.0)),
    Coupling(_FAST, (30.0, 400.0), level=0.1, broad=True),
)
_FURTHER_POPULATIONS = (
    Population("witnessed", _BEAMTUBE, 30.0, (220.0, 450.0), (5.0, 30.0)),
    Population("witnessed", _HIGH, 30.0, (350.0, 1000.0), (8.0, 50.0)),
    Population("innocent", "PEM-CS_MAG_EBAY_X_DQ", 60.0, (30.0, 300.0), (5.0, 20.0), 8.0),
    Population("innocent", "LSC-MICH_OUT_DQ", 60.0, (30.0, 500.0), (5.0, 20.0), 8.0),
)
LARGE = InterferometerModel(
    4096,
    (*_named(4096), *_many()),
    _COPIES,
    (*_COUPLINGS, *_FURTHER),
    (*_POPULATIONS, *_FURTHER_POPULATIONS),
    (*_LINES, (33190, 15.0), (50510, 40.0), (101010, 20.0)),
    science=1800,
    every=1920,
)
"""Strain at 4096 Hz and more than a hundred auxiliary channels at 16 to 4096 Hz, half hours of science data."""
