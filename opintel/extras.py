"""What to say where an optional library is not installed. opintel is on no package index: its name would not do."""

from __future__ import annotations


def install(extra: str) -> str:
    """The line that installs an extra: in a checkout, and from a wheel."""
    return (
        f"pip install -e '.[{extra}]' in a checkout, or pip install 'WHEEL[{extra}]' with the path of opintel's wheel"
    )
