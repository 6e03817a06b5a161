"""Lettermint over its two HTTP APIs: the Team API (bearer team token) and the Sending API (project
token in `x-lettermint-token`). The two tokens are not interchangeable.

Each method sorts every possible answer into the errors of the port; `answers` says what a body means,
`http_client` says whether a request that failed had been sent.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

from rotator.clock import Clock
from rotator.errors import (
    CredentialRejected,
    EndpointGone,
    InvalidInput,
    RateLimited,
    Refused,
    RotatorError,
    Unreachable,
)
from rotator.http_client import (
    CALL_TIMEOUT,
    Answer,
    Credential,
    HttpClient,
    NoAnswer,
    NotSent,
    check_base_url,
    check_header_value,
    is_header_safe,
)
from rotator.model import ProjectFacts, ProjectSetup
from rotator.provider import answers, refusals
from rotator.provider.base import (
    Greeting,
    Limiter,
    Minted,
    PingAnswer,
    ProjectNotVisible,
    SendAnswer,
    SendReceipt,
    TeamFacts,
    TestMessage,
    invented_token,
)
from rotator.provider.credential import TeamCredential
from rotator.provider.lists import every
from rotator.secret import Secret

log = logging.getLogger(__name__)

LONGEST_SLOT_WAIT: Final = 30.0
"""Seconds a read waits for its slot; above that the caller hears RateLimited and may do other things."""
IDEMPOTENCY_KEY_LIMIT: Final = 255

_PING_ANSWERS: Final = {200: PingAnswer.ALIVE, 401: PingAnswer.DEAD, 403: PingAnswer.FORBIDDEN}

Observer = Callable[[str, str, float], None]
"""Told of every call: its name, the status (or `not-sent`, `no-answer`), and its seconds."""


def _nobody(_call: str, _status: str, _seconds: float) -> None:
    pass


class LettermintProvider:
    """Lettermint, seen with one team token. Safe to use from several threads.

    It takes "read" slots itself and waits for them; "rotate" slots are the caller's to take. The
    Sending API has no documented limit, so its calls take no slot and only obey a 429.
    """

    def __init__(
        self,
        base_url: str,
        credential: TeamCredential,
        limiter: Limiter,
        clock: Clock,
        *,
        call_timeout: float = CALL_TIMEOUT,
        observer: Observer = _nobody,
    ) -> None:
        self._base_url = check_base_url(base_url)
        self._credential = credential
        self._limiter = limiter
        self._clock = clock
        self._call_timeout = call_timeout
        self._observer = observer
        self._http = HttpClient(clock, call_timeout=call_timeout)

    def close(self) -> None:
        self._http.close()

    # Team API

    def project(self, project_id: str) -> ProjectFacts:
        answer = self._read("project", f"/projects/{path_id(project_id)}", f"project {project_id}")
        facts = answers.project_facts(answer)
        if facts is None:
            raise refusals.unreadable("project", answer)
        return facts

    def project_ids(self) -> Iterator[str]:
        for item in every(self._read, "projects", "/projects", "the list of projects"):
            yield str(item["id"])

    def setup(self, project_id: str) -> ProjectSetup:
        facts = self.project(project_id)
        routes = f"/projects/{path_id(project_id)}/routes"
        return answers.project_setup(
            facts,
            routes=list(every(self._read, "routes", routes, f"the routes of project {project_id}")),
            domains=every(
                self._read,
                "domains",
                "/domains",
                f"the domains of project {project_id}",
                {"filter[project]": project_id},
            ),
        )

    def rotate_token(self, project_id: str) -> Minted:
        path = f"/projects/{path_id(project_id)}/rotate-token"
        try:
            answer = self._team_call("rotate-token", "POST", path, kind="rotate")
        except NotSent as error:
            raise Unreachable(error.happened, then="No token was minted", remedy=error.remedy) from None
        except NoAnswer as error:
            raise refusals.unclear(error.happened) from None
        if 200 <= answer.status < 300:
            new = answers.minted(answer)
            if new is None:
                raise refusals.unclear(
                    f"Lettermint answered {answer.status} to rotate-token without a new token"
                )
            return new
        if answer.status in (404, 405, 410):
            raise self._endpoint_gone(project_id, answer)
        refused = refusals.team_refusal("rotate-token", answer, self._clock.now(), "No token was minted")
        if refused is not None:
            raise refused
        if answer.status == 422:
            raise Refused(
                f"Lettermint will not rotate project {project_id}'s token (422{refusals.because(answer)})",
                then="No token was minted",
                remedy="Look at the project in the Lettermint dashboard.",
            )
        raise refusals.unclear(
            f"Lettermint answered {answer.status} to rotate-token{refusals.because(answer)}"
        )

    def project_of_message(self, message_id: str) -> str | None:
        route = self._followed("message", "messages", message_id, "route_id")
        return None if route is None else self._followed("route", "routes", route, "project_id")

    def team(self) -> TeamFacts:
        answer = self._asked("team", "/team")
        if answer.status in (200, 403):  # 403: read:team, which nothing else needs, is missing
            facts = answers.team_facts(answer)
            if facts is None:
                raise refusals.unreadable("team", answer)
            return facts
        now = self._clock.now()
        refused = refusals.team_refusal("team", answer, now, "Nothing was changed")
        raise refused or refusals.not_the_api(answer) or refusals.repeatable("team", answer, now)

    def can_read(self, collection: str) -> bool:
        try:
            with contextlib.suppress(ProjectNotVisible):
                self._read(collection, f"/{collection}/{uuid.uuid4()}", f"one of {collection}")
            return True
        except CredentialRejected:
            return False

    # either API, with a project token

    def ping(self, token: Secret) -> PingAnswer:
        if not is_header_safe(token.reveal()):
            # What cannot even be sent in a header is no token that any consumer uses.
            return PingAnswer.DEAD
        answer = self._project_call("ping", "GET", "/ping", token)
        if answer.status in _PING_ANSWERS:
            return _PING_ANSWERS[answer.status]
        raise refusals.repeatable("ping", answer, self._clock.now())

    def greet(self) -> Greeting:
        answer = self._project_call("ping", "GET", "/ping", invented_token())
        now = self._clock.now()
        if answer.status in _PING_ANSWERS:
            return Greeting(_PING_ANSWERS[answer.status], answers.clock_ahead(answer, now))
        raise refusals.not_the_api(answer) or refusals.repeatable("ping", answer, now)

    def send(self, token: Secret, message: TestMessage, idempotency_key: str) -> SendReceipt:
        if not 1 <= len(idempotency_key) <= IDEMPOTENCY_KEY_LIMIT:
            raise InvalidInput(f"An idempotency key has 1 to {IDEMPOTENCY_KEY_LIMIT} characters")
        if not is_header_safe(token.reveal()):
            return SendReceipt(SendAnswer.DEAD)
        # No time and nothing random: a repetition under the same key must be the same to the byte.
        content = {
            "from": message.sender,
            "to": [message.to],
            "subject": message.subject,
            "text": message.text,
        }
        answer = self._project_call(
            "send", "POST", "/send", token, body=json.dumps(content).encode(), key=idempotency_key
        )
        if answer.status == 202:
            accepted = answers.json_object(answer) or {}
            message_id = accepted.get("message_id")
            return SendReceipt(SendAnswer.ACCEPTED, message_id if isinstance(message_id, str) else None)
        if answer.status == 401:
            return SendReceipt(SendAnswer.DEAD)
        if answer.status == 403:
            return SendReceipt(SendAnswer.FORBIDDEN)
        raise refusals.send_refusal(answer) or refusals.repeatable("send", answer, self._clock.now())

    # how a call is made

    def _read(self, call: str, path: str, what: str) -> Answer:
        """A GET of the Team API that answers 200, or the port's error."""
        answer = self._asked(call, path)
        if answer.status == 200:
            return answer
        if answer.status == 404:
            raise ProjectNotVisible(
                f"Lettermint does not show {what} to this team token (404)",
                then="Nothing was changed",
                remedy="Check the id, and that the team token belongs to that project's team.",
            )
        now = self._clock.now()
        refused = refusals.team_refusal(call, answer, now, "Nothing was changed")
        raise refused or refusals.repeatable(call, answer, now)

    def _asked(self, call: str, path: str) -> Answer:
        """A GET of the Team API and its answer, whatever it is. Raises Unreachable, RateLimited."""
        try:
            return self._team_call(call, "GET", path, kind="read")
        except (NotSent, NoAnswer) as error:
            raise Unreachable(error.happened, then="Nothing was changed", remedy=error.remedy) from None

    def _followed(self, call: str, collection: str, item: str, field: str) -> str | None:
        """One field of one item; None when the item is not there or not ours to see."""
        if item in ("", ".", ".."):
            return None
        try:
            answer = self._read(call, f"/{collection}/{path_id(item)}", f"{call} {item}")
        except (ProjectNotVisible, CredentialRejected):
            return None
        content = answers.unwrapped(answer)
        value = None if content is None else content.get(field)
        return value if isinstance(value, str) else None

    def _endpoint_gone(self, project_id: str, answer: Answer) -> RotatorError:
        """Why rotate-token is not there. Raises what reading the project raises (ProjectNotVisible, …)."""
        self.project(project_id)
        return EndpointGone(
            f"Lettermint does not rotate the token of project {project_id} any more ({answer.status}), "
            "though the project can be read",
            then="No token was minted and the secret was left alone: the present token still works",
            remedy="Use `strategy: assisted` with a token made in the Lettermint dashboard.",
        )

    def _team_call(
        self, call: str, method: str, path: str, *, kind: str, body: bytes | None = None
    ) -> Answer:
        """One call with the team token, repeated once with another one if that was refused.

        A call that was refused (401, 403) was certainly not executed, so the repetition is safe even
        for rotate-token. Both together stay within the call's time-out, on which the engine's deadline
        is built. Raises NotSent, NoAnswer, RateLimited.
        """
        token = self._credential.current()
        if kind == "read":
            self._wait_for_slot(call)
        ends = self._clock.boot() + self._call_timeout
        answer = self._exchange(call, method, path, _team(token), kind=kind, body=body)
        if answer.status not in (401, 403):
            return answer
        another = self._credential.reread(token)
        left = ends - self._clock.boot()
        if another is None or left < self._call_timeout / 2:
            return answer
        log.info("the team token was refused and has been read again; %s is repeated", call)
        return self._exchange(call, method, path, _team(another), kind=kind, body=body, timeout=left)

    def _project_call(
        self,
        call: str,
        method: str,
        path: str,
        token: Secret,
        *,
        body: bytes | None = None,
        key: str = "",
    ) -> Answer:
        """One call with a project token. Raises Unreachable: both calls may be repeated."""
        headers = {"Idempotency-Key": key} if key else {}
        credential = Credential("x-lettermint-token", token)
        try:
            return self._exchange(call, method, path, credential, headers=headers, body=body)
        except (NotSent, NoAnswer) as error:
            raise Unreachable(error.happened, then="It is safe to try again", remedy=error.remedy) from None

    def _exchange(
        self,
        call: str,
        method: str,
        path: str,
        credential: Credential,
        *,
        kind: str | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Answer:
        begun = self._clock.boot()
        content = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = self._http.call(
                method,
                f"{self._base_url}{path}",
                headers={**content, **(headers or {})},
                credential=credential,
                body=body,
                timeout=timeout,
            )
        except (NotSent, NoAnswer) as error:
            seconds = self._clock.boot() - begun
            log.warning("lettermint %s: %s after %.3f s", call, error.code, seconds)
            with contextlib.suppress(Exception):  # a counter must not turn one failure into another
                self._observer(call, error.code, seconds)
            raise
        with contextlib.suppress(Exception):  # an answer may hold a token that is shown only once
            self._note(call, answer, kind)
        return answer

    def _note(self, call: str, answer: Answer, kind: str | None) -> None:
        # A refused ping is an answer like any other: the proof of death and the negative control want it.
        usual = answer.status < 300 or (call == "ping" and answer.status == 401)
        level = logging.DEBUG if usual and call != "rotate-token" else logging.INFO
        found = answers.request_id(answer)
        log.log(
            level,
            "lettermint %s answered %d in %.3f s%s",
            call,
            answer.status,
            answer.seconds,
            f" ({found})" if found else "",
            extra={
                "call": call,
                "status": answer.status,
                "seconds": round(answer.seconds, 3),
                "request_id": found,
            },
        )
        self._observer(call, str(answer.status), answer.seconds)
        if kind is not None:
            notice = answers.rate_notice(answer, self._clock.now())
            self._limiter.observe(
                kind,
                remaining=notice.remaining,
                resets_in=notice.resets_in,
                retry_after=notice.retry_after,
            )

    def _wait_for_slot(self, call: str) -> None:
        waited = 0.0
        while (wait := self._limiter.take("read")) > 0:
            if waited + wait > LONGEST_SLOT_WAIT:
                raise RateLimited(
                    f"The rate limit for reading from Lettermint has no room for {call}",
                    retry_after=wait,
                    then=f"There is room again in {wait:.0f} s; nothing was sent",
                )
            self._clock.wait(wait)
            waited += wait


def _team(token: Secret) -> Credential:
    check_header_value("The team token (LETTERMINT_TEAM_TOKEN)", token)
    return Credential("Authorization", token, "Bearer")


def path_id(value: str) -> str:
    """An id as one segment of a path; raises InvalidInput for what would change the path (SDK 3.2.0)."""
    if value in ("", ".", ".."):
        raise InvalidInput(f"{value!r} is no Lettermint id", remedy="Give the project's id, a UUID.")
    return quote(value, safe="")
