"""What the commands show of rotations, states and plans to a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from rotator import words
from rotator.cli.render import Column, card, table
from rotator.cli.tables_of_rehearsal import brief
from rotator.engine.drain import leaving
from rotator.model import Attention, ConsumerRecord, DrainEvidence, Rotation, State, Verified
from rotator.operations.plan import Plan, Planned
from rotator.views import STATES, PolicyStatus, Untold

_CARDS: int = 3
"""Up to so many rotations are shown in full."""
_LINES: int = 20
"""More policies than these have a line each in a plan."""


def rotations(found: Sequence[Rotation]) -> str:
    """A few rotations in full; many as a list, and below it what did not complete."""
    if len(found) <= _CARDS:
        return "\n\n".join(rotation(one) for one in found)
    troubled = [one for one in found if one.state is not State.COMPLETED]
    return "\n\n".join([history(found), *(rotation(one) for one in troubled)])


def history(found: Iterable[Rotation]) -> str:
    """One line per rotation."""
    columns = (
        Column("policy", whole=True),
        Column("rotation", whole=True),
        Column("state", whole=True),
        Column("outage"),
    )
    rows = ((r.policy, r.id, r.state.value, words.bounds(r.outage)) for r in found)
    return table(columns, rows, longest_first=20)


def rotation(one: Rotation, *, steps: bool = False) -> str:
    """Everything about one rotation that a person asks first; with every step if asked for."""
    took = (one.finished_at - one.started_at).total_seconds() if one.finished_at else None
    lines = [
        ("rotation", one.id),
        ("project", one.project),
        ("strategy", one.strategy.value),
        ("trigger", one.trigger.value + (f", {one.reason}" if one.reason else "")),
        (
            "started",
            _moment(one.started_at) + (f", took {words.seconds(took)} s" if took is not None else ""),
        ),
        ("outage", words.bounds(one.outage) if one.outage else "none measured"),
        ("exposure", words.bounds(one.exposure) if one.exposure else ""),
        ("old token", _old_token(one)),
        ("new token", one.new_fingerprint or ""),
        *(("verified" if not n else "", _verified(v)) for n, v in enumerate(one.verified)),
        *(
            ("destination" if not n else "", f"{d.state.value}: {d.ref}")
            for n, d in enumerate(one.destinations)
        ),
        *(("consumer" if not n else "", _consumer(c)) for n, c in enumerate(one.consumers)),
        ("message", one.message),
    ]
    shown = card(one.policy, one.state.value, lines)
    return f"{shown}\n\n{_steps(one)}" if steps and one.steps else shown


def status(found: Sequence[PolicyStatus], now: datetime) -> str:
    """One line per policy, then what needs attention and the command to type for each; of many, how they stand
    taken together, last, where a terminal still shows it."""
    rehearsed = any(one.rehearsal is not None for one in found)
    columns = (
        Column("policy", whole=True),
        Column("state", whole=True),
        Column("age", whole=True),
        Column("next due"),
        Column("last"),
        *((Column("rehearsed"),) if rehearsed else ()),
    )
    rows = (
        (
            one.name,
            one.state,
            words.length(one.age_seconds) if one.age_seconds is not None else "-",
            words.distance(one.next_due_at, now) if one.next_due_at else "-",
            _last(one),
            *((brief(one.rehearsal),) if rehearsed else ()),
        )
        for one in found
    )
    parts = [table(columns, rows)]
    open_now = [one for one in found if one.rotation]
    # Of many, each has its line above.
    parts += [_in_progress(one.rotation, one.state, now) for one in open_now[:_LINES] if one.rotation]
    parts += [_matter(one.name, one, attention, now) for one in found for attention in one.attention]
    parts += [
        _matter(f"rehearsal of {one.name}", one, attention, now)
        for one in found
        for attention in (one.rehearsal.attention if one.rehearsal is not None else ())
    ]
    parts += [
        card(f"{one.name}: {untold.type} was not told", "", _untold(untold))
        for one in found
        for untold in one.untold
    ]
    if len(found) > _CARDS:
        states = Counter(one.state for one in found)
        told = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
        parts.append(card("in all", "", [("", f"{words.count(len(found), 'policy')}: {told}")]))
    return "\n\n".join(parts)


def _matter(whose: str, one: PolicyStatus, attention: Attention, now: datetime) -> str:
    """A thing that a person must look at."""
    lines = (
        ("since", f"{_moment(attention.since)}, {words.distance(attention.since, now)}"),
        ("owner", one.owner or ""),
        ("what", attention.message),
        ("next", attention.next),
    )
    return card(f"{whose}: {attention.code}", "", lines)


def _untold(one: Untold) -> list[tuple[str, str]]:
    waiting = f"{words.count(one.waiting, 'notice')} tried again" if one.waiting else ""
    given_up = f"{words.count(one.given_up, 'notice')} given up" if one.given_up else ""
    return [("so far", ", ".join(part for part in (waiting, given_up) if part)), ("why", one.error)]


def _in_progress(one: Rotation, state: str, now: datetime) -> str:
    """Where an unfinished rotation stands, and, of a drain, how long it may take and how to end it."""
    lines = [
        ("rotation", f"{one.id}, begun {words.distance(one.started_at, now)}"),
        ("step", one.step),
        ("given up", one.abandoned),
    ]
    drain = one.drain
    if one.state is State.DRAINING and drain is not None:
        what = leaving(one)
        evidence = f"if the {what} stays unused" if drain.evidence is DrainEvidence.LAST_USED else "by time"
        holds = one.snapshot.get("drain", {}).get("on_max", "hold") == "hold"
        used = f"{drain.last_used_at}, from {drain.last_used_ip or 'an address not told'}"
        lines += [
            ("ends", f"{_until(drain.earliest_end.wall, now)}, {evidence}"),
            (
                "at most",
                f"{_until(drain.latest_end.wall, now)}; then it {'holds' if holds else 'kills the token'}",
            ),
            ("last used", used if drain.last_used_at else ""),
            (
                "to end it",
                f"`rotator retire {one.policy}`"
                + ("" if one.abandoned else f"; to go back, `rotator rollback {one.policy}`"),
            ),
        ]
    lines += [("consumer" if not n else "", _consumer(c)) for n, c in enumerate(one.consumers)]
    return card(one.policy, state, lines)


def _consumer(one: ConsumerRecord) -> str:
    return f"{one.state.value}: {one.ref}{f' ({one.detail})' if one.detail else ''}"


def _until(moment: datetime, now: datetime) -> str:
    return f"{_second(moment)}, {words.distance(moment, now)}" if moment > now else "at the next look"


def plan(found: Plan, now: datetime) -> str:
    """One card per policy, in the order in which they would rotate, and what all of it takes.

    Of several policies the steps are told once, below them: they are those of their strategies. Of many, each
    has a line.
    """
    if not found.entries:
        return ""
    if len(found.entries) > _LINES:
        return "\n\n".join([_plan_in_lines(found, now), card("in all", "", [("", summary(found))])])
    few = len(found.entries) <= _CARDS
    parts = [_planned(one, now, steps=few or one.past_no_return) for one in found.entries]
    if not few:
        told = {one.policy.strategy: one for one in found.entries if one.steps and not one.past_no_return}
        parts += [card(strategy.value, "", _way(one)) for strategy, one in told.items()]
    return "\n\n".join([*parts, card("in all", "", [("", summary(found))])])


def summary(found: Plan) -> str:
    """When what starts now starts and ends, by the rate limit, in one sentence."""
    total = found.summary
    if total.starts_at is None or total.last_starts_at is None or total.ends_at is None:
        later = [(one.starts_at, one) for one in found.entries if one.starts_at is not None]
        if not later:
            return "Nothing rotates now, and nothing has a date."
        at, one = min(later, key=lambda entry: entry[0])
        return f"Nothing rotates now. The next is {one.policy.name}, on {_moment(at)}."
    mints = "" if total.mints == total.count else f" with {words.count(total.mints, 'mint')},"
    rate = f"at {words.count(total.rotate_limit, 'mint')} in any 60 s"
    begin = f"{words.count(total.count, 'rotation')}{mints} {rate}:"
    first, last, end = map(_second, (total.starts_at, total.last_starts_at, total.ends_at))
    if total.count == 1:
        return f"{begin} it starts at {first} and ends about {end}."
    if first == last:
        return f"{begin} all start at {first} and have ended about {end}."
    return f"{begin} the first starts at {first}, the last at {last}, and all have ended about {end}."


def expected_outage(one: Planned) -> str:
    """The outage of one policy's next rotation, and what that is made from."""
    outage, source = one.forecast.outage, one.forecast.outage_from
    return f"up to {words.seconds(outage)} s: {source}" if outage is not None else f"not known: {source}"


