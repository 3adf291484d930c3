"""What may be a sample: when, how large, how many. All forms of the wire keep to it."""

from __future__ import annotations

from typing import Final

from opintel.finding import NS

MAX_BYTES: Final = 16 << 20
"""Bytes of a message."""
MAX_RECORDS: Final = 100_000
"""Samples of one message."""
LARGEST: Final = 1e30
"""What is larger counts as no value: profiles are kept in single precision."""
MAX_KEY: Final = 1024
"""Characters of a row's key."""
MAX_LABELS: Final = 64
EARLIEST: Final = 946_684_800 * NS
LATEST: Final = 4_102_444_800 * NS
"""2000 to 2100: times outside are no times."""
UNITS: Final = (NS, 10**6, 10**3, 1)
"""ns in a second, ms, us, ns: which one a number counts in shows in its size."""
