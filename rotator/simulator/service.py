"""One call through all rules in their order: token, rate, ability, then the call's own."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, replace

from rotator.clock import Instant
from rotator.simulator.answers import Answer, Refusal, error, forbidden, message
from rotator.simulator.calls import Call, Match, match
from rotator.simulator.context import Context, Request
from rotator.simulator.faults import Execution, Plan
from rotator.simulator.records import Kind, Token, short_digest
from rotator.simulator.state import World
from rotator.simulator.truth import Event


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that has been read, with what it names and whose token it bears."""

    request: Request
    found: Match
    token_text: str | None
    project: str | None
    """From the path, else that of the project token presented; None when neither tells."""
    at: Instant


class Service:
    """Executes calls on the world and keeps the truth log. Safe to use from several threads."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._events: list[Event] = []
        self._late: list[tuple[float, int, Arrival, Plan]] = []
        self._order = itertools.count()

    def arrive(self, request: Request) -> Arrival:
        found = match(request.method, request.path)
        presented = _presented(request, found.call)
        with self.world.lock:
            token = self.world.tokens.get(presented) if presented else None
            owner = token.owner if token is not None and token.kind is not Kind.TEAM else None
            return Arrival(request, found, presented, found.ids.get("project", owner), self.world.now())

    def run(self, arrival: Arrival, plan: Plan) -> Answer | None:
        """Does with the call what the plan says; the answer to send, None to send none."""
        with self.world.lock:
            now = self.settle()
            if plan.execution is Execution.NOW:
                answer = self._execute(arrival, plan, now)
                sent = plan.answer_for(answer, arrival.found.name, now.wall)
                self._note(arrival, now, plan, answer, sent)
                return sent
            if plan.execution is Execution.LATE:
                due = now.boot + plan.late_by
                heapq.heappush(self._late, (due, next(self._order), arrival, plan))
            sent = plan.answer_for(None, arrival.found.name, now.wall)
            self._note(arrival, now, plan, None, sent)
            return sent

    def settle(self) -> Instant:
        """Executes what was held back until now, each at its own instant; returns the present one.

        Called with the lock held before anything looks at the world, so nobody can tell this from
        execution by a timer.
        """
        now = self.world.now()
        while self._late and self._late[0][0] <= now.boot:
            due, _, arrival, plan = heapq.heappop(self._late)
            moment = now.plus(due - now.boot)
            self._note(arrival, moment, plan, self._execute(arrival, plan, moment), None)
        return now

    def events(self, since: int = 0) -> tuple[Event, ...]:
        """The truth log after event number `since`."""
        with self.world.lock:
            self.settle()
            return tuple(self._events[since:])

    def note(
        self,
        *,
        at: Instant,
        arrived: Instant,
        call: str,
        project: str | None,
        token_text: str | None,
        ip: str,
        status: int | None,
        answered: int | None,
        faults: tuple[str, ...],
    ) -> None:
        """Adds an event to the truth log; the caller holds the world's lock."""
        self._events.append(
            Event(
                seq=len(self._events) + 1,
                at=at,
                arrived=arrived,
                call=call,
                project=project,
                token=short_digest(token_text) if token_text else None,
                ip=ip,
                status=status,
                answered=answered,
                executed=status is not None and 200 <= status <= 299,
                faults=faults,
            )
        )

    def _note(
        self, arrival: Arrival, at: Instant, plan: Plan, answer: Answer | None, sent: Answer | None
    ) -> None:
        self.note(
            at=at,
            arrived=arrival.at,
            call=arrival.found.name,
            project=arrival.project,
            token_text=arrival.token_text,
            ip=arrival.request.ip,
            status=answer.status if answer else None,
            answered=sent.status if sent else None,
            faults=plan.names,
        )

    def _execute(self, arrival: Arrival, plan: Plan, now: Instant) -> Answer:
        call = arrival.found.call
        if call is None:
            if arrival.found.other_method:
                return message(405, "The method is not allowed for this path.")
            return error(404, "NOT_FOUND", "The path was not found.")
        headers: tuple[tuple[str, str], ...] = ()
        try:
            token = self._authenticate(call, arrival, now)
            if token.kind is Kind.TEAM:
                room = token.windows[call.tier].take(now)
                headers = room.headers()
                if not room.allowed:
                    return replace(message(429, "Too Many Attempts."), headers=headers)
            _authorize(call, token, arrival.request.ip)
            context = Context(
                world=self.world,
                now=now,
                request=arrival.request,
                token=token,
                ids=arrival.found.ids,
                effects=plan.effects,
                busy=plan.answer_latency,
            )
            answer = call.rule(context)
        except Refusal as refusal:
            answer = refusal.answer
        return replace(answer, headers=(*answer.headers, *headers))

    def _authenticate(self, call: Call, arrival: Arrival, now: Instant) -> Token:
        token = self.world.living_token(arrival.token_text, now)
        wanted = call.auth
        if token is None or (wanted != "either" and (wanted == "team") != (token.kind is Kind.TEAM)):
            if call.unauthenticated_as_error:
                raise Refusal(error(401, "UNAUTHENTICATED", "Unauthenticated."))
            raise Refusal(message(401, "Unauthenticated."))
        return token


def _presented(request: Request, call: Call | None) -> str | None:
    """The token in the header where its kind belongs; the two headers are not interchangeable."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    team = bearer.strip() if scheme.lower() == "bearer" and bearer.strip().startswith("lm_team_") else None
    key = request.headers.get("x-lettermint-token", "").strip()
    project = key if key and not key.startswith("lm_team_") else None
    if call is None or call.auth == "either":
        return team or project
    return team if call.auth == "team" else project


def _authorize(call: Call, token: Token, ip: str) -> None:
    if token.allowed_ips is not None and ip not in token.allowed_ips:
        raise forbidden("This token may not be used from this IP address.")
    if call.ability is None:
        return
    verb, _, resource = call.ability.partition(":")
    enough = {call.ability, f"write:{resource}"} if verb == "read" else {call.ability}
    if not enough & token.abilities:
        raise forbidden()
