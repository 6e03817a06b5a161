"""The single changes that make a standby project like its main project: each in words, and how it is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from rotator.errors import Refused
from rotator.provider.base import Preparer, Route

Announce = Callable[[Mapping[str, Any]], None]
"""Called right before the call that changes something, with what exactly it will write."""

_NAMES: Final = {
    "smtp_enabled": "SMTP",
    "delivery_mode": "delivery mode",
    "redact_email_content": "redaction of content",
}


@dataclass(frozen=True)
class Change(ABC):
    """One call of the provider. Making it twice comes to the same as making it once."""

    kind: ClassVar[str]
    """Stable, for programs."""
    subject: str
    """The setting, the route's slug or the domain's name."""
    now: Any
    wanted: Any

    @property
    @abstractmethod
    def text(self) -> str:
        """For people, as a part of a sentence."""

    @property
    def felt(self) -> bool:
        """Whether it changes what happens to mail that is sent with the project's token already."""
        return True

    @abstractmethod
    def make(self, preparer: Preparer, standby: str, announce: Announce) -> None:
        """Makes it, unless it was made meanwhile. Raises as the preparer does."""

    def view(self) -> dict[str, Any]:
        return {
            "change": self.kind,
            "subject": self.subject,
            "now": self.now,
            "wanted": self.wanted,
            "text": self.text,
        }


@dataclass(frozen=True)
class Setting(Change):
    """A setting of the project, by its name in the API."""

    kind = "setting"

    @property
    def text(self) -> str:
        return f"{_NAMES[self.subject]}: {shown(self.now)} becomes {shown(self.wanted)}"

    @property
    def felt(self) -> bool:
        # SMTP that is switched on takes nothing from those who send without it.
        return not (self.subject == "smtp_enabled" and self.wanted is True)

    def make(self, preparer: Preparer, standby: str, announce: Announce) -> None:
        announce({self.subject: self.wanted})
        preparer.change_project(standby, {self.subject: self.wanted})


@dataclass(frozen=True)
class DefaultRoute(Change):
    """The route of messages that name none, by its slug."""

    kind = "default-route"

    @property
    def text(self) -> str:
        return f"default route: {self.now or 'none'} becomes {self.wanted}"

    def make(self, preparer: Preparer, standby: str, announce: Announce) -> None:
        # Looked up now, because the route may have been made a moment ago.
        route = preparer.route_ids(standby).get(self.wanted)
        if route is None:
            raise Refused(
                f"The standby project has no route {self.wanted}, which is to be its default one",
                then="This change was not made",
            )
        announce({"default_route_id": route})
        preparer.change_project(standby, {"default_route_id": route})


@dataclass(frozen=True)
class NewRoute(Change):
    """A route that only the main project has."""

    kind = "create-route"
    route: Route

    @property
    def text(self) -> str:
        with_settings = f" with {_listed(self.route.settings)}" if self.route.settings else ""
        return f"route {self.subject} ({self.route.type}): is made{with_settings}"

    @property
    def felt(self) -> bool:
        return False

    def make(self, preparer: Preparer, standby: str, announce: Announce) -> None:
        if self.subject in preparer.route_ids(standby):
            return
        announce({"slug": self.subject, "route_type": self.route.type, "settings": dict(self.route.settings)})
        preparer.create_route(standby, self.route)


@dataclass(frozen=True)
class RouteSettings(Change):
    """Settings in which two routes of one slug differ. `now` and `wanted` hold these only."""

    kind = "route-settings"
    route_id: str

    @property
    def text(self) -> str:
        changed = ", ".join(
            f"{name} {shown(self.now.get(name))} becomes {shown(value)}"
            for name, value in self.wanted.items()
        )
        return f"route {self.subject}: {changed}"

    def make(self, preparer: Preparer, standby: str, announce: Announce) -> None:  # noqa: ARG002  # the route's own id says which project
        announce({"route_id": self.route_id, "settings": self.wanted})
        preparer.change_route(self.route_id, self.wanted)


@dataclass(frozen=True)
class AttachDomain(Change):
    """A sending domain that only the main project may use.

    Invariant: the list that is written is the one that was read just before and the standby project, never
    shorter, because the call replaces it and every project left out loses the domain.
    """

    kind = "attach-domain"
    domain_id: str
    main: str

    @property
    def text(self) -> str:
        return f"domain {self.subject}: is attached, and stays attached to every project it has"

    @property
    def felt(self) -> bool:
        return False

    def make(self, preparer: Preparer, standby: str, announce: Announce) -> None:
        present = preparer.projects_of(self.domain_id)
        if standby in present:
            return
        if self.main not in present:
            raise Refused(
                f"Domain {self.subject} is not attached to project {self.main}, by its own list of projects, "
                "though it stands among that project's domains",
                then="Its list was left alone, because writing it could take the domain from a project",
                remedy="Try again; if it stays, attach the domain in the Lettermint dashboard",
            )
        wanted = (*present, standby)
        announce({"domain_id": self.domain_id, "project_ids": list(wanted)})
        preparer.attach_domain(self.domain_id, wanted)


def shown(value: object) -> str:
    """A setting's value for people."""
    if value is None:
        return "unset"
    return str(value) if not isinstance(value, bool) else "on" if value else "off"


def _listed(settings: Mapping[str, bool | str]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in settings.items())
