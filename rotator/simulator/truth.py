"""The truth log: what really happened, which no client can see from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rotator.clock import Instant, rfc3339
from rotator.simulator.records import Message, Mint


@dataclass(frozen=True, slots=True)
class Event:
    """One call. `seq` counts from 1 without gaps, in the order in which the world saw the calls.

    A call that a fault holds back for later makes two events: one on arrival, not executed and never
    answered, and one when it is executed.
    """

    seq: int
    at: Instant
    """When it was executed, or turned away."""
    arrived: Instant
    """When its request had been read."""
    call: str
    """Name of the call (`calls.CALLS`), `smtp-auth` or `smtp-send` at the relay, or `unknown`."""
    project: str | None
    token: str | None
    """Short digest of the token presented, known to the world or not."""
    ip: str
    status: int | None
    """What the rules answered, in SMTP's codes at the relay; None where a fault kept the call from them."""
    answered: int | None
    """The status that went over the wire; None where the connection was dropped instead."""
    executed: bool
    """The rules carried it out (2xx)."""
    faults: tuple[str, ...] = ()


def instant_json(moment: Instant) -> dict[str, Any]:
    """Both clocks. `boot` is CLOCK_BOOTTIME, so it compares with any process of the same machine."""
    return {"wall": rfc3339(moment.wall), "boot": moment.boot, "boot_id": moment.boot_id}


def event_json(event: Event) -> dict[str, Any]:
    """An event as the admin path shows it."""
    return {
        "seq": event.seq,
        "at": instant_json(event.at),
        "arrived": instant_json(event.arrived),
        "call": event.call,
        "project": event.project,
        "token": event.token,
        "ip": event.ip,
        "status": event.status,
        "answered": event.answered,
        "executed": event.executed,
        "faults": list(event.faults),
    }


def mint_json(mint: Mint) -> dict[str, Any]:
    """A mint as the admin path shows it."""
    return {
        "at": instant_json(mint.at),
        "project": mint.project,
        "via": mint.via,
        "old": mint.old,
        "new": mint.new,
        "old_dead_from": instant_json(mint.old_dead_from),
        "new_alive_from": instant_json(mint.new_alive_from),
    }


def message_json(message: Message) -> dict[str, Any]:
    """An accepted message as the admin path shows it, without its content."""
    return {
        "id": message.id,
        "at": instant_json(message.at),
        "project": message.project,
        "token": message.token,
        "from": message.sender,
        "to": list(message.to),
        "subject": message.request.get("subject"),
        "result": message.result,
        "idempotency_key": message.idempotency_key,
    }
