"""What an emergency would do: who is struck, in which order, what both orders would cost. Changes nothing.

A figure says what it is made from, because a number without that is taken for a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from rotator.clock import parse_rfc3339, rfc3339
from rotator.engine.sides import remembered_side
from rotator.engine.states import overlaps
from rotator.errors import RotatorError
from rotator.journal.base import Journal
from rotator.model import Emergency, Form, Order, Policy, ProjectFacts, Slot
from rotator.operations.emergency import Target
from rotator.operations.forecast import WINDOW, Forecast, MintTimes, forecast, last_of
from rotator.operations.several import side_by_side
from rotator.policies.schedule import describe_window, is_open

TOKEN_DEAD: Final = "token-dead"  # noqa: S105  # the name of an attention code
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Cost:
    """What one order is expected to cost one policy, in seconds from now."""

    exposure: float
    """Until the leaked token is proved dead."""
    outage: float | None
    """None where nothing tells."""
    outage_from: str
    mint_at: datetime
    """When the rate limit lets its first mint go."""
    ends_at: datetime


@dataclass(frozen=True)
class Foreseen:
    """What an emergency would do to one policy."""

    target: Target
    forecast: Forecast
    costs: Mapping[Order, Cost]
    """By order; without one that the strategy cannot do."""
    facts: ProjectFacts | None
    """Of the project whose token leaked; None where the provider could not be asked."""
    error: RotatorError | None = None
    overridden: tuple[str, ...] = ()
    """What would stop an ordinary rotation, in words."""
    by_hand: str = ""
    """What only a person can do, in words."""

    @property
    def policy(self) -> Policy:
        return self.target.policy

    @property
    def order(self) -> Order:
        return self.target.emergency.order

    @property
    def cost(self) -> Cost:
        """Of the order that is taken."""
        return self.costs[self.order]

    def view(self) -> dict[str, Any]:
        emergency = self.target.emergency
        return {
            "policy": self.policy.name,
            "slot": emergency.slot.value,
            "order": emergency.order.value,
            "kill_only": emergency.kill_only,
            "drain_seconds": emergency.drain if self.order is Order.REPLACE_FIRST else None,
            "dead_already": self.target.dead,
            "destinations": [spec.ref for spec in self.policy.destinations],
            "token_last_used_at": self.facts.token_last_used_at if self.facts else None,
            "token_last_used_ip": self.facts.token_last_used_ip if self.facts else None,
            "predicted": {
                order.value: {
                    "exposure_seconds": cost.exposure,
                    "outage_seconds": cost.outage,
                    "outage_from": cost.outage_from,
                    "starts_at": rfc3339(cost.mint_at),
                    "ends_at": rfc3339(cost.ends_at),
                }
                for order, cost in self.costs.items()
            },
            "predicted_duration_from": self.forecast.duration_from,
            "overridden": list(self.overridden),
            "by_hand": self.by_hand,
        }


@dataclass(frozen=True)
class Foresight:
    """What an emergency would do, in the order in which it would happen."""

    entries: tuple[Foreseen, ...]
    rotate_limit: int

    @property
    def starts_at(self) -> datetime | None:
        return min((one.cost.mint_at for one in self.entries), default=None)

    @property
    def last_starts_at(self) -> datetime | None:
        return last_of(one.cost.mint_at for one in self.entries)

    @property
    def ends_at(self) -> datetime | None:
        return last_of(one.cost.ends_at for one in self.entries)

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(one.target for one in self.entries)

    def view(self) -> dict[str, Any]:
        ends = self.ends_at
        return {
            "emergency": [one.view() for one in self.entries],
            "summary": {
                "count": len(self.entries),
                "rate_limit": {"mints": self.rotate_limit, "seconds": WINDOW},
                "ends_at": rfc3339(ends) if ends else None,
            },
        }


def foresee(
    targets: Iterable[Target],
    *,
    facts: Callable[[str], ProjectFacts],
    journal: Journal,
    now: datetime,
    rotate_limit: int,
) -> Foresight:
    """What would happen, what is dead first, then the most exposed: those whose token was used last.

    `facts` asks the provider; what it raises is kept in the policy's entry, and stops no emergency.
    Raises JournalUnavailable.
    """
    seen = [_Look(target, journal) for target in targets]
    for name, told in side_by_side({one.policy.name: partial(facts, one.side) for one in seen}):
        look = next(one for one in seen if one.policy.name == name)
        if isinstance(told, RotatorError):
            look.error = told
        else:
            look.facts = told
    seen.sort(key=_urgency, reverse=True)
    chosen = _schedule(seen, None, journal, now, rotate_limit)
    both = {order: _schedule(seen, order, journal, now, rotate_limit) for order in Order}
    entries = []
    for look in seen:
        costs = {order: both[order][look.policy.name] for order in look.orders}
        costs[look.target.emergency.order] = chosen[look.policy.name]
        entries.append(look.foreseen(costs, now))
    return Foresight(tuple(entries), rotate_limit)


class _Look:
    """One policy while its emergency is foreseen."""

    def __init__(self, target: Target, journal: Journal) -> None:
        self.target = target
        self.policy = target.policy
        self.open = [one for one in journal.unfinished() if one.policy == self.policy.name]
        self.forecast = forecast(journal, self.policy)
        self.facts: ProjectFacts | None = None
        self.error: RotatorError | None = None
        attention = {entry.code for entry in journal.attentions(self.policy.name)}
        self.dead = target.dead or TOKEN_DEAD in attention
        self.hold = journal.holds().get(self.policy.name)
        self.leases = [view for project in self.policy.projects if (view := journal.lease_of(project))]
        self.side = self._side(journal)

    def _side(self, journal: Journal) -> str:
        """The project whose token leaked, as far as the journal remembers."""
        slot = self.target.emergency.slot
        for one in self.open:
            leaving = one.outgoing if one.returned is None else one.incoming
            project = {Slot.OUTGOING: leaving, Slot.STAGED: one.incoming}.get(slot)
            if project:
                return project
        return remembered_side(journal, self.policy)

    @property
    def orders(self) -> tuple[Order, ...]:
        if self.target.emergency.kill_only or self.target.emergency.slot is Slot.OUTGOING:
            return (Order.KILL_FIRST,)
        return tuple(Order) if overlaps(self.policy) else (Order.KILL_FIRST,)

    def foreseen(self, costs: Mapping[Order, Cost], now: datetime) -> Foreseen:
        return Foreseen(
            target=replace(self.target, dead=self.dead),
            forecast=self.forecast,
            costs=costs,
            facts=self.facts,
            error=self.error,
            overridden=tuple(self._overridden(now)),
            by_hand=_by_hand(self.policy, self.target.emergency),
        )

    def _overridden(self, now: datetime) -> Iterable[str]:
        if self.hold is not None:
            why = f" ({self.hold.reason})" if self.hold.reason else ""
            yield f"it is held by {self.hold.by}{why}"
        at_work = [view.holder for view in self.leases if view.holder is not None and view.expires_in > 0]
        for one in self.open:
            if at_work:
                yield f"rotation {one.id} is at work on it, by {at_work[0].label}: it is pre-empted"
            else:
                yield f"rotation {one.id} is open ({one.state.value} at {one.step}): it is taken up"
        if at_work and not self.open:
            yield f"{at_work[0].label} is at work on it, and is pre-empted"
        schedule = self.policy.schedule
        if schedule is not None and schedule.window is not None and not is_open(schedule, now):
            yield f"now is outside its window, {describe_window(schedule)}"


def _urgency(look: _Look) -> tuple[bool, datetime]:
    used = look.facts.token_last_used_at if look.facts else None
    try:
        return look.dead, parse_rfc3339(used) if used else _LONG_AGO
    except ValueError:
        return look.dead, _LONG_AGO


def _by_hand(policy: Policy, emergency: Emergency) -> str:
    if emergency.slot is Slot.BRIDGE:
        return (
            "rotate-token does not reach the bridge token: revoke it in the Lettermint dashboard, make another "
            "there and put it into the bridge's secret"
        )
    if policy.form is Form.ASSISTED:
        return (
            f"a person makes the tokens of {policy.name}: make one in the Lettermint dashboard, hand it in with "
            f"`rotator stage {policy.name}`, and revoke the leaked one there"
        )
    return ""


def _schedule(
    looks: Sequence[_Look], order: Order | None, journal: Journal, now: datetime, rotate_limit: int
) -> dict[str, Cost]:
    """What each costs if all took this order, or else their own; in the order in which they go."""
    times = MintTimes(journal, rotate_limit, now)
    taken = {one.policy.name: order if order in one.orders else one.target.emergency.order for one in looks}
    first = {one.policy.name: times.next(now) for one in looks}
    last = dict(first)
    # The token of one that replaces first dies by a second mint, once its drain has ended.
    ready = sorted(
        (
            (first[one.policy.name] + timedelta(seconds=_drained(one)), one.policy.name)
            for one in looks
            if taken[one.policy.name] is Order.REPLACE_FIRST
        ),
        key=lambda entry: entry[0],
    )
    for at, name in ready:
        last[name] = times.next(at)
    return {one.policy.name: _cost(one, taken[one.policy.name], first, last, now) for one in looks}


def _drained(look: _Look) -> float:
    return look.forecast.duration + look.target.emergency.drain


def _cost(
    look: _Look, order: Order, first: Mapping[str, datetime], last: Mapping[str, datetime], now: datetime
) -> Cost:
    name, work = look.policy.name, look.forecast.duration
    ends = last[name] + timedelta(seconds=work)
    outage, outage_from = _outage(look, order)
    return Cost((ends - now).total_seconds(), outage, outage_from, first[name], ends)


def _outage(look: _Look, order: Order) -> tuple[float | None, str]:
    emergency = look.target.emergency
    if emergency.kill_only:
        return None, "mail stops until a later run publishes another token"
    if emergency.slot is Slot.OUTGOING:
        return 0.0, "readers hold another token; those that still use the leaked one fail"
    if emergency.slot is Slot.STAGED:
        return 0.0, "no reader has the leaked one"
    if order is Order.REPLACE_FIRST:
        return 0.0, "for readers that read again before the drain ends"
    if overlaps(look.policy):
        # Its own past is of rotations that keep the old token alive.
        return look.forecast.duration, f"at most as long as all its work: {look.forecast.duration_from}"
    return look.forecast.outage, look.forecast.outage_from
