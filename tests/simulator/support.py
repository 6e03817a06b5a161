"""Plain HTTP against a simulator, and the shared contract as JSON Schema."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jsonschema import Draft202012Validator

from rotator.secret import Secret
from rotator.simulator.server import Furnished, Simulator

CONTRACT = json.loads((Path(__file__).parent / "lettermint-contract.json").read_text())
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
MAIL = {
    "from": "Rotation check <rotation@example.com>",
    "to": ["ok@testing.lettermint.co"],
    "subject": "Token rotation check",
    "text": "Token rotation check",
}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def content_type(self) -> str:
        return self.headers["content-type"].split(";")[0]


def invented_token(kind: str = "project") -> Secret:
    """Well-formed, and issued by nobody."""
    return Secret("lm_" + ("team_" + "Z" * 40 if kind == "team" else "Z" * 32))


class Api:
    """Calls with a team token, a project token, or none."""

    def __init__(self, simulator: Simulator, token: Secret | None = None) -> None:
        self.simulator, self.token = simulator, token

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Reply:
        sent = dict(headers or {})
        if self.token is not None and self.token.is_team_token:
            sent["Authorization"] = f"Bearer {self.token.reveal()}"
        elif self.token is not None:
            sent["x-lettermint-token"] = self.token.reveal()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        target = urlsplit(self.simulator.url)
        tail = (
            "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items()) if query else ""
        )
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=timeout)
        try:
            connection.request(method, target.path + path + tail, data, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


class Scene:
    """A furnished simulator and callers for each of its tokens."""

    def __init__(self, simulator: Simulator, projects: int = 2) -> None:
        self.simulator = simulator
        self.furnished: Furnished = simulator.furnish(projects)
        self.team = Api(simulator, self.furnished.team_token)
        (self.id, self.token), *_ = self.furnished.projects
        self.mailer = Api(simulator, self.token)
        self.nobody = Api(simulator)

    def other_team(self) -> Api:
        return Api(self.simulator, self.simulator.add_team("Other"))

    def with_abilities(self, *abilities: str) -> Api:
        return Api(self.simulator, self.simulator.add_team_token(abilities=abilities))

    def with_token(self, token: Secret) -> Api:
        return Api(self.simulator, token)

    def send(self, token: Secret | None = None, key: str | None = None, **changes: Any) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        return Api(self.simulator, token or self.token)("POST", "/send", {**MAIL, **changes}, headers=headers)

    def ping(self, token: Secret) -> int:
        return Api(self.simulator, token)("GET", "/ping").status

    def rotate(self, project: str | None = None) -> Reply:
        return self.team("POST", f"/projects/{project or self.id}/rotate-token")

    def new_token(self) -> Secret:
        return Secret(self.rotate().json["new_token"])

    def project(self) -> dict[str, Any]:
        return self.team("GET", f"/projects/{self.id}").json


@cache
def validator(pointer: str) -> Draft202012Validator:
    return Draft202012Validator({**CONTRACT, "$ref": "#" + pointer})


def check_contract(path: str, method: str, reply: Reply) -> None:
    """Raises ValidationError unless the contract documents this answer for this operation."""
    place = f"/paths/{path.replace('/', '~1')}/{method.lower()}/responses/{reply.status}"
    response = CONTRACT["paths"][path][method.lower()]["responses"][str(reply.status)]
    if "$ref" in response:
        place = response["$ref"].removeprefix("#")
        response = CONTRACT["components"]["responses"][place.rsplit("/", 1)[1]]
    assert reply.content_type in response["content"], reply.content_type
    value = reply.json if reply.content_type == "application/json" else reply.body.decode()
    kind = reply.content_type.replace("/", "~1")
    validator(f"{place}/content/{kind}/schema").validate(value)
