"""Reads the one body that this API takes: `{"reason": str}`, small, in time, and without ambiguity."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NoReturn

from starlette.requests import ClientDisconnect, Request

from rotator.http.answers import Problem
from rotator.secret import scrub

BODY_LIMIT: Final = 4096
READ_SECONDS: Final = 5.0
REASON_LIMIT: Final = 500
_CLOSE: Final = {"Connection": "close"}
_ACCEPTED: Final = 'Send {"reason": "why"} as application/json'


async def reason_of(request: Request) -> str:
    """The reason, scrubbed: somebody may have pasted the leaked token into it. Raises Problem."""
    _check_type(request)
    value = _parsed(await _read(request))
    if not isinstance(value, dict) or set(value) != {"reason"} or not isinstance(value["reason"], str):
        raise _bad('The body is not an object with "reason" and nothing else')
    reason = value["reason"].strip()
    if not 1 <= len(reason) <= REASON_LIMIT or not reason.isprintable():
        raise _bad(f"The reason must be one line of 1 to {REASON_LIMIT} printable characters")
    return scrub(reason)


def _check_type(request: Request) -> None:
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.replace(" ", "").replace('"', "").lower()
    plain = request.headers.get("content-encoding", "identity").lower() == "identity"
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8") or not plain:
        raise Problem(
            415,
            "content-type",
            "The body is not plain application/json",
            "Nothing was done",
            _ACCEPTED,
            _CLOSE,
        )


async def _read(request: Request) -> bytes:
    too_large = Problem(
        413, "too-large", f"The body is larger than {BODY_LIMIT} bytes", "Nothing was done", _ACCEPTED, _CLOSE
    )
    # The HTTP library has checked that it is a number.
    length = request.headers.get("content-length", "0")
    if len(length) > 10 or int(length) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_LIMIT:
                    raise too_large
    except TimeoutError:
        raise Problem(
            408,
            "too-slow",
            f"The body did not come within {READ_SECONDS:g} s",
            "Nothing was done",
            "",
            _CLOSE,
        ) from None
    except ClientDisconnect:
        raise _bad("The body ended before it was complete") from None
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_not_json
        )
    except UnicodeDecodeError:
        raise _bad("The body is not UTF-8") from None
    except (ValueError, RecursionError):
        raise _bad("The body is not JSON, or names a field twice") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of the same bytes may take different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _not_json(_name: str) -> NoReturn:
    """NaN and Infinity, which only Python takes for JSON."""
    raise ValueError


def _bad(happened: str) -> Problem:
    return Problem(400, "body", happened, "Nothing was done", _ACCEPTED)
