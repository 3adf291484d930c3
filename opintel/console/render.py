"""Templates: one environment that escapes everything and makes deceptive characters visible, wherever a text stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from opintel import __version__
from opintel.console import drawing, mapping, past, words
from opintel.console.names import Names
from opintel.console.security import Credentials
from opintel.quantity import number, percent, quantity

OPERATOR = "opintel_operator"
NOBODY = "operator"
FILTERS: tuple[Callable[..., Any], ...] = (
    *(quantity, percent, number, words.odds, words.cell, words.duration),
    *(words.moment, words.happened, drawing.history),
)


def environment() -> Environment:
    """What every page is rendered in."""
    made = Environment(
        loader=PackageLoader("opintel.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {one.__name__: one for one in FILTERS}
    return made


class Renderer:
    """Renders the templates of `templates/`."""

    def __init__(
        self,
        keys: Credentials,
        names: Names,
        backfills: Callable[[], Sequence[Any]],
        *,
        shifts: bool = False,
        interferometers: bool = False,
        transfers: bool = False,
    ) -> None:
        self._keys, self._backfills = keys, backfills
        self._environment = environment()
        self._environment.filters |= {one.__name__: one for one in (names.subject, names.called)}
        self._environment.globals |= {
            "share_of": drawing.share,
            "basis_words": words.BASIS,
            "scale_steps": mapping.STEPS,
            "unranked": past.UNRANKED,
            "shifts": shifts,
            "interferometers": interferometers,
            "transfers": transfers,
            "version": __version__,
        }

    def html(self, request: Request, template: str, **values: Any) -> Markup:
        """A template's text, safe to stand in another."""
        text = self._environment.get_template(template).render(
            values,
            path=request.url.path,
            form_key=self._keys.form,
            operator=operator(request),
            guarded=self._keys.guarded,
            backfills=self._backfills(),
        )
        return Markup(text)

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A template as an answer."""
        return HTMLResponse(self.html(request, template, **values), status)


def operator(request: Request) -> str:
    """Who works here, as this browser remembers."""
    return unquote(request.cookies.get(OPERATOR, ""))[:80].strip() or NOBODY


def _finalize(value: Any) -> Any:
    return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