def _planned(one: Planned, now: datetime, *, steps: bool) -> str:
    starts, ends = one.starts_at, one.ends_at
    limited = ", when the rate limit has room" if one.limited else ""
    lines = [
        ("why", one.decision.reason),
        ("date", one.explanation),
        ("due at", _moment(one.decision.due_at) if one.decision.due_at else ""),
        (
            "goes on" if one.goes_on else "rotates",
            f"{_second(starts)}, {words.distance(starts, now)}{limited}" if starts else "",
        ),
        ("ends", f"about {_second(ends)}" if ends else ""),
        ("lasts", f"{words.seconds(one.forecast.duration)} s: {one.forecast.duration_from}" if ends else ""),
        ("outage", expected_outage(one)),
        ("strategy", one.policy.strategy.value),
        *(_way(one) if steps else ()),
    ]
    return card(one.policy.name, one.state, lines)


def _plan_in_lines(found: Plan, now: datetime) -> str:
    columns = (
        Column("policy", whole=True),
        Column("state", whole=True),
        Column("rotates", whole=True),
        Column("why"),
    )
    rows = (
        (
            one.policy.name,
            one.state,
            words.distance(one.starts_at, now) if one.starts_at else "-",
            one.decision.reason,
        )
        for one in found.entries
    )
    return table(columns, rows)


