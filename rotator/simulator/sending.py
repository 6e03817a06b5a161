"""Rules of `/ping`, `POST /send` and the messages that come of it."""

from __future__ import annotations

import hashlib
import json
import uuid
from email.utils import parseaddr
from typing import Any, Final

from rotator.simulator.answers import (
    HTML,
    Answer,
    Refusal,
    error,
    error_string,
    invalid,
    message,
    not_found,
)
from rotator.simulator.context import Context, choice_field, text_field
from rotator.simulator.pages import page
from rotator.simulator.records import Kept, Kind, Message, Project, Route, timestamp

TEST_DOMAIN: Final = "testing.lettermint.co"
TEST_RESULTS: Final = {
    "softbounce": "soft_bounced",
    "hardbounce": "hard_bounced",
    "spamcomplaint": "spam_complaint",
    "dsn": "failed",
}
"""What the local part of a test address brings about; any other one is delivered (vendor docs)."""
SANDBOX_RESULTS: Final = (
    *("delivered", "hard_bounced", "soft_bounced", "deferred", "failed", "suppressed", "spam_complaint"),
    *("auto_replied", "opened", "clicked", "unsubscribed"),
)
STATUS_OF: Final = {"deferred": "processed", "auto_replied": "delivered"}
"""Results that are no message status themselves."""
MAX_RECIPIENTS: Final = 50
MAX_SUBJECT: Final = 998
MIN_CONTENT: Final = 3
"""Characters of a text or HTML part, where there is one."""
MAX_KEY: Final = 255
DAY: Final = 24 * 3600.0


def ping(call: Context) -> Answer:
    """Tells that a token lives and nothing else. Whether it counts as a use is unknown, so a setting."""
    if call.world.ping_is_use and call.token.kind is not Kind.TEAM:
        call.token.used(call.now, call.request.ip)
    return Answer(200, "pong", HTML)


def send(call: Context) -> Answer:
    """Accepts one message, at most once per idempotency key and 24 hours."""
    project, body = call.world.projects[call.token.owner], call.body()
    key = call.request.headers.get("idempotency-key")
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    if key is not None:
        if not 1 <= len(key) <= MAX_KEY:
            raise Refusal(message(422, f"The Idempotency-Key must have 1 to {MAX_KEY} characters."))
        kept = project.kept.get(key)
        if kept is not None and call.now.boot < kept.expires:
            if kept.body_digest != digest or call.now.boot < kept.busy_until:
                raise Refusal(message(409, "Idempotency key conflict."))
            call.token.used(call.now, call.request.ip)
            answer: Answer = kept.answer
            return answer
    accepted = _accept(call, project, body, key)
    call.token.used(call.now, call.request.ip)
    answer = Answer(202, _receipt(accepted))
    if key is not None:
        now = call.now.boot
        project.kept[key] = Kept(digest, answer, busy_until=now + call.busy, expires=now + DAY)
    return answer


def _accept(call: Context, project: Project, body: dict[str, Any], key: str | None) -> Message:
    sender = parseaddr(text_field(body, "from", required=True) or "")[1]
    recipients = [address for name in ("to", "cc", "bcc") for address in _addresses(body, name)]
    if len(recipients) > MAX_RECIPIENTS:
        raise invalid(to=f"A message may have at most {MAX_RECIPIENTS} recipients.")
    text_field(body, "subject", required=True, maximum=MAX_SUBJECT)
    for name in ("html", "text"):
        content = text_field(body, name, required=False, maximum=25_000_000)
        if content is not None and len(content) < MIN_CONTENT:
            raise invalid(**{name: f"The {name} field must be at least {MIN_CONTENT} characters."})
    sandbox_result = choice_field(body, "sandbox_result", SANDBOX_RESULTS)
    route = _route(project, body)
    _check_sender(call, project, sender)
    _check_team(call, project, recipients)
    live = project.delivery_mode == "live"
    on_test = next((one for one in recipients if one.endswith(f"@{TEST_DOMAIN}")), None)
    result = "delivered" if live else sandbox_result or "delivered"
    if on_test is not None:
        result = TEST_RESULTS.get(on_test.split("@")[0], "delivered")
    accepted = Message(
        id=str(uuid.uuid4()),
        project=project.id,
        team=project.team,
        route=route.id,
        at=call.now,
        token=call.token.digest,
        sender=sender,
        to=tuple(recipients),
        request=body,
        delivery_mode=project.delivery_mode,
        result=result,
        billed=live and on_test is None,
        idempotency_key=key,
    )
    project.messages.append(accepted)
    call.world.messages[accepted.id] = accepted
    return accepted


