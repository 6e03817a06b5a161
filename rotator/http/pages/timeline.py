"""A rotation as columns and spans: where on a drawing each step, each token's life and the outage go.

A mint takes half a second and a drain a week, so no scale in proportion shows both. Each step has a column;
a longer one is wider, but by its logarithm. Within a column time runs evenly. Places are parts of the whole
width, from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from rotator.model import Death, Form, Rotation, StepOutcome

_PAUSE: Final = timedelta(seconds=5)
"""Between two steps; a longer one has a column of its own."""
_GROWTH: Final = 0.35
_NARROW: Final = 0.5
"""Width of a pause, beside the 1 of a step."""
_KILLS: Final = frozenset({"mint+publish", "mint+stage", "kill", "retire", "revoke", "discard"})
"""Steps in which a token dies."""
_SERVES: Final = frozenset({"mint+publish", "promote"})
"""Steps in which readers get the new one."""


@dataclass(frozen=True)
class Attempt:
    """One try at a step."""

    start: datetime
    end: datetime
    outcome: str


@dataclass(frozen=True)
class Column:
    """One step, all attempts at it in a row; or a pause, which has no name; or one that is still to come."""

    name: str
    start: datetime | None
    """None for what is still to come."""
    end: datetime | None
    outcome: str
    """Of the last attempt; `now` for the one at hand, `ahead`, or `pause`."""
    attempts: tuple[Attempt, ...] = ()
    left: float = 0.0
    right: float = 0.0

    def place(self, moment: datetime) -> float:
        """Where a moment is drawn; outside of the column, at its nearer edge."""
        if self.start is None or self.end is None or self.end <= self.start:
            return self.left
        part = (moment - self.start) / (self.end - self.start)
        return self.left + min(1.0, max(0.0, part)) * (self.right - self.left)


@dataclass(frozen=True)
class Span:
    """A part of a token's life, or a time between two of them."""

    left: float
    right: float
    kind: str
    """`staged`: nobody reads it. `live`: readers may use it. `dying`: between the bounds of its death."""


@dataclass(frozen=True)
class Lane:
    """The life of one token."""

    label: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Timeline:
    """Everything that a drawing shows."""

    columns: tuple[Column, ...]
    lanes: tuple[Lane, ...]
    overlap: Span | None
    """Old and new token both live."""
    outage: Span | None
    """Readers' token is dead, and the new one is not served yet."""


def timeline(rotation: Rotation, way: Sequence[str] = (), now: datetime | None = None) -> Timeline:
    """Of an unfinished rotation `way` names its steps and `now` is the time; of others neither is used."""
    columns = _placed(_columns(rotation, way if rotation.unfinished else (), now or rotation.started_at))
    return _Lives(rotation, columns).timeline()


def death_of(rotation: Rotation) -> Death | None:
    """When the old token died, as far as it was measured. Over a bridge nobody measures it, because readers hold
    another one: it died by the mint, at the earliest when that was sent; of several, when readers had left it. Of a
    rotation that was given up the new one died."""
    if rotation.abandoned:
        return None
    if rotation.death is None and rotation.form is Form.BRIDGE and rotation.minted and rotation.intent:
        if rotation.mints == 1 or rotation.bridged_at is None:
            return Death(after=rotation.intent.sent)
        return Death(after=replace(rotation.intent.sent, wall=rotation.bridged_at))
    return rotation.death


def _columns(rotation: Rotation, way: Sequence[str], now: datetime) -> list[Column]:
    columns: list[Column] = []
    for step in rotation.steps:
        end = step.at + timedelta(seconds=max(0.0, step.seconds))
        attempt = Attempt(step.at, end, step.outcome.value)
        before = columns[-1] if columns else None
        if before is not None and before.end is not None:
            if before.name == step.name:
                columns[-1] = replace(
                    before,
                    end=max(end, before.end),
                    outcome=step.outcome.value,
                    attempts=(*before.attempts, attempt),
                )
                continue
            if step.at - before.end > _PAUSE:
                columns.append(Column("", before.end, step.at, "pause"))
        columns.append(Column(step.name, step.at, end, step.outcome.value, (attempt,)))
    if way:
        columns += _ahead(rotation, way, columns, now)
    return columns


def _ahead(rotation: Rotation, way: Sequence[str], columns: list[Column], now: datetime) -> list[Column]:
    """The step at hand, which may have been tried already, and those after it."""
    last = columns[-1] if columns else None
    if last is not None and last.name == rotation.step and last.end is not None:
        columns[-1] = replace(last, end=max(now, last.end), outcome="now")
        rest = []
    else:
        start = last.end if last is not None else rotation.started_at
        rest = [Column(rotation.step, start, max(now, start) if start else now, "now")]
    after = list(way)[list(way).index(rotation.step) + 1 :] if rotation.step in way else []
    return rest + [Column(name, None, None, "ahead") for name in after]


def _placed(columns: Sequence[Column]) -> tuple[Column, ...]:
    weights = [_weight(column) for column in columns]
    total = sum(weights) or 1.0
    placed: list[Column] = []
    left = 0.0
    for column, weight in zip(columns, weights, strict=True):
        placed.append(replace(column, left=left, right=left + weight / total))
        left += weight / total
    return tuple(placed)


