"""What a rule gets to see of one call, and the checks that several rules share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rotator.clock import Instant
from rotator.simulator.answers import Refusal, invalid, message, not_found
from rotator.simulator.records import Domain, Project, Route, Token
from rotator.simulator.state import Effects, World


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it arrived. `path` begins after `/v1`; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    ip: str
    base: str
    """Base URL, for the URLs inside pages."""


@dataclass(frozen=True, slots=True)
class Context:
    """One authenticated call at one instant, with the world's lock held."""

    world: World
    now: Instant
    request: Request
    token: Token
    ids: Mapping[str, str]
    """Ids from the path."""
    effects: Effects
    busy: float
    """Seconds until the answer leaves, during which an idempotency key is in use."""

    @property
    def team(self) -> str:
        """The team behind the token, of whichever kind it is."""
        owner = self.token.owner
        return owner if owner in self.world.teams else self.world.projects[owner].team

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent; an empty body is an empty object. Refuses anything else."""
        try:
            value = json.loads(self.request.body or b"{}")
        except ValueError:
            raise Refusal(message(422, "The request body is not valid JSON.")) from None
        if not isinstance(value, dict):
            raise Refusal(message(422, "The request body must be a JSON object."))
        return value

    def project(self) -> Project:
        """The project of the path; a 404 if it is another team's."""
        project = self.world.projects.get(self.ids["project"])
        if project is None or project.deleted or project.team != self.team:
            raise not_found()
        return project

    def route(self) -> Route:
        route = self.world.routes.get(self.ids["route"])
        if route is None or self.world.projects[route.project].team != self.team:
            raise not_found()
        return route

    def domain(self) -> Domain:
        domain = self.world.domains.get(self.ids["domain"])
        if domain is None or domain.team != self.team:
            raise not_found()
        return domain

    def includes(self) -> set[str]:
        return set(self.request.query.get("include", "").split(","))

    def url(self) -> str:
        return self.request.base + self.request.path


def text_field(body: Mapping[str, Any], name: str, *, required: bool, maximum: int = 255) -> str | None:
    """A text field of a request; None when absent or null and not required."""
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value.strip():
        raise invalid(**{name: f"The {name} field is required."})
    if len(value) > maximum:
        raise invalid(**{name: f"The {name} field must not be greater than {maximum} characters."})
    return value


def choice_field(body: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str | None:
    """One of the choices; None when absent or null."""
    value = body.get(name)
    if value is None or value in choices:
        return value
    raise invalid(**{name: f"The selected {name} is invalid."})


def flag_field(body: Mapping[str, Any], name: str) -> bool | None:
    """A boolean; None when absent or null."""
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise invalid(**{name: f"The {name} field must be true or false."})
