"""What the pages have in common: states, moments, and what needs attention."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from rotator import words
from rotator.clock import rfc3339
from rotator.http.pages.markup import Html, element, foreign, joined, link, segment, spoken, text
from rotator.model import Attention
from rotator.views import PolicyStatus

TONES: Final = {
    "ok": "good",
    "completed": "good",
    "done": "good",
    "due": "calm",
    "running": "calm",
    "draining": "calm",
    "overdue": "warn",
    "held": "warn",
    "refused": "warn",
    "unclear": "warn",
    "needs-attention": "bad",
    "failed": "bad",
}
"""How a word that stands for a state is coloured. The word says it all; colour only repeats it."""


def state(word: str) -> Html:
    """The name of a state, in its colour."""
    return element("span", word, class_=f"state {TONES.get(word, 'soft')}")


def policy_link(name: str) -> Html:
    """A policy's name, which leads to its page."""
    return link(f"/policies/{segment(name)}", foreign(name))


def moment(at: datetime) -> Html:
    """Date and time to the minute, with the exact one for machines."""
    return element("time", f"{at:%Y-%m-%d %H:%M} UTC", datetime=rfc3339(at))


def hour(at: datetime) -> Html:
    """The time of a day that is told already."""
    return element("time", f"{at:%H:%M}", datetime=rfc3339(at))


def moment_and_distance(at: datetime | None, now: datetime) -> Html:
    """How far away it is, and when; a dash where there is no such moment."""
    if at is None:
        return text("-")
    return joined(words.distance(at, now), " ", element("span", moment(at), class_="soft"))


def notice(one: PolicyStatus, attention: Attention, now: datetime, *, level: str, named: bool) -> Html:
    """One thing that a person must look at, and what to type. `level` is the heading's: h2 or h3."""
    name = joined(policy_link(one.name), ": ") if named else None
    about = joined(
        "since ",
        moment(attention.since),
        f", {words.distance(attention.since, now)}",
        *((" · owner ", foreign(one.owner)) if one.owner and named else ()),
    )
    return element(
        "article",
        element(level, name, element("span", attention.code, class_="bad")),
        element("p", spoken(attention.message)),
        element("p", element("strong", "Next: "), spoken(attention.next), class_="next"),
        element("p", about, class_="soft"),
        class_="notice",
    )


def section(name: str, heading: str, *children: str | None, about: str | None = None) -> Html:
    """A part of a page that can be jumped to."""
    told = joined(" ", element("span", about, class_="soft")) if about else None
    return element(
        "section",
        element("h2", heading, told, id=f"{name}-heading"),
        *children,
        id=name,
        aria_labelledby=f"{name}-heading",
    )


def shortened(items: Iterable[Html], shown: int, tag: str, **attributes: str) -> Html:
    """The first `shown` of a list in the open, the others behind a line that says how many they are."""
    every = list(items)
    first = element(tag, *every[:shown], **attributes)
    rest = every[shown:]
    if not rest:
        return first
    summary = element("summary", f"and {len(rest)} more")
    return joined(first, element("details", summary, element(tag, *rest, **attributes)))
