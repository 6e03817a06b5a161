"""What Lettermint's answers mean: pure functions from an answer to facts.

Tolerant where the vendor's sources disagree (an object bare or in `{"data": …}`, four shapes of
errors), strict where it matters (a new token must look like one). Foreign text leaves only from the
documented error fields, without control characters, scrubbed, and cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from rotator.http_client import Answer
from rotator.model import ProjectFacts, ProjectSetup
from rotator.provider.base import Minted, TeamFacts
from rotator.secret import Secret, scrub

QUOTE_LIMIT: Final = 200
"""Characters of foreign text in one message of ours."""
LONGEST_WAIT: Final = 3600.0
"""Seconds; a nonsense `Retry-After` must not freeze rotations for years."""
DEFAULT_WAIT: Final = 60.0
"""Seconds to wait after a 429 that does not say how long: the window of every documented limit."""

LEAST_WAIT: Final = 1.0
"""Seconds after a 429, even if it says 0 or its window has just ended."""

INBOUND: Final = "inbound"
"""The type of a route that receives."""

_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "cf-ray")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/=+-]{1,128}")
_EVIDENCE: Final = ("token_generated_at", "token_last_used_at")
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a0-\u024f\u2010-\u2026]+")


@dataclass(frozen=True)
class RateNotice:
    """What an answer says about the rate, in seconds from now."""

    remaining: int | None
    resets_in: float | None
    retry_after: float | None


@dataclass(frozen=True)
class Page:
    """One page of a list: its items, each with an id, and the cursor of the next one."""

    items: tuple[Mapping[str, Any], ...]
    next_cursor: str | None


def rate_notice(answer: Answer, now: datetime) -> RateNotice:
    """Reads `X-RateLimit-*` (Team API reference) and, on 429 and 5xx, `Retry-After` (vendor SDKs), as
    seconds or as an HTTP date.

    Moments are compared with the answer's own `Date` where it has one, so that a clock of ours that is
    wrong does not matter. A 429 without `Retry-After` waits for the reset of its window.
    """
    reference = _http_date(answer.headers.get("date")) or now
    resets_at = _whole_number(answer.headers.get("x-ratelimit-reset"))
    # Whatever the two clocks say, a window that is documented as a minute ends within one.
    resets_in = None if resets_at is None else min(_bounded(resets_at - reference.timestamp()), DEFAULT_WAIT)
    retry_after: float | None = None
    if answer.status == 429 or answer.status >= 500:
        given = answer.headers.get("retry-after", "").strip()
        seconds, moment = _whole_number(given), _http_date(given)
        if seconds is not None:
            retry_after = _bounded(seconds)
        elif moment is not None:
            retry_after = _bounded((moment - reference).total_seconds())
        elif answer.status == 429:
            retry_after = DEFAULT_WAIT if resets_in is None else resets_in
    if retry_after is not None and answer.status == 429:
        retry_after = max(retry_after, LEAST_WAIT)
    return RateNotice(_whole_number(answer.headers.get("x-ratelimit-remaining")), resets_in, retry_after)


def clock_ahead(answer: Answer, now: datetime) -> float | None:
    """Seconds by which the answer's `Date` is ahead of our clock, which shows `now`. `Date` has whole
    seconds and was written somewhere in the course of the call: what these two explain counts as none."""
    told = _http_date(answer.headers.get("date"))
    if told is None:
        return None
    ahead = (told - now).total_seconds()
    explained = (-answer.seconds - 1.0, 0.0)
    return ahead - min(max(ahead, explained[0]), explained[1])


def team_facts(answer: Answer) -> TeamFacts | None:
    """TeamData of `GET /team` and the limits that came with it; None when it is not readable as that."""
    data = unwrapped(answer) if answer.status == 200 else {}
    if data is None or (answer.status == 200 and _text(data, "id") is None):
        return None
    limit, remaining = (
        _whole_number(answer.headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining")
    )
    name = _UNPRINTABLE.sub(" ", scrub(_text(data, "name") or ""))[:QUOTE_LIMIT].strip()
    return TeamFacts(name or None, limit, remaining)


def request_id(answer: Answer) -> str:
    """The first request id the answer carries, as `header=value`, or nothing. No header is documented
    (Team API use cases advise to store request ids), so the three usual ones are looked for."""
    for name in _REQUEST_ID_HEADERS:
        value = answer.headers.get(name, "")
        if _REQUEST_ID.fullmatch(value):
            return f"{name}={scrub(value)}"
    return ""


def complaint(answer: Answer) -> str:
    """The reason an error answer gives, for quoting in a message; empty when it gives none we know.

    Shapes (SDK 3.2.0): `{"error": {"code", "message"}}`, `{"message"}`, `{"message", "errors": {…}}`,
    `{"error": "Code"}`.
    """
    content = json_object(answer)
    if content is None:
        return ""
    error = content.get("error")
    nested = error if isinstance(error, dict) else {}
    code = nested.get("code") if nested else error
    said: list[str] = []
    if isinstance(code, str) and _CODE.fullmatch(code):
        said.append(code)
    message = nested.get("message") or content.get("message")
    if isinstance(message, str):
        said.append(message)
    errors = content.get("errors")
    if isinstance(errors, dict):
        for name, reasons in errors.items():
            first = reasons[0] if isinstance(reasons, list) and reasons else reasons
            if isinstance(first, str) and first != message and _CODE.fullmatch(name):
                said.append(f"{name}: {first}")
    text = _UNPRINTABLE.sub(
        " ", scrub(": ".join(said[:2]) + "".join(f"; {more}" for more in said[2:]))
    ).strip()
    return text if len(text) <= QUOTE_LIMIT else f"{text[: QUOTE_LIMIT - 1]}…"


def json_object(answer: Answer) -> Mapping[str, Any] | None:
    """The body as a JSON object, or None when it is anything else."""
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def unwrapped(answer: Answer) -> Mapping[str, Any] | None:
    """The object of an answer, bare or in `{"data": {…}}`: the vendor's sources have both."""
    content = json_object(answer)
    if content is not None and isinstance(content.get("data"), dict):
        inner: Mapping[str, Any] = content["data"]
        return inner
    return content


