"""What operators do in the console: forms that end in `opintel.alerts.actions`, log-in, and who they are.

Every POST has passed `security.Guard` (same origin, token) and carries this process's form key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from opintel.alerts import actions
from opintel.alerts.ticket import clean
from opintel.console.pages import Pages
from opintel.console.render import NOBODY, OPERATOR, Renderer, operator
from opintel.console.security import SESSION, SESSION_SECONDS, Credentials, local_path
from opintel.finding import parse_rfc3339
from opintel.store import Store

FORM_LIMIT = 16 * 1024
REMEMBERED = 365 * 86_400
Form = dict[str, str]
Action = Callable[[Store, str, str, int, Form], str]
Endpoint = Callable[[Request], Awaitable[Response]]


def acting(store: Store, pages: Pages, keys: Credentials, now: Callable[[], int]) -> Endpoint:
    """`POST /incidents/{id}/{action}`: htmx gets the changed parts of the page, a plain form is sent back to it."""

    async def act(request: Request) -> Response:
        form = await read_form(request, keys)
        action = ACTIONS.get(request.path_params["action"])
        if action is None:
            raise HTTPException(404, "There is no such action.")
        return await run_in_threadpool(perform, request, action, form)

    def perform(request: Request, action: Action, form: Form) -> Response:
        notice = refused = ""
        try:
            notice = action(store, request.path_params["id"], operator(request), now(), form)
        except actions.Refused as error:
            refused = f"Not done: {error}."
        if "hx-request" in request.headers:
            return pages.incident_parts(request, "", notice, refused)
        if refused:
            return pages.incident_page(request, refused)
        return RedirectResponse(f"/incidents/{quote(request.path_params['id'], safe='')}", 303)

    return act


def naming(keys: Credentials) -> Endpoint:
    """`POST /operator`: remembers the operator's name in a cookie."""

    async def name(request: Request) -> Response:
        form = await read_form(request, keys)
        answer = RedirectResponse(local_path(form.get("next", "/")), 303)
        who = quote(clean(form.get("by", ""), 80) or NOBODY)
        set_cookie(request, answer, OPERATOR, who, REMEMBERED)
        return answer

    return name


def logging_in(renderer: Renderer, keys: Credentials) -> Endpoint:
    """`/login`: a page that asks for the token, and the cookie for one who has it."""

    async def log_in(request: Request) -> Response:
        wanted = local_path(request.query_params.get("next", "/"))
        if not keys.guarded:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return renderer.page(request, "login.html", next=wanted, wrong=False)
        form = await read_form(request, keys)
        wanted = local_path(form.get("next", "/"))
        if not keys.is_token(form.get("token", "").strip()):
            return renderer.page(request, "login.html", 401, next=wanted, wrong=True)
        answer = RedirectResponse(wanted, 303)
        set_cookie(request, answer, SESSION, keys.session(), SESSION_SECONDS)
        return answer

    return log_in


def logging_out(keys: Credentials) -> Endpoint:
    """`POST /logout`."""

    async def log_out(request: Request) -> Response:
        await read_form(request, keys)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(SESSION)
        return answer

    return log_out


def set_cookie(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
    """A cookie for this console alone."""
    secure = request.url.scheme == "https"
    answer.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=secure)


async def read_form(request: Request, keys: Credentials) -> Form:
    """The fields of a form, at most `FORM_LIMIT` bytes. Raises HTTPException where it is not one of ours."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_LIMIT:
            raise HTTPException(413, "This form is too large.")
    try:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20, errors="strict"))
    except ValueError as error:
        raise HTTPException(400, "This is not a form.") from error
    if not keys.is_form_key(form.get("key", "")):
        raise HTTPException(403, "This page is from before the console's restart; reload it and do it again.")
    return form


def _acknowledge(store: Store, id: str, by: str, now: int, form: Form) -> str:
    actions.acknowledge(store, id, by, now=now)
    return f"Acknowledged: {by} looks after it."


def _mitigate(store: Store, id: str, by: str, now: int, form: Form) -> str:
    actions.mitigate(store, id, by, now=now)
    return "Mitigated: it opens again if it comes back."


def _close(store: Store, id: str, by: str, now: int, form: Form) -> str:
    actions.close(store, id, by, now=now)
    return "Closed."


def _confirm(store: Store, id: str, by: str, now: int, form: Form) -> str:
    actions.confirm(store, id, by, now=now, text=form.get("note", ""))
    return "Confirmed as a true alarm; such alarms keep or regain their full budget."


def _false_alarm(store: Store, id: str, by: str, now: int, form: Form) -> str:
    actions.false_alarm(store, id, by, now=now, text=form.get("note", ""))
    return "Marked as a false alarm and closed; such alarms now have half the budget."


def _known_until(store: Store, id: str, by: str, now: int, form: Form) -> str:
    given = form.get("until", "")
    try:
        until = parse_rfc3339(f"{given}:00Z" if len(given) == 16 else f"{given}Z")
    except ValueError as error:
        raise actions.Refused("until when? Give a day and a time, UTC") from error
    actions.known_until(store, id, until, by, now=now)
    return f"Known until {given.replace('T', ' ')} UTC; no ticket is sent about it before."


def _send_ticket(store: Store, id: str, by: str, now: int, form: Form) -> str:
    actions.send_ticket(store, id, form.get("sink", ""), by, now=now)
    return f"The ticket is on its way to {form.get('sink', '')}."


def _retry_ticket(store: Store, id: str, by: str, now: int, form: Form) -> str:
    sink = form.get("sink", "")
    retried = actions.retry_tickets(store, by, now=now, incident=id, sink=sink)
    if not retried:
        raise actions.Refused(f"no message to {clean(sink, 80)!r} has failed or waits")
    return f"What was not sent to {sink} is on its way again."


ACTIONS: dict[str, Action] = {
    "acknowledge": _acknowledge,
    "mitigate": _mitigate,
    "close": _close,
    "confirm": _confirm,
    "false-alarm": _false_alarm,
    "known-until": _known_until,
    "send-ticket": _send_ticket,
    "retry-ticket": _retry_ticket,
}