def _addresses(body: dict[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if value is None and name != "to":
        return []
    if not isinstance(value, list) or (name == "to" and not value):
        raise invalid(**{name: f"The {name} field is required."})
    parsed = [parseaddr(one)[1] if isinstance(one, str) else "" for one in value]
    if not all("@" in address for address in parsed):
        raise invalid(**{name: f"The {name} field must hold valid email addresses."})
    return [address.lower() for address in parsed]


def _route(project: Project, body: dict[str, Any]) -> Route:
    slug = text_field(body, "route", required=False)
    for route in project.routes:
        if route.slug == slug or (slug is None and route.id == project.default_route_id):
            return route
    raise invalid(route="The selected route is invalid.")


def _check_sender(call: Context, project: Project, sender: str) -> None:
    if "@" not in sender:
        raise invalid(from_="The from field must be a valid email address.")
    name = sender.rpartition("@")[2].lower()
    attached = {domain.domain for domain in call.world.domains_of(project) if domain.status == "verified"}
    if name not in attached:
        raise Refusal(
            error(422, "VALIDATION_ERROR", "The from domain is not verified, or not part of this project.")
        )


def _check_team(call: Context, project: Project, recipients: list[str]) -> None:
    """An unverified team may write to its own address only; a spend limit stops live messages."""
    team = call.world.teams[project.team]
    if team.verified_at is None and any(one != team.account_email.lower() for one in recipients):
        raise Refusal(message(422, "Verify the account before sending to other addresses than its own."))
    if team.daily_limit is None or project.delivery_mode != "live":
        return
    if all(one.endswith(f"@{TEST_DOMAIN}") for one in recipients):
        return
    recent = sum(
        1
        for one in call.world.messages.values()
        if one.team == team.id and one.billed and one.at.boot + DAY > call.now.boot
    )
    if recent >= team.daily_limit:
        raise Refusal(error_string(400, "DailyLimitExceeded"))


def _receipt(accepted: Message) -> dict[str, Any]:
    """A 202 in the form of SDK 3.2.0: `sandbox` and its result are there in sandbox projects only."""
    receipt: dict[str, Any] = {"message_id": accepted.id, "status": "pending"}
    if accepted.delivery_mode == "sandbox":
        receipt |= {"sandbox": True, "sandbox_result": accepted.result}
    return receipt


# --- messages, as the team sees them --------------------------------------------------------------


def _message(call: Context) -> Message:
    found = call.world.messages.get(call.ids["message"])
    if found is None or found.team != call.team:
        raise not_found()
    return found


def show_message(call: Context) -> Answer:
    """`MessageData` of SDK 3.2.0. Its `route_id` is the way from a message to its project."""
    found = _message(call)
    request, sandbox = found.request, found.delivery_mode == "sandbox"
    result = found.result if sandbox else None
    name = parseaddr(request["from"])[0]
    data = {
        "id": found.id,
        "type": "outbound",
        "status": STATUS_OF.get(found.result, found.result),
        "delivery_mode": found.delivery_mode,
        "sandbox_result": result,
        "status_changed_at": timestamp(found.at.wall),
        "scheduled_at": None,
        "tag": request.get("tag"),
        "tags": request.get("tags") or [],
        "from_email": found.sender,
        "from_name": name or None,
        "reply_to": request.get("reply_to"),
        "subject": request["subject"],
        **{
            field: [
                {"email": address, "name": None, "sandbox_result": result}
                for address in _addresses(dict(request), field)
            ]
            for field in ("to", "cc", "bcc")
        },
        "attachments": [],
        "metadata": request.get("metadata"),
        "route_id": found.route,
        "created_at": timestamp(found.at.wall),
    }
    return Answer(200, data)


def list_message_events(call: Context) -> Answer:
    """What became of a message, oldest event first."""
    found = _message(call)
    names = ["queued", "processed"]
    if found.result != "deferred":
        names.append(found.result)

    def view(numbered: tuple[int, str]) -> dict[str, Any]:
        return {
            "message_id": found.id,
            "event": numbered[1],
            "tag": found.request.get("tag"),
            "tags": found.request.get("tags") or [],
            "metadata": None,
            "timestamp": timestamp(found.at.wall),
        }

    return Answer(
        200,
        page(
            list(enumerate(names)),
            call.request.query,
            url=call.url(),
            keys={"timestamp": lambda numbered: (numbered[0],)},
            default_sort="timestamp",
            view=view,
        ),
    )
