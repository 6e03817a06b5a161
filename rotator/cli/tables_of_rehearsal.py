"""What `rehearse` shows to a person, and what a line of `status` has of it."""

from __future__ import annotations

from collections.abc import Sequence

from rotator import words
from rotator.cli.render import card
from rotator.model import Rotation
from rotator.operations.rehearse import Told
from rotator.views import RehearsalStatus


def rehearsed(told: Sequence[Told]) -> str:
    """A card for each policy."""
    return "\n\n".join(_one(one) for one in told)


def _one(told: Told) -> str:
    one = told.rehearsed
    if one is None:
        return card(f"rehearsal of {told.policy.name}", "nothing begun", [])
    emergency = one.emergency
    lines = [
        ("project", told.rehearsal.project),
        ("strategy", told.rehearsal.strategy.value),
        ("took", f"{words.seconds(one.seconds)} s in all its steps"),
        ("scheduled", _path(one.scheduled)),
        ("emergency", _path(emergency) if emergency is not None else "not begun"),
    ]
    if emergency is not None:
        lines.append(("exposure", words.bounds(emergency.exposure) if emergency.exposure else "not measured"))
    return card(f"rehearsal of {told.policy.name}", one.outcome, lines)


def _path(one: Rotation) -> str:
    outage = f", outage {words.bounds(one.outage)}" if one.outage else ""
    return f"{one.state.value}{outage}, rotation {one.id}"


def brief(one: RehearsalStatus | None) -> str:
    """For a line of `status`: the age of the last that succeeded, and whatever the latest came to instead."""
    return words.rehearsed(one.age_seconds, one.last_outcome) if one is not None else "-"
