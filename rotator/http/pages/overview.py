"""The page that a person reads in five seconds: what needs attention, what goes on, what comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from starlette.responses import Response

from rotator import words
from rotator.http.pages import document, drawing
from rotator.http.pages.markup import NOTHING, Html, element, foreign, joined, link, spoken, text
from rotator.http.pages.parts import (
    hour,
    moment,
    moment_and_distance,
    notice,
    policy_link,
    section,
    shortened,
    state,
)
from rotator.views import STATES, PolicyStatus

NOTICES_SHOWN: Final = 20
ROWS_SHOWN: Final = 20
"""Of what goes on and what is overdue; the table below has everything."""
NAMES_SHOWN: Final = 5
"""Of one day."""
_DAYS: Final = 7
_HEADS: Final = ("Policy", "State", "Token age", "Next due", "Last outcome", "Last outage")


def answer(statuses: Sequence[PolicyStatus], now: datetime) -> Response:
    """The status page."""
    verdict, tone = _verdict(statuses)
    overdue = sorted((one for one in statuses if one.overdue), key=lambda one: one.next_due_at or now)
    working = [one for one in statuses if one.rotation is not None]
    days = _week(statuses, now)
    return document.answer(
        verdict,
        "/",
        now,
        element("strong", "rotator"),
        element("h1", verdict, class_=f"verdict {tone}"),
        _summary(statuses, working, overdue, days) if statuses else _welcome(),
        _attention(statuses, now),
        _working(working, now),
        _overdue(overdue, now),
        _coming(days, statuses, now),
        _table(statuses, now),
    )


def _verdict(statuses: Sequence[PolicyStatus]) -> tuple[str, str]:
    if not statuses:
        return "There are no policies", "soft"
    of = words.count(len(statuses), "policy")
    troubled = sum(1 for one in statuses if one.attention)
    if troubled:
        return f"{troubled} of {of} {'needs' if troubled == 1 else 'need'} attention", "bad"
    overdue = sum(1 for one in statuses if one.overdue)
    if overdue:
        return f"{overdue} of {of} {'is' if overdue == 1 else 'are'} overdue", "warn"
    return f"{of}, nothing needs attention", "good"


def _welcome() -> Html:
    return element(
        "p",
        spoken("Put a policy into a file where ROTATOR_POLICIES says; `rotator validate` checks it."),
        class_="soft",
    )


def _summary(
    statuses: Sequence[PolicyStatus],
    working: Sequence[PolicyStatus],
    overdue: Sequence[PolicyStatus],
    days: Sequence[tuple[date, Sequence[PolicyStatus]]],
) -> Html:
    troubled = sum(1 for one in statuses if one.attention)
    held = sum(1 for one in statuses if one.state == "held")
    tiles = [
        _tile(troubled, "need attention" if troubled != 1 else "needs attention", "attention", "bad"),
        _tile(len(working), "in progress", "working", "calm"),
        _tile(len(overdue), "overdue", "overdue", "warn"),
        _tile(sum(len(due) for _, due in days), "due in seven days", "coming", "calm"),
        _tile(held, "held", "policies", "warn") if held else None,
        _tile(len(statuses), "policies" if len(statuses) != 1 else "policy", "policies", "calm"),
    ]
    return element("nav", element("ul", *tiles), aria_label="In short", class_="tiles")


def _tile(number: int, what: str, to: str, tone: str) -> Html:
    told = joined(element("b", str(number)), " ", what)
    if not number:
        return element("li", element("span", told, class_="none"))
    return element("li", link(f"#{to}", told, class_=tone))


def _attention(statuses: Sequence[PolicyStatus], now: datetime) -> Html:
    waiting = [(one, attention) for one in statuses for attention in one.attention]
    if not waiting:
        return NOTHING
    waiting.sort(key=lambda pair: (pair[1].code != "token-dead", pair[1].since))  # mail has stopped there
    notices = (notice(one, attention, now, level="h3", named=True) for one, attention in waiting)
    return section("attention", "Needs attention", shortened(notices, NOTICES_SHOWN, "div"))


def _working(working: Sequence[PolicyStatus], now: datetime) -> Html:
    if not working:
        return NOTHING
    rows = (_at_work(one, now) for one in working)
    return section("working", "In progress", shortened(rows, ROWS_SHOWN, "ul", class_="rows"))


def _at_work(one: PolicyStatus, now: datetime) -> Html:
    rotation = one.rotation
    assert rotation is not None
    place = one.way.index(rotation.step) + 1 if rotation.step in one.way else 0
    step = f"step {place} of {len(one.way)}: {rotation.step}" if place else rotation.step
    return element(
        "li",
        element("p", policy_link(one.name), " ", state(one.state), class_="title"),
        element("p", drawing.progress(place, len(one.way)) if place else None, step),
        element("p", spoken(rotation.message)) if rotation.message else None,
        element(
            "p",
            f"{rotation.trigger.value}, begun ",
            moment(rotation.started_at),
            f", {words.distance(rotation.started_at, now)}",
            class_="soft",
        ),
    )


def _overdue(overdue: Sequence[PolicyStatus], now: datetime) -> Html:
    if not overdue:
        return NOTHING
    rows = (
        element(
            "li",
            element("p", policy_link(one.name), " ", state(one.state), class_="title"),
            element("p", "was due ", moment_and_distance(one.next_due_at, now)),
            element("p", spoken(one.reason), class_="soft"),
        )
        for one in overdue
    )
    return section("overdue", "Overdue", shortened(rows, ROWS_SHOWN, "ul", class_="rows"))


def _week(statuses: Sequence[PolicyStatus], now: datetime) -> list[tuple[date, list[PolicyStatus]]]:
    """By day (UTC), from today: what becomes due on it. What is due already and not late counts as today's."""
    days: list[tuple[date, list[PolicyStatus]]] = [
        (now.date() + timedelta(days=number), []) for number in range(_DAYS)
    ]
    dated = [(one.next_due_at, one) for one in statuses if one.next_due_at is not None and not one.overdue]
    for at, one in sorted(dated, key=lambda pair: pair[0]):
        place = max(0, (at.date() - now.date()).days)
        if place < _DAYS:
            days[place][1].append(one)
    return days


