"""Numbers with their units, for people: in tickets, on the console's pages, for screen readers."""

from __future__ import annotations

_SIZES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def quantity(value: float, unit: str) -> str:
    """A value with its unit; shares in percent.

    >>> quantity(0.734, "failed share"), quantity(14.13, "times slower"), quantity(61230, "files")
    ('73 % failed', '14.1 times slower', '61,230 files')
    >>> quantity(11.61e12, "B")
    '11.6 TB'
    """
    if unit == "share" or unit.endswith(" share"):
        return f"{percent(value)} {unit.removesuffix('share').strip()}".rstrip()
    if unit in ("B", "B/s"):
        size, prefixed = next(((s, u) for s, u in _SIZES if abs(value) >= s), (1.0, "B"))
        return f"{value / size:.3g} {prefixed}{unit[1:]}"
    return f"{number(value)} {unit}".rstrip()


def percent(share: float) -> str:
    """A share; two digits below 10 %."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def number(value: float | int) -> str:
    """Three significant digits, thousands grouped; whole numbers in full.

    >>> number(3), number(1234567), number(0.01234), number(1234.5)
    ('3', '1,234,567', '0.0123', '1,234')
    """
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"
