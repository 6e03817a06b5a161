"""What makes the standby project of a policy like its main one: the changes, and what is left to a person.

Nothing is taken away: what only the standby project has is told. What readers would feel at once is changed
only where it is shown that they do not hold the standby project's token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from rotator.destinations.base import DestinationFactory
from rotator.engine.recovery import open_of
from rotator.errors import Refused, RotatorError
from rotator.journal.base import Journal
from rotator.model import Form, Policy, ProjectFacts
from rotator.operations.standby_changes import (
    AttachDomain,
    Change,
    DefaultRoute,
    NewRoute,
    RouteSettings,
    Setting,
)
from rotator.provider.base import Preparer, ProjectDetails, ProjectNotVisible
from rotator.secret import Secret

LEFT: Final = 4
"""Exit code while something is left to do, as `reconcile` has it."""

REMINDERS: Final = {
    "webhooks": "A webhook of one project or route hears nothing of the other: name both projects in it, so "
    "that it keeps one signing secret. One of the whole team needs nothing.",
    "suppressions": "A recipient suppressed in one project or route is not in the other: suppress for the "
    "whole team, or in both. Report forwarding is a project's own too.",
    "IP restrictions": "Restrict the tokens of both projects to the same addresses. Whether a rotated token "
    "keeps a restriction is not documented: look after the first rotation.",
}
"""What no call copies, or shows here (vendor docs on projects, webhooks and suppressions)."""


@dataclass(frozen=True)
class ByHand:
    """Something that only a person can do, or decide."""

    subject: str
    text: str
    blocks: bool
    """The two projects differ in it, which keeps rotations from going on; otherwise a reminder."""

    def view(self) -> dict[str, Any]:
        return {"subject": self.subject, "text": self.text, "blocks": self.blocks}


@dataclass(frozen=True)
class Plan:
    """What makes the standby project like the main one, in the order in which it is done."""

    policy: str
    project: str
    standby: str
    changes: tuple[Change, ...]
    by_hand: tuple[ByHand, ...]

    @property
    def exit_code(self) -> int:
        return LEFT if self.changes or any(one.blocks for one in self.by_hand) else 0


@dataclass(frozen=True)
class Readers:
    """What shows whose token readers hold."""

    journal: Journal
    known_project: Callable[[Secret], str | None]
    """The project that the journal knows a token to be of."""
    destination: DestinationFactory

    def may_hold(self, policy: Policy, standby: ProjectFacts) -> str:
        """Why readers may hold the standby project's token, in words; empty where it is shown that they do not.

        A token that was never used is nobody's, whatever the journal has forgotten. Raises JournalUnavailable.
        """
        for rotation in open_of(self.journal, policy):
            if rotation.policy == policy.name:
                return f"rotation {rotation.id} is unfinished, and readers may hold either project's token"
        try:
            destination = self.destination(policy.authoritative)
            token = destination.read().value_if_token
        except RotatorError as error:
            return f"what readers hold could not be read ({error.happened})"
        known = self.known_project(token) if token is not None else None
        if token is None or known == policy.project:
            return ""
        if known == standby.id:
            return f"{destination.describe()} holds this project's token, so readers would feel it at once"
        if standby.token_last_used_at is None:
            return ""
        source = f" from {standby.token_last_used_ip}" if standby.token_last_used_ip else ""
        return (
            "nothing shows whose token readers hold, and this project's token was used at "
            f"{standby.token_last_used_at}{source}"
        )


def compare(policy: Policy, preparer: Preparer, readers: Readers) -> Plan:
    """Looks at both projects and changes nothing.

    Raises Refused for a policy without a standby project and for a standby project that is not there, and as
    `Preparer.details`.
    """
    if policy.form is not Form.STANDBY or policy.standby_project is None:
        raise Refused(
            f"{policy.name} has no standby project",
            then="Nothing was changed",
            remedy="It takes `strategy: create-before-revoke` with `standby: {project: ID}`",
        )
    main = preparer.details(policy.project)
    try:
        standby = preparer.details(policy.standby_project)
    except ProjectNotVisible as error:
        raise Refused(
            f"The standby project {policy.standby_project} is not visible to this team token",
            then="Nothing was changed",
            remedy="Make a project in the Lettermint dashboard and put its id into the policy, as `standby: "
            "{project: ID}`; its token may be thrown away, the first rotation makes another",
        ) from error
    changes = tuple(_changes(main, standby))
    felt = [one for one in changes if one.felt]
    why = readers.may_hold(policy, standby.facts) if felt else ""
    held_back = felt if why else []
    by_hand = [
        *(
            ByHand(
                one.subject,
                f"{one.text}; not done here, because {why}. Set whichever of the two projects is wrong.",
                blocks=True,
            )
            for one in held_back
        ),
        *_unalike(main, standby),
        *(ByHand(subject, text, blocks=False) for subject, text in REMINDERS.items()),
        *_inbound(main),
    ]
    kept = tuple(one for one in changes if one not in held_back)
    return Plan(policy.name, main.facts.id, standby.facts.id, kept, tuple(by_hand))


def _changes(main: ProjectDetails, standby: ProjectDetails) -> Iterator[Change]:
    """Routes before what refers to them; settings one by one, so that each stands in the audit by itself."""
    theirs = {route.slug: route for route in standby.routes}
    for route in main.routes:
        other = theirs.get(route.slug)
        if other is None:
            yield NewRoute(route.slug, None, route.type, route)
        elif other.type == route.type:
            differing = {n: value for n, value in route.settings.items() if other.settings.get(n) != value}
            if differing:
                present = {name: other.settings.get(name) for name in differing}
                yield RouteSettings(route.slug, present, differing, other.id)
    ours = {route.slug for route in main.routes}
    if main.default_route in ours and main.default_route != standby.default_route:
        yield DefaultRoute("default_route", standby.default_route, main.default_route)
    settings: tuple[tuple[str, bool | str | None, bool | str | None], ...] = (
        ("smtp_enabled", standby.facts.smtp_enabled, main.facts.smtp_enabled),
        ("redact_email_content", standby.redacts, main.redacts),
        ("delivery_mode", standby.facts.delivery_mode or None, main.facts.delivery_mode or None),
    )
    for name, now, value in settings:
        if value is not None and value != now:
            yield Setting(name, now, value)
    for domain, identity in main.domains.items():
        if domain not in standby.domains:
            yield AttachDomain(domain, None, standby.facts.id, identity, main.facts.id)


def _unalike(main: ProjectDetails, standby: ProjectDetails) -> Iterator[ByHand]:
    """Differences that a call could only end by taking something away, or not at all."""
    ours = {route.slug: route for route in main.routes}
    for route in standby.routes:
        other = ours.get(route.slug)
        if other is None:
            yield ByHand(
                route.slug,
                f"Route {route.slug} is only in the standby project: delete it there, or make it in project "
                f"{main.facts.id} too.",
                blocks=True,
            )
        elif other.type != route.type:
            yield ByHand(
                route.slug,
                f"Route {route.slug} is {route.type} in the standby project and {other.type} in project "
                f"{main.facts.id}, and a route's type cannot be changed: delete it there and repeat this.",
                blocks=True,
            )
    if main.default_route not in ours and main.default_route != standby.default_route:
        yield ByHand(
            "default_route",
            f"The default route of project {main.facts.id} is {main.default_route or 'none'}, which no call gives "
            f"the standby project; there it is {standby.default_route or 'none'}: make the two alike.",
            blocks=True,
        )
    for domain in standby.domains:
        if domain not in main.domains:
            yield ByHand(
                domain,
                f"Domain {domain} is attached only to the standby project: detach it there, or attach it to "
                f"project {main.facts.id} too.",
                blocks=True,
            )


def _inbound(main: ProjectDetails) -> Iterator[ByHand]:
    if main.inbound:
        yield ByHand(
            "inbound",
            f"Inbound mail ({', '.join(main.inbound)}) goes on arriving in project {main.facts.id}, whichever "
            "token is current: an inbound address belongs to one route.",
            blocks=False,
        )