def _coming(
    days: Sequence[tuple[date, Sequence[PolicyStatus]]], statuses: Sequence[PolicyStatus], now: datetime
) -> Html:
    if not statuses:
        return NOTHING
    if not any(due for _, due in days):
        later = [one.next_due_at for one in statuses if one.next_due_at is not None and not one.overdue]
        after = joined(" The next is due ", moment_and_distance(min(later), now), ".") if later else None
        return section("coming", "Next seven days", element("p", "Nothing becomes due.", after))
    told = [_day(day, due, number) for number, (day, due) in enumerate(days)]
    return section("coming", "Next seven days", element("ol", *told, class_="week"), about="days in UTC")


def _day(day: date, due: Sequence[PolicyStatus], number: int) -> Html:
    name = f"{day:%a}" if number else "Today"
    heading = joined(
        element("time", element("b", name), f" {day.day} {day:%b}", datetime=day.isoformat()),
        element("span", str(len(due)) if due else "none", class_="count"),
    )
    rows = (
        element("li", hour(one.next_due_at) if one.next_due_at else None, " ", policy_link(one.name))
        for one in due
    )
    return element(
        "li",
        element("p", heading, class_="day"),
        shortened(rows, NAMES_SHOWN, "ul") if due else None,
        class_=None if due else "free",
    )


def _table(statuses: Sequence[PolicyStatus], now: datetime) -> Html:
    if not statuses:
        return NOTHING
    # On a telephone the rows become cards; the roles keep it a table for who does not see it.
    head = element(
        "tr", *(element("th", name, scope="col", role="columnheader") for name in _HEADS), role="row"
    )
    rows = (_row(one, now) for one in sorted(statuses, key=lambda one: (_urgency(one.state), one.name)))
    return section(
        "policies",
        "Policies",
        element(
            "table",
            element("thead", head, role="rowgroup"),
            element("tbody", *rows, role="rowgroup"),
            role="table",
            aria_labelledby="policies-heading",
        ),
        about="urgent ones first",
    )


def _urgency(word: str) -> int:
    return STATES.index(word) if word in STATES else 0


def _row(one: PolicyStatus, now: datetime) -> Html:
    due = (
        joined(
            words.distance(one.next_due_at, now),
            element("br"),
            element("span", moment(one.next_due_at), class_="soft"),
        )
        if one.next_due_at
        else text("-")
    )
    cells = (
        state(one.state),
        text(words.length(one.age_seconds) if one.age_seconds is not None else "-"),
        due,
        state(one.last_outcome) if one.last_outcome else text("-"),
        text(words.bounds(one.last_outage)),
    )
    on = one.rehearsal
    rehearsed = f" · rehearsed {words.rehearsed(on.age_seconds, on.last_outcome)}" if on else None
    about = element(
        "span",
        *((foreign(one.owner), " · ") if one.owner else ()),
        spoken(one.reason),
        rehearsed,
        class_="soft about",
    )
    name = element("th", policy_link(one.name), about, scope="row", role="rowheader")
    told = (
        element("td", element("span", cell), data_label=label, role="cell")
        for label, cell in zip(_HEADS[1:], cells, strict=True)
    )
    return element("tr", name, *told, role="row")
