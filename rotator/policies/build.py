"""Turns the written format into the facts that the rest of rotator works with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from rotator import model
from rotator.policies.schedule import parse_duration
from rotator.policies.schema.places import AwsSecretsManager, Destination, Send, VaultKv, Verifier
from rotator.policies.schema.policy import Drain, Policy, Rehearsal, Schedule
from rotator.policies.texts import SECRET_ARN, minutes

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def policy(wire: Policy, *, file: str, line: int) -> model.Policy:
    """The policy as facts. `file` and `line` become part of the snapshot, so that it is whole."""
    written = plain(wire)
    return model.Policy(
        name=wire.name,
        project=wire.project,
        strategy=model.Strategy(wire.strategy),
        destinations=tuple(map(destination, wire.destinations)),
        verify=tuple(map(_verifier, wire.verify)),
        schedule=_schedule(wire.schedule) if wire.schedule else None,
        standby_project=wire.standby.project if wire.standby else None,
        standby_token=destination(wire.standby.token) if wire.standby and wire.standby.token else None,
        drain=_drain(wire.drain) if wire.drain else model.Drain(),
        on_out_of_band=wire.on_out_of_band,
        owner=wire.owner,
        labels=dict(wire.labels),
        consumers=tuple(map(plain, wire.consumers)),
        notify=tuple(map(plain, wire.notify)),
        rehearsal=_rehearsal(wire.rehearsal) if wire.rehearsal else None,
        file=file,
        line=line,
        snapshot={**written, "file": file, "line": line},
    )


def plain(part: Any) -> dict[str, Any]:
    """A part of the written format as plain JSON, defaults filled in and what was left out left out."""
    written: dict[str, Any] = part.model_dump(mode="json", by_alias=True, exclude_none=True)
    return written


def destination(wire: Destination) -> model.DestinationSpec:
    """The place, its one canonical name, and what only its type knows."""
    options: Mapping[str, Any]
    if isinstance(wire, AwsSecretsManager):
        place = _aws_place(wire)
        options = {"secret_id": wire.secret_id, "region": wire.region}
    elif isinstance(wire, VaultKv):
        place = f"{wire.mount}/{wire.path}"
        options = {"mount": wire.mount, "path": wire.path}
    else:
        place = wire.path
        mode = int(wire.mode, 8) if wire.mode else None
        options = {"path": wire.path, "format": wire.format, "mode": mode}
    return model.DestinationSpec(
        type=wire.type,
        place=f"{wire.type}:{place}",
        key=wire.key,
        create=wire.create,
        overwrite=wire.overwrite,
        options=options,
    )


def _aws_place(wire: AwsSecretsManager) -> str:
    arn = SECRET_ARN.fullmatch(wire.secret_id)
    if arn is not None:
        # The account stays: secrets of one name in two accounts are two places.
        return f"{arn['region']}:{arn['account']}/{arn['name']}"
    return f"{wire.region}/{wire.secret_id}" if wire.region else wire.secret_id


def _verifier(wire: Verifier) -> model.VerifySpec:
    if isinstance(wire, Send):
        return model.VerifySpec(type=wire.type, sender=wire.sender, to=wire.to)
    return model.VerifySpec(type=wire.type)


def _drain(wire: Drain) -> model.Drain:
    return model.Drain(
        min=parse_duration(wire.min),
        quiet=parse_duration(wire.quiet),
        max=parse_duration(wire.max),
        on_max=wire.on_max,
    )


def _rehearsal(wire: Rehearsal) -> model.Rehearsal:
    token = wire.standby.token if wire.standby else None
    return model.Rehearsal(
        project=wire.project,
        destinations=tuple(map(destination, wire.destinations)),
        verify=tuple(map(_verifier, wire.verify or ())),
        schedule=_schedule(wire.schedule) if wire.schedule else None,
        standby_project=wire.standby.project if wire.standby else None,
        standby_token=destination(token) if token else None,
        drain=_drain(wire.drain) if wire.drain else model.Rehearsal.drain,
    )


def _schedule(wire: Schedule) -> model.Schedule:
    window = wire.window
    return model.Schedule(
        every=parse_duration(wire.every) if wire.every else None,
        cron=wire.cron,
        timezone=wire.timezone,
        window=model.Window(
            days=tuple(sorted({_DAYS.index(day) for day in window.days})),
            start=minutes(window.start),
            end=minutes(window.end),
        )
        if window
        else None,
        jitter=parse_duration(wire.jitter) if wire.jitter else timedelta(0),
        max_age=parse_duration(wire.max_age) if wire.max_age else None,
    )
