"""Rules of the SMTP relay: who may log in, and what becomes of a message.

Known (vendor's guide to sending with SMTP): the user is `lettermint`, the password a project token, and
the project needs `smtp_enabled`; headers `X-Lettermint-Route`, `X-LM-Tag`, `X-LM-Metadata-*` and
`Idempotency-Key` do what the fields of `/send` do. Not documented, so chosen here: the codes, that a
refusal does not tell its reason, and that a log-in counts as a use of the token.
"""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Final

from rotator.clock import Instant
from rotator.simulator import sending
from rotator.simulator.answers import Answer, Refusal
from rotator.simulator.calls import SMTP_AUTH, SMTP_SEND
from rotator.simulator.context import Context, Request
from rotator.simulator.faults import Execution, Faults, Plan
from rotator.simulator.records import Token
from rotator.simulator.service import Service
from rotator.simulator.state import World

USER: Final = "lettermint"
MAX_MESSAGE: Final = 25_000_000
"""Bytes; what `/send` allows (vendor docs)."""
_CODES: Final = {400: 452, 409: 450, 422: 550}
"""What becomes of a refusal of `/send`: a spend limit, an idempotency conflict, an invalid message."""
_METADATA: Final = "x-lm-metadata-"


@dataclass(frozen=True, slots=True)
class Reply:
    """A code and a text."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


_ACCEPTED: Final = Reply(235, "2.7.0 Authentication successful")
_REFUSED: Final = Reply(535, "5.7.8 Authentication credentials invalid")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A log-in or a message at the relay, with whose token it bears."""

    call: str
    password: str
    project: str | None
    ip: str
    at: Instant


class Mail:
    """Executes what the relay is asked for on the world of a Service. Safe to use from several threads."""

    def __init__(self, service: Service, faults: Faults) -> None:
        self._service = service
        self._world: World = service.world
        self._faults = faults

    def arrive(self, call: str, password: str, ip: str) -> tuple[Arrival, Plan]:
        """What arrived, and what goes wrong with it."""
        with self._world.lock:
            token = self._world.tokens.get(password)
            owner = token.owner if token is not None and token.owner in self._world.projects else None
            arrival = Arrival(call, password, owner, ip, self._world.now())
        return arrival, self._faults.take(call, owner)

    def log_in(self, arrival: Arrival, plan: Plan, user: str) -> Reply | None:
        """The answer to an AUTH; None to send none and drop the connection."""

        def rule(now: Instant) -> Reply:
            token = self._token(arrival, now) if user == USER else None
            if token is None:
                return _REFUSED
            token.used(now, arrival.ip)
            return _ACCEPTED

        assert arrival.call == SMTP_AUTH
        return self._run(arrival, plan, rule)

    def deliver(self, arrival: Arrival, plan: Plan, recipients: list[str], content: bytes) -> Reply | None:
        """The answer to a message; None to send none and drop the connection."""

        def rule(now: Instant) -> Reply:
            token = self._token(arrival, now)
            if token is None:
                return Reply(530, "5.7.0 Authentication required")
            try:
                answer = sending.send(self._context(arrival, plan, now, token, recipients, content))
            except Refusal as refusal:
                return Reply(_CODES.get(refusal.answer.status, 550), f"5.6.0 {_words(refusal.answer)}")
            return Reply(250, f"2.0.0 Ok: queued as {answer.body['message_id']}")

        assert arrival.call == SMTP_SEND
        return self._run(arrival, plan, rule)

    def _run(self, arrival: Arrival, plan: Plan, rule: Callable[[Instant], Reply]) -> Reply | None:
        with self._world.lock:
            now = self._service.settle()
            reply = rule(now) if plan.execution is Execution.NOW else None
            sent = None if plan.drop else reply
            if plan.smtp_code is not None:
                kind = plan.smtp_code // 100
                sent = Reply(plan.smtp_code, f"{kind}.3.0 Fault")
            self._service.note(
                at=now,
                arrived=arrival.at,
                call=arrival.call,
                project=arrival.project,
                token_text=arrival.password,
                ip=arrival.ip,
                status=reply.code if reply else None,
                answered=sent.code if sent else None,
                faults=plan.names,
            )
            return sent

    def _token(self, arrival: Arrival, now: Instant) -> Token | None:
        """The token that logged in, while everything about it is as it should be."""
        token = self._world.living_at_relay(arrival.password, now)
        if token is None or not self._world.projects[token.owner].smtp_enabled:
            return None
        elsewhere = token.allowed_ips is not None and arrival.ip not in token.allowed_ips
        return None if elsewhere else token

    def _context(
        self,
        arrival: Arrival,
        plan: Plan,
        now: Instant,
        token: Token,
        recipients: list[str],
        content: bytes,
    ) -> Context:
        """The message as a call of `/send`."""
        message = email.message_from_bytes(content, policy=email.policy.default)
        key = message.get("Idempotency-Key")
        request = Request(
            method="POST",
            path="/send",
            query={},
            headers={} if key is None else {"idempotency-key": str(key)},
            body=json.dumps(_fields(message, recipients)).encode(),
            ip=arrival.ip,
            base="",
        )
        return Context(self._world, now, request, token, {}, plan.effects, plan.answer_latency)


def _fields(message: EmailMessage, recipients: list[str]) -> dict[str, Any]:
    """The body of `/send` that says the same."""
    fields: dict[str, Any] = {
        "from": str(message.get("From", "")),
        "to": recipients,
        "subject": str(message.get("Subject", "")).strip() or "(no subject)",
    }
    for name, kind in (("text", "plain"), ("html", "html")):
        part = message.get_body((kind,))
        content = part.get_content().strip() if part is not None else ""
        if len(content) >= sending.MIN_CONTENT:
            fields[name] = content
    for header, name in (("X-Lettermint-Route", "route"), ("X-LM-Tag", "tag")):
        if header in message:
            fields[name] = str(message[header])
    metadata = {
        name.lower().removeprefix(_METADATA): str(value)
        for name, value in message.items()
        if name.lower().startswith(_METADATA)
    }
    return {**fields, "metadata": metadata} if metadata else fields


def _words(answer: Answer) -> str:
    """What a refusal of `/send` says, whichever form it has; one line of ASCII."""
    said = answer.body.get("error", answer.body)
    text = said if isinstance(said, str) else str(said.get("message", ""))
    return " ".join(text.encode("ascii", "replace").decode().split())
