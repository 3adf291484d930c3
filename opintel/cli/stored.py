"""What the commands that read the store share: their options, opening it, printing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.store.database import Store

Json = list[dict[str, Any]]
T = TypeVar("T")
LATE_SHARE = 0.05
"""Share of late rows above which an input is not what it should be."""
MANY_LATE = 3
"""Exit code where it is."""
data_option = click.option(
    "--data",
    default=Path("opintel-data"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where state lives.",
)
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Folder with streams/ and alerts/ (default: OPINTEL_CONFIG, else the shipped ones).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def show(
    data: Path,
    config: Path | None,
    name: str,
    query: Callable[[Store], Json],
    print_all: Callable[[Json], None],
    as_json: bool,
) -> None:
    """Prints what `query` gives of the site's store, as a table or as {name: […]}."""
    found = stored(data, config, query)
    if as_json:
        print_json({name: found})
    elif found:
        print_all(found)
    else:
        click.echo(f"no {name}")


def stored(data: Path, config: Path | None, query: Callable[[Store], T]) -> T:
    """What `query` gives of the site's store. Raises UserError where there is none or it cannot be read."""
    import msgspec
    from sqlalchemy.exc import SQLAlchemyError

    from opintel.site.load import load_site
    from opintel.store.database import open_store, sqlite_url

    url, path = load_site(config).settings.store, data / "store.db"
    if url is None and not path.exists():
        raise UserError(f"{path}: no store there; `opintel run --data {data}` makes one")
    try:
        store = open_store(url or sqlite_url(path))
        try:
            return query(store)
        finally:
            store.close()
    except (SQLAlchemyError, RuntimeError, UnicodeDecodeError, TypeError, msgspec.MsgspecError) as error:
        reason = str(getattr(error, "orig", None) or error)
        where = path if url is None else "the store that site.yaml names"
        raise UserError(f"{where}: cannot be read ({' '.join(reason.split())[:200]})") from error


def late_warning(stream: str, late: int, rows: int) -> str:
    """What to say where more rows were late than can be chance, else ''."""
    if late <= LATE_SHARE * rows:
        return ""
    return (
        f"{late} of {rows} rows of {stream} came too late and were NOT judged: their windows were closed "
        "before by rows with later times; are the rows of each file in order of time?"
    )


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
