"""A site's store: opened and brought up to date, with errors that operators understand and that hold no password."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from opintel.site.errors import UserError
from opintel.site.settings import Site
from opintel.store import Store, open_store, sqlite_url


def store_of(site: Site, data: Path) -> Store:
    """The store of a site, not reached yet; `data`: the folder of the one that it has by default. Raises UserError."""
    url = site.settings.store
    try:
        return open_store(url or sqlite_url(data / "store.db"), now=False)
    except ImportError as error:
        raise UserError(f"store: {error}; `pip install {error.name or 'the driver that its URL names'}`") from error
    except (OSError, SQLAlchemyError, RuntimeError, ValueError) as error:
        try:
            where = _shown(site, data)
        except (SQLAlchemyError, ValueError):
            raise UserError("store: no URL of a database in site.yaml; `opintel check` says where") from None
        raise UserError(f"{where} cannot be used: {' '.join(str(error).split())}") from error


def prepare(store: Store, site: Site, data: Path) -> str:
    """Brings the schema up to date; a warning where the store is away for now, else ''. Raises UserError."""
    try:
        store.prepare()
    except DBAPIError as error:
        lasting = store.engine.dialect.name == "sqlite" and "locked" not in str(error.orig)
        if lasting:
            raise UserError(f"{_shown(site, data)} cannot be used: {error.orig}") from error
        return f"the store cannot be reached, beginning when it can: {error.orig}"
    except (SQLAlchemyError, RuntimeError) as error:
        raise UserError(f"{_shown(site, data)} cannot be used: {' '.join(str(error).split())}") from error
    return ""


def _shown(site: Site, data: Path) -> str:
    """Where the store is, without a password."""
    url = site.settings.store
    return make_url(url).render_as_string(hide_password=True) if url else str(data)