def project_facts(answer: Answer) -> ProjectFacts | None:
    """ProjectData of `GET /projects/{id}`; None when it is not readable as that."""
    data = unwrapped(answer)
    if data is None or not isinstance(data.get("id"), str) or not data["id"]:
        return None
    # Evidence rests on these two: a field that is missing must not pass for "never".
    if not all(name in data and isinstance(data[name], str | None) for name in _EVIDENCE):
        return None
    return ProjectFacts(
        id=data["id"],
        name=_text(data, "name") or "",
        smtp_enabled=data.get("smtp_enabled") is True,
        delivery_mode=_text(data, "delivery_mode") or "",
        default_route=_text(data, "default_route_id"),
        token_generated_at=_text(data, "token_generated_at"),
        token_last_used_at=_text(data, "token_last_used_at"),
        token_last_used_ip=_text(data, "token_last_used_ip"),
    )


def minted(answer: Answer) -> Minted | None:
    """The new token of `rotate-token`; None unless there is one of the right shape. `message` differs
    between the vendor's versions and is not read."""
    content = json_object(answer)
    value = None if content is None else content.get("new_token")
    if content is None or not isinstance(value, str):
        return None
    token = Secret(value)
    if not token.is_project_token:
        return None
    data = content.get("data")
    return Minted(token, _text(data, "token_generated_at") if isinstance(data, dict) else None)


def page(answer: Answer) -> Page | None:
    """One page of a list; None when it is not readable as that."""
    content = json_object(answer)
    items = None if content is None else content.get("data")
    if content is None or not isinstance(items, list):
        return None
    whole = [item for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
    cursor = content.get("next_cursor")
    if len(whole) != len(items) or not (cursor is None or isinstance(cursor, str)):
        return None
    return Page(tuple(whole), cursor or None)


def project_setup(
    facts: ProjectFacts, *, routes: Sequence[Mapping[str, Any]], domains: Iterable[Mapping[str, Any]]
) -> ProjectSetup:
    """What consumers of a project feel. A route is known to them by its slug, a domain by its name. Nobody
    sends through an inbound route, and its address stays in its project whichever token is current."""
    default = next((_text(one, "slug") for one in routes if one.get("id") == facts.default_route), None)
    return ProjectSetup(
        id=facts.id,
        smtp_enabled=facts.smtp_enabled,
        delivery_mode=facts.delivery_mode,
        default_route=default,
        domains=_all(domains, "domain"),
        routes=_all((one for one in routes if one.get("route_type") != INBOUND), "slug"),
    )


def _all(items: Iterable[Mapping[str, Any]], name: str) -> frozenset[str]:
    return frozenset(value for one in items if (value := _text(one, name)))


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) else None


def _whole_number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
