"""Lettermint's refusals as the port's errors, with what the reader may do about each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rotator.errors import (
    CredentialRejected,
    InvalidInput,
    RateLimited,
    Refused,
    RotatorError,
    UnclearOutcome,
    Unreachable,
)
from rotator.http_client import Answer
from rotator.provider import answers
from rotator.provider.base import SendConflict, SendRejected

ABILITIES: Final[Mapping[str, str]] = {
    "routes": "read:routes",
    "route": "read:routes",
    "domains": "read:domains",
    "domain": "read:domains",
    "change-project": "write:projects",
    "create-route": "write:routes",
    "change-route": "write:routes",
    "attach-domain": "write:domains",
}
"""What a call takes, where that is not one of the two below (table in the vendor's page on team tokens)."""
_USUAL_ABILITIES: Final = "Reading needs its ability read:projects, rotating write:projects"


def because(answer: Answer) -> str:
    """The reason the answer gives, ready to follow its status in a message."""
    said = answers.complaint(answer)
    return f": {said}" if said else ""


def unclear(happened: str) -> UnclearOutcome:
    """For a rotate-token call that may have been executed without showing us its token."""
    return UnclearOutcome(
        happened,
        then="The token may have been rotated; the answer that would have shown it is lost",
        remedy="`rotator run` or `rotator reconcile` looks at the evidence and goes on safely.",
    )


def unreadable(call: str, answer: Answer) -> Unreachable:
    """For a 200 to a read whose body is not what it should be."""
    return Unreachable(
        f"Lettermint answered {answer.status} to {call} with something other than its documentation says",
        then="Nothing was changed",
        remedy="Check that LETTERMINT_API_URL names the API and no proxy answers in its place.",
    )


def rate_limited(call: str, answer: Answer, now: datetime, then: str) -> RateLimited:
    """For a 429. `now` serves an answer that has no `Date`."""
    wait = answers.rate_notice(answer, now).retry_after or answers.DEFAULT_WAIT
    return RateLimited(
        f"Lettermint refused {call} for its rate (429{because(answer)})",
        retry_after=wait,
        then=f"{then}; there is room again in {wait:.0f} s",
    )


def team_refusal(call: str, answer: Answer, now: datetime, then: str) -> RotatorError | None:
    """The error for an answer that certainly means "not executed", whatever the call; else None."""
    if answer.status == 401:
        return CredentialRejected(
            f"Lettermint refused the team token at {call} (401{because(answer)})",
            then=then,
            remedy="Put a valid team token into LETTERMINT_TEAM_TOKEN or the file it is read from.",
        )
    if answer.status == 403:
        needed = ABILITIES.get(call)
        needs = f"It needs its ability {needed}" if needed else _USUAL_ABILITIES
        return CredentialRejected(
            f"Lettermint does not allow {call} to this team token (403{because(answer)})",
            then=then,
            remedy=f"{needs}; an IP restriction of the token, or a proxy on the way, may also be the cause.",
        )
    if answer.status == 429:
        return rate_limited(call, answer, now, then)
    # 303 means "done, look there", so it is no refusal; the others send the request elsewhere undone.
    if answer.status in (301, 302, 307, 308):
        return Refused(
            f"Lettermint answered {call} with a redirect ({answer.status}), which is never followed",
            then=f"{then}; the team token was not sent on",
            remedy="Check LETTERMINT_API_URL, and whether a proxy asks for a login.",
        )
    return None


def send_refusal(answer: Answer) -> SendRejected | None:
    """The error for a test send that was understood and not taken."""
    if answer.status == 409:
        return SendConflict(
            f"Lettermint is still at the first test send of this check (409{because(answer)})",
            then="That one counts; this repetition was not taken",
            remedy="Try again in a moment.",
        )
    if answer.status in (400, 422):
        return SendRejected(
            f"Lettermint did not take the test send ({answer.status}{because(answer)})",
            then="Nothing was sent",
            remedy="Check that the sender's domain is verified and attached to the project, and the "
            "team's sending limits.",
        )
    return None


def not_the_api(answer: Answer) -> InvalidInput | None:
    """The error for an answer that only something other than the API gives to a call it always has."""
    if answer.status not in (301, 302, 303, 307, 308, 404, 405, 410):
        return None
    return InvalidInput(
        f"What answers at LETTERMINT_API_URL is not Lettermint's API: it said {answer.status}",
        then="Nothing was changed",
        remedy="Set LETTERMINT_API_URL to the API's address with its path, such as "
        "https://api.lettermint.co/v1, and check whether a proxy asks for a login.",
    )


def repeatable(call: str, answer: Answer, now: datetime) -> Unreachable:
    """The error for an answer that does not help, to a call that may be repeated."""
    if answer.status == 429:
        return rate_limited(call, answer, now, "Nothing was changed")
    return Unreachable(
        f"Lettermint answered {answer.status} to {call}{because(answer)}",
        then="It is safe to try again",
        remedy="If it stays, check LETTERMINT_API_URL and Lettermint's status page.",
    )
