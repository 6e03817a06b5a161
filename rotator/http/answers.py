"""Answers and refusals: what is written, with which status, and with which headers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from rotator.errors import (
    AuditUnavailable,
    Busy,
    Held,
    InvalidInput,
    JournalUnavailable,
    NeedsAttention,
    RateLimited,
    Refused,
    RotatorError,
    Unreachable,
    sentences,
)
from rotator.secret import scrub

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise."""

_RETRY_SECONDS: Final = 5.0


class Problem(Exception):
    """A request that is refused, and how."""

    def __init__(
        self,
        status: int,
        code: str,
        happened: str,
        then: str = "",
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
        challenges: tuple[str, ...] = (),
    ) -> None:
        super().__init__(happened)
        self.status = status
        self.code = code
        self.happened = happened
        self.then = then
        self.remedy = remedy
        self.headers = dict(headers or {})
        self.challenges = challenges

    def answer(self, *, as_json: bool) -> Response:
        """JSON for programs, one paragraph for people."""
        if as_json:
            error = {"code": self.code, "happened": self.happened, "then": self.then, "remedy": self.remedy}
            found = json_answer({"error": error}, self.status)
        else:
            found = text_answer(sentences(self.happened, self.then, self.remedy) + "\n", self.status)
        found.headers.update(self.headers)
        for challenge in self.challenges:
            found.headers.append("WWW-Authenticate", challenge)
        return found


def json_answer(content: Any, status: int = 200) -> Response:
    """The same JSON that the commands print, scrubbed as a whole."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(scrub(text), status, media_type="application/json")


def text_answer(text: str, status: int = 200) -> Response:
    """Plain text, scrubbed."""
    return Response(scrub(text).encode("utf-8", "replace"), status, media_type="text/plain; charset=utf-8")


def retry_after(seconds: float) -> dict[str, str]:
    """Whole seconds, at least one."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def refusal(error: RotatorError) -> Problem:
    """What an error of the board means over HTTP."""
    status, headers = 500, {}
    if isinstance(error, JournalUnavailable | AuditUnavailable | Unreachable):
        seconds = error.retry_after if isinstance(error, RateLimited) else _RETRY_SECONDS
        status, headers = 503, retry_after(seconds)
    elif isinstance(error, InvalidInput):
        status = 404
    elif isinstance(error, Held | Busy | Refused | NeedsAttention):
        status = 409
    return Problem(status, error.code, error.happened, error.then, error.remedy, headers)


def overloaded() -> Problem:
    """Too many requests wait for the board already."""
    return Problem(
        503,
        "overloaded",
        "Too many requests wait already",
        "Nothing was done",
        "Try again",
        retry_after(_RETRY_SECONDS),
    )


def too_slow(then: str) -> Problem:
    """The board did not answer in time."""
    return Problem(
        503,
        "too-slow",
        "The daemon did not answer in time",
        then,
        "Look at its log",
        retry_after(_RETRY_SECONDS),
    )


def internal() -> Problem:
    """Nothing about the cause: that is in the log."""
    return Problem(
        500,
        "internal",
        "Something went wrong that should not",
        "What was begun is in the journal",
        "The log of the daemon tells more",
    )