def _way(one: Planned) -> list[tuple[str, str]]:
    """The steps, parted by the point of no return; what cannot be undone has a star and is spelt out."""
    names = [step.name if step.reversible else f"{step.name}*" for step in one.steps]
    stars = [f"* cannot be undone: {step.does}" for step in one.steps if not step.reversible]
    if one.past_no_return:
        rows = ["past the point of no return, only forward:", " > ".join(names)]
    else:
        turn = next((n for n, step in enumerate(one.steps) if not step.reversible), len(names))
        rows = [" > ".join(names[:turn])]
        rows += ["----- point of no return -----", " > ".join(names[turn:]), *stars] if stars else []
    return [("" if number else "steps", row) for number, row in enumerate(row for row in rows if row)]


def _steps(one: Rotation) -> str:
    columns = (
        Column("step", whole=True),
        Column("at", whole=True),
        Column("seconds", whole=True, right=True),
        Column("outcome", whole=True),
        Column("detail"),
    )
    return table(
        columns,
        ((s.name, f"{s.at:%H:%M:%S}", f"{s.seconds:.3f}", s.outcome.value, s.detail) for s in one.steps),
    )


def _last(one: PolicyStatus) -> str:
    if one.rotation is not None and one.rotation.step in one.way:
        return f"step {one.way.index(one.rotation.step) + 1} of {len(one.way)}: {one.rotation.step}"
    if one.last_outcome is None:
        return "-"
    return f"{one.last_outcome}, {words.bounds(one.last_outage)}" if one.last_outage else one.last_outcome


def _old_token(one: Rotation) -> str:
    if one.old_fingerprint is None:
        return "there was none" if one.new_fingerprint else ""
    if one.abandoned and one.old_token_dead is None:
        return one.old_fingerprint  # nobody was to kill it
    fate = {True: "dead", False: "ALIVE", None: "not proved dead"}[one.old_token_dead]
    return f"{one.old_fingerprint}, {fate}"


def _verified(verified: Verified) -> str:
    tries = words.count(verified.attempts, "attempt")
    return f"{verified.type} {'passed' if verified.ok else 'FAILED'}, {tries}" + (
        f": {verified.detail}" if verified.detail else ""
    )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
