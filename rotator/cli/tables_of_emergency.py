"""What a person sees of an emergency: what it would do, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, TextIO

from rotator import words
from rotator.cli import tables
from rotator.cli.render import Column, card, table
from rotator.model import DestinationState, Order, Rotation, Slot, State

if TYPE_CHECKING:
    from rotator.operations.emergency import Report
    from rotator.operations.foresight import Cost, Foreseen, Foresight

_FEW: Final = 3
"""Up to so many policies are shown in full."""
_WHAT: Final = {
    Slot.ACTIVE: "the token that readers hold",
    Slot.OUTGOING: "the outgoing token of the open drain",
    Slot.BRIDGE: "the bridge token",
    Slot.STAGED: "the staged token, which no reader has",
}


def preview(found: Foresight, stream: TextIO) -> str:
    """A card per policy, of many a table; and what all of it takes."""
    if len(found.entries) <= _FEW:
        parts = [_entry(one, stream) for one in found.entries]
    else:
        parts = [_many(found.entries, stream)]
    parts.append(card("in all", "", _summary(found), stream=stream))
    return "\n\n".join(parts)


def report(found: Report, rotations: Sequence[Rotation]) -> str:
    """A line per token, and below it the rotations that tell more than that line: a few all, of many those that
    did not complete."""
    troubled = [one for one in rotations if one.state is not State.COMPLETED]
    more = rotations if len(rotations) <= _FEW else troubled
    return "\n\n".join(
        [
            _tokens(found),
            *(tables.rotation(one) for one in more),
            card("report", _verdict(found), _told(found)),
        ]
    )


# what would happen


def _entry(one: Foreseen, stream: TextIO) -> str:
    emergency = one.target.emergency
    lines = [
        ("kills", _kills(one)),
        *(("read by" if not n else "", spec.ref) for n, spec in enumerate(one.policy.destinations)),
        ("last used", _last_used(one)),
        *_orders(one),
        ("starts", _starts(one)),
        *(("overrides" if not n else "", text) for n, text in enumerate(one.overridden)),
        ("by hand", one.by_hand),
    ]
    return card(one.policy.name, f"{emergency.slot.value} token", lines, stream=stream)


def _kills(one: Foreseen) -> str:
    emergency = one.target.emergency
    what = _WHAT[emergency.slot]
    if one.target.joins is not None:
        return f"what rotation {one.target.joins.id}, an interrupted emergency, was about to kill; it goes on"
    if one.target.dead:
        return f"nothing: {what} is dead already; a new one is published at once"
    if emergency.slot is Slot.BRIDGE:
        return f"{what}: it is replaced where readers hold it, and only you can revoke it"
    if emergency.kill_only:
        return f"{what}, of project {_project(one)}, at once; nothing is published"
    if emergency.order is Order.REPLACE_FIRST:
        drain = words.length(emergency.drain)
        return f"{what}, of project {_project(one)}, once readers have another one and {drain} have passed"
    then = {
        Slot.ACTIVE: "; then readers get a new one",
        Slot.OUTGOING: "; readers hold another one",
        Slot.STAGED: "; another one is made",
    }
    return f"{what}, of project {_project(one)}, at once{then[emergency.slot]}"


def _project(one: Foreseen) -> str:
    return one.facts.id if one.facts else one.policy.project


def _last_used(one: Foreseen) -> str:
    if one.facts is None:
        return f"not known: {one.error.happened}" if one.error else "not known"
    if one.facts.token_last_used_at is None:
        return "never, as far as Lettermint tells"
    where = one.facts.token_last_used_ip
    return f"{one.facts.token_last_used_at}, from {where or 'an address that Lettermint does not tell'}"


def _orders(one: Foreseen) -> Iterable[tuple[str, str]]:
    for order in sorted(Order, key=lambda order: order is not one.order):
        name = "order" if order is one.order else "instead of"
        cost = one.costs.get(order)
        if cost is None:
            yield (name, f"{order.value}: not possible here")
            continue
        yield (name, f"{order.value}: exposed {_exposed(cost)}; outage {_outage(cost)}")
    yield ("estimated", f"from the wait for the rate limit, the drain and the work ({_work(one)})")


def _work(one: Foreseen) -> str:
    return f"{words.seconds(one.forecast.duration)} s: {one.forecast.duration_from}"


def _exposed(cost: Cost) -> str:
    return f"about {_span(cost.exposure)}"


def _outage(cost: Cost) -> str:
    if cost.outage is None:
        return f"not known: {cost.outage_from}"
    return (
        f"none {cost.outage_from}"
        if cost.outage == 0 and cost.outage_from.startswith("for ")
        else (
            f"none: {cost.outage_from}"
            if cost.outage == 0
            else f"up to {_span(cost.outage)}: {cost.outage_from}"
        )
    )


def _span(seconds: float) -> str:
    return f"{words.seconds(seconds)} s" if seconds < 1 else words.length(math.ceil(seconds))


def _starts(one: Foreseen) -> str:
    return f"{_second(one.cost.mint_at)}, ends about {_later(one.cost.ends_at, one.cost.mint_at)}"


def _many(entries: Sequence[Foreseen], stream: TextIO) -> str:
    columns = (
        Column("policy", whole=True),
        Column("first", whole=True),
        Column("exposed", whole=True),
        Column("outage", whole=True),
        Column("stores", whole=True, right=True),
        Column("last used"),
    )
    rows = (
        (
            one.policy.name,
            one.order.value.removesuffix("-first"),
            _span(one.cost.exposure),
            "?" if one.cost.outage is None else "none" if one.cost.outage == 0 else _span(one.cost.outage),
            str(len(one.policy.destinations)),
            _last_used_briefly(one),
        )
        for one in entries
    )
    shown = table(columns, rows, longest_first=20, stream=stream)
    # What is said of many is said once.
    told: dict[str, list[str]] = {}
    for one in entries:
        for text in one.overridden:
            told.setdefault(f"overridden: {text}", []).append(one.policy.name)
        if one.by_hand:
            told.setdefault(f"by hand: {one.by_hand}", []).append(one.policy.name)
    cards = [card(text, "", [("", ", ".join(names))], stream=stream) for text, names in told.items()]
    return "\n\n".join([shown, *cards])


def _last_used_briefly(one: Foreseen) -> str:
    if one.facts is None:
        return "not known"
    used = one.facts.token_last_used_at
    if not used:
        return "never"
    # The day, or the time of day where that is today: the card of one policy has both.
    at = used[11:16] if used[:10] == f"{one.cost.mint_at:%Y-%m-%d}" else used[5:10]
    return f"{at} {one.facts.token_last_used_ip or ''}".strip()


def _summary(found: Foresight) -> list[tuple[str, str]]:
    count = len(found.entries)
    starts, last, ends = found.starts_at, found.last_starts_at, found.ends_at
    if starts is None or last is None or ends is None:
        return [("", "Nothing is struck.")]
    limit = f"at {words.count(found.rotate_limit, 'mint')} in any 60 s"
    mints = (
        f"minted at {_second(starts)}, ended about"
        if count == 1
        else f"the first minted at {_second(starts)}, the last at {_later(last, starts)}, all ended about"
    )
    lines = [("takes", f"{words.count(count, 'token')} {limit}: {mints} {_later(ends, starts)}")]
    if count > _FEW:
        for order in Order:
            costs = [cost for one in found.entries if (cost := one.costs.get(order)) is not None]
            if costs:
                longest = _span(max(cost.exposure for cost in costs))
                lines.append(
                    (
                        order.value,
                        f"{len(costs)} of {count} can: exposed up to about {longest}; {_outages(costs)}",
                    )
                )
        lines.append(
            (
                "",
                "Figures are each policy's longest of its last five rotations; 5 s of work where none is known.",
            )
        )
    return lines


def _outages(costs: Sequence[Cost]) -> str:
    known = [cost.outage for cost in costs if cost.outage is not None]
    unknown = len(costs) - len(known)
    longest = max(known, default=0.0)
    parts = [f"outage up to {_span(longest)} each" if longest else "no outage" if known else "outage"]
    if unknown:
        parts.append(f"not known for {unknown}")
    return " ".join(parts) if not known else ", ".join(parts)


# what became of it


SHORT: Final = len("fp_") + 8
"""Characters of a fingerprint in the table, where 80 columns have to do; the whole of it stands below."""


def _tokens(found: Report) -> str:
    columns = (
        Column("policy", whole=True),
        Column("leaked token", whole=True),
        Column("dead", whole=True),
        Column("exposed s", whole=True),
        Column("outage s", whole=True),
        Column("stores", whole=True),
        Column("state", whole=True),
    )
    rows = [_row(target.policy.name, found.rotations.get(target.policy.name)) for target in found.targets]
    # Every name on a line of its own: a fingerprint needs the room.
    return table(columns, rows, longest_first=0)


def _row(name: str, one: Rotation | None) -> tuple[str, ...]:
    if one is None:
        return (name, "", "?", "-", "-", "-", "not begun")
    current = sum(1 for spec in one.destinations if spec.state is DestinationState.CURRENT)
    return (
        name,
        (one.leaked_fingerprint or "")[:SHORT],
        {True: "yes", False: "NO", None: "?"}[one.leaked_token_dead],
        words.bounds(one.exposure).removesuffix(" s"),
        words.bounds(one.outage).removesuffix(" s"),
        f"{current}/{len(one.destinations)}",
        one.state.value,
    )


def _verdict(found: Report) -> str:
    return "done" if found.all_dead else "needs-attention"


def _told(found: Report) -> list[tuple[str, str]]:
    struck = len(found.targets)
    dead = struck - len(found.not_done)
    longest = found.longest_exposure
    return [
        ("reported", f"{_second(found.reported_at)}; exposure counts from here"),
        ("dead", f"{dead} of {struck} leaked {'token' if struck == 1 else 'tokens'} proved dead"),
        ("exposed", f"{words.bounds(longest)} at the longest" if longest else "not measured"),
        *(("not done" if not n else "", f"{name}: {why}") for n, (name, why) in enumerate(found.not_done)),
    ]


def _later(moment: datetime, first: datetime) -> str:
    """A moment after another one that was told: without the day where that is the same."""
    return f"{moment:%H:%M:%S}" if moment.date() == first.date() else _second(moment)


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
