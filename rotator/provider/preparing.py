"""The Team API calls that make one project like another (paths and bodies as in SDK 3.2.0).

`POST /projects` is not among them: its answer shows a token, which nobody here wants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rotator.clock import Clock
from rotator.errors import RateLimited, Refused, UnclearOutcome, Unreachable
from rotator.http_client import CALL_TIMEOUT, Answer, NoAnswer, NotSent
from rotator.interrupt import Stop
from rotator.provider import answers, refusals
from rotator.provider.base import Limiter, ProjectDetails, Route
from rotator.provider.credential import TeamCredential
from rotator.provider.lettermint import LettermintProvider, path_id
from rotator.provider.lists import every

LONGEST_WRITE_WAIT: Final = 90.0
"""Seconds a write waits for its slot: the window of every documented limit, and half of it again."""
WRITABLE: Final = (
    "track_opens",
    "track_clicks",
    "generate_plaintext_fallback",
    "suppress_auto_responders",
    "suppress_disposable_recipients",
    "tls",
    "disable_hosted_unsubscribe",
    "redact_email_content",
)
"""Settings of a route that a write may name (`UpdateRouteSettingsData` of SDK 3.2.0)."""

_NOT_MADE: Final = "This change was not made"
_AGAIN: Final = "Repeating the command is safe: it compares the projects anew and does what is left"


class LettermintPreparer(LettermintProvider):
    """Lettermint with the calls that change what a project is. Every write is repeatable, because whoever
    repeats one looks first at what is there."""

    def __init__(
        self,
        base_url: str,
        credential: TeamCredential,
        limiter: Limiter,
        clock: Clock,
        *,
        stop: Stop,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        super().__init__(base_url, credential, limiter, clock, call_timeout=call_timeout)
        self._stop = stop

    # reads

    def details(self, project_id: str) -> ProjectDetails:
        answer = self._read("project", f"/projects/{path_id(project_id)}", f"project {project_id}")
        facts, data = answers.project_facts(answer), answers.unwrapped(answer)
        if facts is None or data is None:
            raise refusals.unreadable("project", answer)
        redacts = data.get("redact_email_content")
        routes = self._routes(project_id)
        sending = [one for one in routes if one.get("route_type") != answers.INBOUND]
        domains = every(
            self._read,
            "domains",
            "/domains",
            f"the domains of project {project_id}",
            {"filter[project]": project_id},
        )
        return ProjectDetails(
            facts=facts,
            redacts=redacts if isinstance(redacts, bool) else None,
            default_route=next(
                (str(one["slug"]) for one in routes if one["id"] == facts.default_route), None
            ),
            routes=tuple(self._route(str(one["id"])) for one in sending),
            inbound=tuple(str(one["slug"]) for one in routes if one not in sending),
            domains={str(one["domain"]): str(one["id"]) for one in domains if one.get("domain")},
        )

    def route_ids(self, project_id: str) -> Mapping[str, str]:
        return {str(one["slug"]): str(one["id"]) for one in self._routes(project_id)}

    def projects_of(self, domain_id: str) -> tuple[str, ...]:
        path = f"/domains/{path_id(domain_id)}?include=projects"
        answer = self._read("domain", path, f"domain {domain_id}")
        projects = (answers.unwrapped(answer) or {}).get("projects")
        if not isinstance(projects, list):
            raise refusals.unreadable("domain", answer)
        found = tuple(one.get("id") if isinstance(one, dict) else None for one in projects)
        # One that cannot be read would be missing from the list that is written back.
        if not all(isinstance(one, str) and one for one in found):
            raise refusals.unreadable("domain", answer)
        return tuple(str(one) for one in found)

    def _routes(self, project_id: str) -> Sequence[Mapping[str, Any]]:
        path, what = f"/projects/{path_id(project_id)}/routes", f"the routes of project {project_id}"
        return [one for one in every(self._read, "routes", path, what) if isinstance(one.get("slug"), str)]

    def _route(self, route_id: str) -> Route:
        answer = self._read("route", f"/routes/{path_id(route_id)}", f"route {route_id}")
        data = answers.unwrapped(answer) or {}
        name, slug, kind = (data.get(part) for part in ("name", "slug", "route_type"))
        if not (isinstance(name, str) and isinstance(slug, str) and isinstance(kind, str)):
            raise refusals.unreadable("route", answer)
        settings = data.get("settings")
        given = settings if isinstance(settings, dict) else {}
        kept = {part: given[part] for part in WRITABLE if isinstance(given.get(part), bool | str)}
        return Route(route_id, name, slug, kind, kept)

    # writes

    def change_project(self, project_id: str, changes: Mapping[str, bool | str]) -> None:
        path = f"/projects/{path_id(project_id)}"
        self._write("change-project", "PUT", path, changes, f"project {project_id}")

    def create_route(self, project_id: str, route: Route) -> None:
        content = {"name": route.name, "route_type": route.type, "slug": route.slug}
        settings = {"settings": dict(route.settings)} if route.settings else {}
        path, what = f"/projects/{path_id(project_id)}/routes", f"project {project_id}"
        self._write("create-route", "POST", path, {**content, **settings}, what)

    def change_route(self, route_id: str, settings: Mapping[str, bool | str]) -> None:
        path = f"/routes/{path_id(route_id)}"
        self._write("change-route", "PUT", path, {"settings": dict(settings)}, f"route {route_id}")

    def attach_domain(self, domain_id: str, project_ids: tuple[str, ...]) -> None:
        path, content = f"/domains/{path_id(domain_id)}/projects", {"project_ids": list(project_ids)}
        self._write("attach-domain", "PUT", path, content, f"domain {domain_id}")

    def _write(self, call: str, method: str, path: str, content: Mapping[str, Any], what: str) -> None:
        """One write, sent once more after a 429, which the limiter has heard of by then."""
        body = json.dumps(content).encode()
        answer = self._written(call, method, path, body)
        if answer.status == 429:
            answer = self._written(call, method, path, body)
        if 200 <= answer.status < 300:
            return
        refused = refusals.team_refusal(call, answer, self._clock.now(), _NOT_MADE)
        if refused is not None:
            raise refused
        because = refusals.because(answer)
        if 400 <= answer.status < 500 and answer.status != 408:
            gone = answer.status in (404, 410)
            raise Refused(
                f"Lettermint refused {call} for {what} ({answer.status}{because})",
                then=_NOT_MADE,
                remedy=_AGAIN
                if gone
                else "Look at it in the Lettermint dashboard, and make it by hand there",
            )
        raise _unclear(f"Lettermint answered {answer.status} to {call} for {what}{because}")

    def _written(self, call: str, method: str, path: str, body: bytes) -> Answer:
        self._wait_to_write(call)
        try:
            return self._team_call(call, method, path, kind="write", body=body)
        except NotSent as error:
            raise Unreachable(error.happened, then=_NOT_MADE, remedy=error.remedy) from None
        except NoAnswer as error:
            raise _unclear(error.happened) from None

    def _wait_to_write(self, call: str) -> None:
        waited = 0.0
        self._stop.check()
        while (wait := self._limiter.take("write")) > 0:
            if waited + wait > LONGEST_WRITE_WAIT:
                raise RateLimited(
                    f"The rate limit for writing to Lettermint has no room for {call}",
                    retry_after=wait,
                    then=f"There is room again in {wait:.0f} s; nothing was sent",
                )
            self._clock.wait(wait, self._stop.requested)
            self._stop.check()
            waited += wait


def _unclear(happened: str) -> UnclearOutcome:
    return UnclearOutcome(happened, then="This change may have been made or not", remedy=_AGAIN)
