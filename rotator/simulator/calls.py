"""Which calls there are: their paths, tokens, abilities and rate tiers.

Abilities are inferred from the vendor's public table of abilities; a write ability includes the read
of the same resource (Team API reference).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from rotator.simulator import domains, projects, routes, sending
from rotator.simulator.answers import Answer
from rotator.simulator.context import Context
from rotator.simulator.limits import Tier

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One documented call. `name` is what faults and the truth log know it by."""

    name: str
    method: str
    path: str
    auth: str
    """`team`, `project` or `either`."""
    rule: Callable[[Context], Answer]
    ability: str | None = None
    tier: Tier = Tier.READ
    unauthenticated_as_error: bool = False
    """The form of its 401: `{error}`, else `{message}`; the one that SDK 3.2.0 lists first."""


_READ, _WRITE = Tier.READ, Tier.WRITE
CALLS: Final = (
    Call("ping", "GET", "/ping", "either", sending.ping, unauthenticated_as_error=True),
    Call("send", "POST", "/send", "project", sending.send),
    Call("team", "GET", "/team", "team", projects.show_team, "read:team"),
    Call("projects", "GET", "/projects", "team", projects.list_projects, "read:projects"),
    Call("create-project", "POST", "/projects", "team", projects.create_project, "write:projects", _WRITE),
    Call("project", "GET", "/projects/{project}", "team", projects.show_project, "read:projects"),
    Call(
        "update-project",
        "PUT",
        "/projects/{project}",
        "team",
        projects.update_project,
        "write:projects",
        _WRITE,
    ),
    Call(
        "delete-project",
        "DELETE",
        "/projects/{project}",
        "team",
        projects.delete_project,
        "write:projects",
        _WRITE,
        unauthenticated_as_error=True,
    ),
    Call(
        "rotate",
        "POST",
        "/projects/{project}/rotate-token",
        "team",
        projects.rotate_token,
        "write:projects",
        Tier.ROTATE,
    ),
    Call("routes", "GET", "/projects/{project}/routes", "team", routes.list_routes, "read:routes"),
    Call(
        "create-route",
        "POST",
        "/projects/{project}/routes",
        "team",
        routes.create_route,
        "write:routes",
        _WRITE,
    ),
    Call("route", "GET", "/routes/{route}", "team", routes.show_route, "read:routes"),
    Call("update-route", "PUT", "/routes/{route}", "team", routes.update_route, "write:routes", _WRITE),
    Call("delete-route", "DELETE", "/routes/{route}", "team", routes.delete_route, "write:routes", _WRITE),
    Call("domains", "GET", "/domains", "team", domains.list_domains, "read:domains"),
    Call("domain", "GET", "/domains/{domain}", "team", domains.show_domain, "read:domains"),
    Call(
        "domain-projects",
        "PUT",
        "/domains/{domain}/projects",
        "team",
        domains.replace_projects,
        "write:domains",
        _WRITE,
    ),
    Call("message", "GET", "/messages/{message}", "team", sending.show_message, "read:messages"),
    Call(
        "message-events",
        "GET",
        "/messages/{message}/events",
        "team",
        sending.list_message_events,
        "read:messages",
    ),
)
NAMES: Final = frozenset(call.name for call in CALLS)
SMTP_AUTH, SMTP_SEND = "smtp-auth", "smtp-send"
SMTP_NAMES: Final = frozenset({SMTP_AUTH, SMTP_SEND})
"""What the SMTP relay does, by the names that faults and the truth log know it by."""


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


_PATTERNS: Final = tuple((_pattern(call.path), call) for call in CALLS)


@dataclass(frozen=True, slots=True)
class Match:
    """What a method and a path name. Without a call: whether another method would have done."""

    call: Call | None
    ids: dict[str, str]
    other_method: bool = False

    @property
    def name(self) -> str:
        return self.call.name if self.call else UNKNOWN


def match(method: str, path: str) -> Match:
    """Finds the call. Ids come back percent-decoded."""
    other_method = False
    for pattern, call in _PATTERNS:
        found = pattern.fullmatch(path)
        if found and call.method == method:
            return Match(call, {name: unquote(value) for name, value in found.groupdict().items()})
        other_method = other_method or bool(found)
    return Match(None, {}, other_method)
