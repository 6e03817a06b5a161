"""The endpoints (design 3.4). Whatever happens, an answer is scrubbed, headed and without details."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rotator.clock import Clock, SystemClock
from rotator.errors import RotatorError
from rotator.http import answers
from rotator.http.answers import Problem, json_answer, text_answer
from rotator.http.base import Board
from rotator.http.body import reason_of
from rotator.http.guard import Guard, caller
from rotator.http.metrics import Metrics, Scene
from rotator.http.pages import overview
from rotator.http.pages import policy as policy_page
from rotator.http.workers import Overloaded, Workers
from rotator.secret import Secret
from rotator.views import rotations_view, status_view

log = logging.getLogger(__name__)
T = TypeVar("T")

DEFAULT_ROTATIONS: Final = 50
MOST_ROTATIONS: Final = 500
READY_SECONDS: Final = 2.0
SCRAPE_SECONDS: Final = 5.0
API_SECONDS: Final = 15.0
_POLICY: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def make_app(
    board: Board,
    metrics: Metrics,
    api_token: Callable[[], Secret] | None,
    *,
    open_to_network: bool,
    clock: Clock | None = None,
) -> Starlette:
    """The application. `open_to_network`: it listens where other machines can reach it, so that the status
    page and the API need the token for reading too."""
    clock = clock or SystemClock()
    guard = Guard(api_token, clock, open_to_network=open_to_network)
    endpoints = _Endpoints(board, metrics, guard, clock)
    app = Starlette(
        routes=[
            Route("/healthz", endpoints.healthz),
            Route("/readyz", endpoints.readyz),
            Route("/metrics", endpoints.metrics),
            Route("/", endpoints.overview),
            Route("/policies/{name}", endpoints.policy),
            Route("/api/v1/status", endpoints.status),
            Route("/api/v1/rotations", endpoints.rotations),
            Route("/api/v1/policies/{name}/rotate", endpoints.rotate, methods=["POST"]),
        ],
        middleware=[Middleware(_Outermost, guard=guard)],
        exception_handlers={Problem: _problem, HTTPException: _no_such},
    )
    # It would send the client to wherever its Host header says.
    app.router.redirect_slashes = False
    return app


class _Endpoints:
    """Probes, scrapes and the API wait for the board in threads of their own."""

    def __init__(self, board: Board, metrics: Metrics, guard: Guard, clock: Clock) -> None:
        self._board = board
        self._metrics = metrics
        self._guard = guard
        self._clock = clock
        self._probes = Workers("probe", 2, 8)
        self._scrapes = Workers("scrape", 2, 4)
        # Apart from the former, whose threads a journal that hangs may keep.
        self._texts = Workers("metrics", 1, 8)
        self._calls = Workers("api", 4, 16)
        self._orders = Workers("order", 2, 8)

    async def healthz(self, _request: Request) -> Response:
        return text_answer("ok")

    async def readyz(self, _request: Request) -> Response:
        try:
            reasons = await self._probes.call(self._board.ready, READY_SECONDS)
        except (TimeoutError, Overloaded):
            reasons = ("The daemon did not say in time whether it is ready",)
        except RotatorError as error:
            reasons = (str(error),)
        return json_answer({"ready": not reasons, "reasons": list(reasons)}, 503 if reasons else 200)

    async def metrics(self, _request: Request) -> Response:
        scene: Scene | None = None
        try:
            scene = await self._scrapes.call(lambda: self._metrics.look(self._board), SCRAPE_SECONDS)
        except (TimeoutError, Overloaded):
            log.warning("metrics without the policies: the board did not answer in time")
        text = await _waited(self._texts, lambda: self._metrics.exposition(scene), API_SECONDS)
        return Response(text, headers={"Content-Type": _METRICS_TYPE})

    async def overview(self, request: Request) -> Response:
        self._guard.reader(request, in_browser=True)
        return await _waited(
            self._calls,
            lambda: overview.answer(self._board.statuses(), self._clock.now()),
            API_SECONDS,
        )

    async def policy(self, request: Request) -> Response:
        self._guard.reader(request, in_browser=True)
        return await _waited(self._calls, lambda: self._policy(request.path_params["name"]), API_SECONDS)

    def _policy(self, name: str) -> Response:
        known = bool(_POLICY.fullmatch(name))
        one = self._board.status(name) if known else None
        rotations = self._board.rotations(name, policy_page.ROTATIONS) if known else []
        if one is None and not rotations:
            raise Problem(
                404, "not-found", "There is no policy of that name, and there never was", "", "Look at /"
            )
        return policy_page.answer(name, one, rotations, self._clock.now())

    async def status(self, request: Request) -> Response:
        self._guard.reader(request, in_browser=False)
        _parameters(request)
        return await _waited(
            self._calls, lambda: json_answer(status_view(self._board.statuses())), API_SECONDS
        )

    async def rotations(self, request: Request) -> Response:
        self._guard.reader(request, in_browser=False)
        asked = _parameters(request, "policy", "limit")
        limit = _limit(asked.get("limit", ""))
        policy = asked.get("policy") or None
        return await _waited(
            self._calls,
            lambda: json_answer(rotations_view(self._board.rotations(policy, limit))),
            API_SECONDS,
        )

    async def rotate(self, request: Request) -> Response:
        self._guard.writer(request)
        name = request.path_params["name"]
        reason = await reason_of(request)
        if not _POLICY.fullmatch(name):
            raise Problem(404, "invalid-input", "There is no such policy", "Nothing was done")
        address = caller(request)
        rotation = await _waited(
            self._orders,
            lambda: self._board.request(name, reason, address),
            API_SECONDS,
            late="It may have been taken nevertheless: GET /api/v1/rotations tells",
        )
        return json_answer({"rotation": rotation}, 202)


async def _waited(
    workers: Workers, work: Callable[[], T], seconds: float, *, late: str = "Nothing was changed"
) -> T:
    try:
        return await workers.call(work, seconds)
    except Overloaded:
        raise answers.overloaded() from None
    except TimeoutError:
        raise answers.too_slow(late) from None
    except RotatorError as error:
        raise answers.refusal(error) from error


def _parameters(request: Request, *accepted: str) -> dict[str, str]:
    """What the query says; a name that is unknown or comes twice is refused."""
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    if len(found) != len(pairs) or not set(found) <= set(accepted):
        names = ", ".join(accepted) or "none"
        raise Problem(
            400, "query", "The query has an unknown parameter, or one twice", "", f"Accepted: {names}"
        )
    return found


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_ROTATIONS
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_ROTATIONS:
        raise Problem(
            400, "query", "The limit is not accepted", "", f"A whole number from 1 to {MOST_ROTATIONS}"
        )
    return int(text)


def _as_json(scope: Scope) -> bool:
    return bool(scope["path"] == "/api" or scope["path"].startswith("/api/"))


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.answer(as_json=_as_json(request.scope))


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    method = error.status_code == 405
    problem = Problem(
        error.status_code,
        "method" if method else "not-found",
        "This address does not take that method" if method else "There is nothing at this address",
        headers=error.headers,
    )
    return problem.answer(as_json=_as_json(request.scope))


class _Outermost:
    """Checks size and Host, adds the security headers, and turns what nobody expected into a bare 500."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun = False

        async def headed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in answers.SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._guarded(scope, receive, headed)
        except Exception:
            # Not the path: it may hold whatever somebody pasted.
            log.exception("a request ended in an error")
            if begun:
                raise
            await answers.internal().answer(as_json=_as_json(scope))(scope, receive, headed)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._guard.size(Request(scope))
            self._guard.host(Request(scope))
        except Problem as problem:
            await problem.answer(as_json=_as_json(scope))(scope, receive, send)
            return
        await self._app(scope, receive, send)
