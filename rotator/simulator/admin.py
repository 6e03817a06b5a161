"""The simulator's own HTTP paths, under `/_simulator/`: what its Python methods do, for other processes.

Tokens are shown in the answer that makes them and nowhere else. There is no login: the simulator
listens on loopback and guards nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from rotator.secret import Secret
from rotator.simulator.answers import Answer, message
from rotator.simulator.context import Request
from rotator.simulator.truth import event_json, message_json, mint_json

if TYPE_CHECKING:
    from rotator.simulator.server import Simulator

PREFIX: Final = "/_simulator/"

Body = dict[str, Any]
Action = Callable[[Mapping[str, str], str, Body], Any]


class Admin:
    """Maps admin requests to the methods of a Simulator. A ValueError or TypeError of theirs is a 422."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._actions: dict[tuple[str, str], Action] = {
            ("POST", "teams"): lambda _q, _id, body: self._token(self._simulator.add_team(**body)),
            ("POST", "team-tokens"): lambda _q, _id, body: self._token(
                self._simulator.add_team_token(**body)
            ),
            ("POST", "projects"): self._add_project,
            ("POST", "domains"): lambda _q, _id, body: {"id": self._simulator.add_domain(**body)},
            ("POST", "projects/*/tokens"): lambda _q, project, _b: self._token(
                self._simulator.add_token(project)
            ),
            ("POST", "projects/*/regenerate"): lambda _q, project, _b: self._token(
                self._simulator.regenerate(project)
            ),
            ("POST", "projects/*/use"): lambda _q, project, body: self._simulator.use(project, **body),
            ("GET", "projects/*/mints"): lambda _q, project, _b: {
                "mints": [mint_json(one) for one in self._simulator.mints(project)]
            },
            ("GET", "projects/*/sends"): lambda _q, project, _b: {
                "sends": [message_json(one) for one in self._simulator.sends(project)]
            },
            ("POST", "tokens/revoke"): lambda _q, _id, body: self._simulator.revoke(Secret(body["token"])),
            ("POST", "tokens/restrict"): lambda _q, _id, body: self._simulator.restrict(
                Secret(body["token"]), body["allowed_ips"]
            ),
            ("POST", "tokens/alive"): lambda _q, _id, body: {
                "alive": self._simulator.is_alive(Secret(body["token"]))
            },
            ("GET", "events"): self._events,
            ("GET", "faults"): lambda _q, _id, _b: {"faults": self._simulator.faults.waiting()},
            ("POST", "faults"): lambda _q, _id, body: {"id": self._simulator.faults.add(**body)},
            ("DELETE", "faults"): lambda _q, _id, _b: self._simulator.faults.clear(),
            ("DELETE", "faults/*"): lambda _q, fault, _b: self._simulator.faults.remove(int(fault)),
        }

    def answer(self, method: str, path: str, request: Request) -> Answer:
        parts = [unquote(part) for part in path.removeprefix(PREFIX).split("/")]
        action, identity = self._actions.get((method, "/".join(parts))), ""
        if action is None and len(parts) > 1:
            identity = parts[1]
            action = self._actions.get((method, "/".join([parts[0], "*", *parts[2:]])))
        if action is None:
            return message(404, "There is no such admin path.")
        try:
            body = json.loads(request.body or b"{}")
            if not isinstance(body, dict):
                raise TypeError("the body must be a JSON object")
            return Answer(200, action(request.query, identity, body) or {})
        except (ValueError, TypeError, KeyError) as problem:
            return message(422, f"{type(problem).__name__}: {problem}")

    def _token(self, token: Secret) -> Body:
        return {"token": token.reveal(), "team": self._simulator.team_of(token)}

    def _add_project(self, _query: Mapping[str, str], _identity: str, body: Body) -> Body:
        identity, token = self._simulator.add_project(**body)
        return {"id": identity, **self._token(token)}

    def _events(self, query: Mapping[str, str], _identity: str, _body: Body) -> Body:
        found = self._simulator.events_since(int(query.get("since", "0")))
        shown = [event_json(event) for event in found]
        for name in ("call", "project"):
            if name in query:
                shown = [one for one in shown if one[name] == query[name]]
        return {"events": shown}