def _weight(column: Column) -> float:
    base = 1.0 if column.name else _NARROW
    if column.start is None or column.end is None:
        return base
    return base + _GROWTH * math.log10(1 + (column.end - column.start).total_seconds())


class _Lives:
    """When the tokens of a rotation lived, as places on its columns."""

    def __init__(self, rotation: Rotation, columns: Sequence[Column]) -> None:
        self._rotation = rotation
        self._columns = columns
        past = [column for column in columns if column.start is not None]
        self._now = past[-1].right if past else 0.0
        self._edge = self._now if rotation.unfinished else 1.0
        """How far lives that have not ended are drawn."""

    def timeline(self) -> Timeline:
        rotation = self._rotation
        lanes = []
        if rotation.old_fingerprint is not None:
            lanes.append(Lane("old token", self._old()))
        if rotation.form is Form.BRIDGE:
            lanes.append(Lane("bridge token", self._bridge()))
        lanes.append(Lane("new token", self._new()))
        lived = tuple(lane for lane in lanes if lane.spans)
        return Timeline(tuple(self._columns), lived, self._overlap(), self._outage())

    def _old(self) -> tuple[Span, ...]:
        death = death_of(self._rotation)
        if death is not None:
            after = self._at(death.after.wall, _KILLS)
            proved = self._done("prove-dead")
            unseen = self._edge if proved is None else proved
            before = self._at(death.before.wall, _KILLS) if death.before else unseen
            return _spans((0.0, after, "live"), (after, before, "dying"))
        if self._rotation.old_token_dead:
            return _spans((0.0, self._end_of("revoke", "prove-dead"), "live"))
        return _spans((0.0, self._edge, "live"))

    def _bridge(self) -> tuple[Span, ...]:
        begins = self._done("promote-bridge")
        if begins is None:
            return ()
        left = self._done("drain-bridge")
        return _spans((begins, self._edge if left is None else left, "live"))

    def _new(self) -> tuple[Span, ...]:
        made, serves = self._made(), self._serves()
        if self._rotation.abandoned and made is not None:
            death = self._rotation.death
            ends = self._end_of("discard") if death is None else self._at(death.after.wall, _KILLS)
            seen = self._read_for_a_while()
            seen = ends if seen is None else seen
            return _spans((made, seen, "staged"), (seen, ends, "live"))
        if serves is not None:
            return _spans(
                (serves if made is None else min(made, serves), serves, "staged"),
                (serves, self._edge, "live"),
            )
        return () if made is None else _spans((made, self._edge, "staged"))

    def _made(self) -> float | None:
        if self._rotation.form is Form.IN_PLACE:
            return None  # it is written the moment it is there
        return self._done("mint+stage", "take+stage")

    def _serves(self) -> float | None:
        """From when readers get the new token."""
        rotation = self._rotation
        if rotation.form is Form.IN_PLACE:
            return self._at(rotation.served.wall, _SERVES) if rotation.served else None
        if rotation.promoted is None or (rotation.form is Form.BRIDGE and self._done("promote") is None):
            return None
        return self._at(rotation.promoted.wall, _SERVES)

    def _read_for_a_while(self) -> float | None:
        """Since when a token that was given up may be in readers' hands; None where it was never in any."""
        return self._done("promote") if self._rotation.returned is not None else None

    def _overlap(self) -> Span | None:
        """From when readers got the next token until the old one was killed; until the next one was where that was
        given up."""
        if self._rotation.form is Form.IN_PLACE or self._rotation.old_fingerprint is None:
            return None
        if self._rotation.abandoned:
            live = [span for span in self._new() if span.kind == "live"]
            return replace(live[0], kind="overlap") if live else None
        begins = self._done("promote-bridge") if self._rotation.form is Form.BRIDGE else self._serves()
        old = self._old()
        if begins is None or not old or old[0].right <= begins:
            return None
        return Span(begins, old[0].right, "overlap")

    def _outage(self) -> Span | None:
        rotation = self._rotation
        if rotation.death is None or rotation.form is not Form.IN_PLACE:
            return None
        if rotation.served is None and not rotation.unfinished:
            return None
        begins = self._at(rotation.death.after.wall, _KILLS)
        ends = self._at(rotation.served.wall, _SERVES) if rotation.served else self._edge
        return Span(begins, ends, "outage") if ends > begins else None

    def _done(self, *names: str) -> float | None:
        """Where the last step of these names ended; None where none of them did."""
        places = [
            column.right
            for column in self._columns
            if column.name in names and column.outcome == StepOutcome.DONE.value
        ]
        return places[-1] if places else None

    def _end_of(self, *names: str) -> float:
        return next((place for name in names if (place := self._done(name)) is not None), self._edge)

    def _at(self, moment: datetime, steps: frozenset[str]) -> float:
        """The place of a moment, in one of the steps that it belongs to if it lies in them: steps may end at the
        moment at which others begin. What lies after everything is put at the edge."""
        ended = [column for column in self._columns if column.end is not None and moment <= column.end]
        own = (one for one in ended if one.name in steps and one.start is not None and one.start <= moment)
        column = next(own, ended[0] if ended else None)
        return column.place(moment) if column is not None else self._edge


def _spans(*spans: tuple[float, float, str]) -> tuple[Span, ...]:
    return tuple(Span(left, right, kind) for left, right, kind in spans if right > left)
