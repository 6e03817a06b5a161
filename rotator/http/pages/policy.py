"""The page of one policy: where it stands, what to type, and its rotations as drawings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from starlette.responses import Response

from rotator import words
from rotator.http.pages import document, drawing
from rotator.http.pages.markup import NOTHING, Html, element, foreign, joined, link, segment, spoken, text
from rotator.http.pages.parts import TONES, moment, moment_and_distance, notice, section, state
from rotator.http.pages.timeline import Column, timeline
from rotator.model import Form, Rotation, Trigger, Verified
from rotator.views import PolicyStatus

ROTATIONS: Final = 20
"""As many of the newest are shown."""
_BEGUN: Final = {
    Trigger.SCHEDULE: "On schedule.",
    Trigger.MANUAL: "By hand.",
    Trigger.EMERGENCY: "In an emergency.",
    Trigger.API: "Asked for over HTTP.",
    Trigger.REHEARSAL: "A rehearsal of the scheduled path.",
}
_COMMANDS: Final = (
    ("rotate it now", "rotator rotate {} --reason TEXT"),
    ("its token has leaked", "rotator rotate {} --emergency --reason TEXT"),
    ("freeze it, thaw it", "rotator hold {}` · `rotator release {}"),
    ("compare it with the world", "rotator reconcile {}"),
)


def answer(name: str, one: PolicyStatus | None, rotations: Sequence[Rotation], now: datetime) -> Response:
    """The page of a policy; `one` is None for a policy that is gone and has left its history."""
    trail = joined(link("/", "rotator"), " / ", foreign(name))
    word = one.state if one is not None else "gone"
    return document.answer(
        f"{name}: {word}",
        f"/policies/{segment(name)}",
        now,
        trail,
        element("h1", foreign(name), " ", state(word), class_="named"),
        *(_attention(one, now) if one is not None else ()),
        _about(one, rotations, now),
        _rotations(one, rotations, now),
        _commands(name) if one is not None and one.reason != "its policy is gone" else NOTHING,
    )


def _about(one: PolicyStatus | None, rotations: Sequence[Rotation], now: datetime) -> Html:
    if one is None:
        return element("p", "No policy has this name any more; what it left is its history.")
    # What a rehearsal exposed was nobody's token.
    exposed = next((r for r in rotations if r.exposure and r.trigger is not Trigger.REHEARSAL), None)
    facts = (
        ("Schedule", spoken(one.reason)),
        ("Next due", moment_and_distance(one.next_due_at, now) if one.next_due_at else None),
        (
            "Token age",
            joined(
                words.length(one.age_seconds),
                " ",
                element("span", "made ", moment(one.token_generated_at), class_="soft"),
            )
            if one.age_seconds is not None and one.token_generated_at is not None
            else None,
        ),
        ("Last outcome", state(one.last_outcome) if one.last_outcome else text("none yet")),
        ("Last measured outage", text(words.bounds(one.last_outage)) if one.last_outage else None),
        ("Last exposure", text(words.bounds(exposed.exposure)) if exposed is not None else None),
        (
            "Rehearsed",
            text(words.rehearsed(one.rehearsal.age_seconds, one.rehearsal.last_outcome))
            if one.rehearsal
            else None,
        ),
        ("Owner", foreign(one.owner) if one.owner else None),
        ("Strategy", text(one.strategy)),
        ("Project", element("code", one.project)),
        (
            "Active project",
            element("code", one.active_project) if one.active_project not in (None, one.project) else None,
        ),
    )
    rows = (
        element("div", element("dt", name), element("dd", value))
        for name, value in facts
        if value is not None
    )
    return section("about", "The policy", element("dl", *rows, class_="facts"))


def _attention(one: PolicyStatus, now: datetime) -> tuple[Html, ...]:
    own, of_rehearsal = one.attention, one.rehearsal.attention if one.rehearsal else ()
    both = (
        ("attention", "Needs attention", own),
        ("rehearsal", "Its rehearsal needs attention", of_rehearsal),
    )
    return tuple(
        section(place, title, *(notice(one, entry, now, level="h3", named=False) for entry in found))
        for place, title, found in both
        if found
    )


def _rotations(one: PolicyStatus | None, rotations: Sequence[Rotation], now: datetime) -> Html:
    if not rotations:
        return section("rotations", "Rotations", element("p", "None was made yet."))
    way = one.way if one is not None and one.rotation is not None else ()
    told = (
        _rotation(rotation, way if one and one.rotation and one.rotation.id == rotation.id else (), n, now)
        for n, rotation in enumerate(rotations)
    )
    about = f"the newest {ROTATIONS}" if len(rotations) == ROTATIONS else "newest first"
    key = element(
        "p",
        "A longer step is drawn wider, but not in proportion. Pale: between the bounds of what was measured.",
        class_="soft",
    )
    return section("rotations", "Rotations", key, *told, about=about)


def _rotation(rotation: Rotation, way: Sequence[str], number: int, now: datetime) -> Html:
    what = timeline(rotation, way, now)
    said = summary(rotation)
    heading = element("h3", moment(rotation.started_at), " ", state(rotation.state.value))
    why = joined(rotation.trigger.value, *((": ", foreign(rotation.reason)) if rotation.reason else ()))
    figure = (
        element(
            "figure",
            drawing.drawn(what, f"{said} {_in_words(what.columns)}", f"drawing-{number}"),
        )
        if what.columns
        else NOTHING
    )
    return element(
        "article",
        heading,
        element("p", said),
        element("p", spoken(rotation.message)) if rotation.message else None,
        figure,
        element(
            "details",
            element("summary", f"{words.count(len(rotation.steps), 'step')}, tokens and destinations"),
            _steps(rotation),
            _record(rotation, why),
        ),
        class_="rotation",
    )


def summary(rotation: Rotation) -> str:
    """How long it took and what it cost, in a sentence or two."""
    leaked = rotation.trigger is Trigger.REHEARSAL and rotation.emergency is not None
    parts = ["A rehearsal of an emergency." if leaked else _BEGUN[rotation.trigger]]
    if rotation.finished_at is not None:
        took = (rotation.finished_at - rotation.started_at).total_seconds()
        parts.append(f"Took {_span(took)}.")
    if rotation.outage is not None:
        gone = rotation.outage.max > 0
        measured = (
            f"no living token for {words.bounds(rotation.outage)}" if gone else "a living token throughout"
        )
        parts.append(f"Readers had {measured}.")
    overlap = rotation.overlap
    if overlap is not None:
        next_one = "bridge" if rotation.form is Form.BRIDGE else "new token"
        parts.append(f"Old token and {next_one} were both alive for {_span(overlap)}.")
    if rotation.exposure is not None:
        parts.append(f"The leaked token was exposed for {words.bounds(rotation.exposure)}.")
    if rotation.old_token_dead is not None:
        parts.append(f"The old token is {'proved dead' if rotation.old_token_dead else 'still alive'}.")
    elif rotation.death is not None and not rotation.abandoned:
        parts.append("The old token is not proved dead yet.")
    return " ".join(parts)


def _span(seconds: float) -> str:
    return f"{words.seconds(seconds)} s" if seconds < 100 else words.length(seconds)


def _in_words(columns: Sequence[Column]) -> str:
    steps = [f"{column.name} {column.outcome}" for column in columns if column.name]
    return f"Steps: {', '.join(steps)}." if steps else ""


def _steps(rotation: Rotation) -> Html | None:
    rows = (
        element(
            "li",
            element("b", step.name),
            " ",
            element("span", step.outcome.value, class_=TONES.get(step.outcome.value, "soft")),
            " ",
            element("span", f"{step.at:%H:%M:%S} UTC, {_span(step.seconds)}", class_="soft"),
            element("p", spoken(step.detail)) if step.detail else None,
        )
        for step in rotation.steps
    )
    return element("ol", *rows, class_="steps") if rotation.steps else None


def _record(rotation: Rotation, why: Html) -> Html:
    facts = [
        ("Rotation", element("code", rotation.id)),
        ("Why", why),
        ("By", foreign(rotation.actor)),
        ("Old token", element("code", rotation.old_fingerprint) if rotation.old_fingerprint else None),
        ("New token", element("code", rotation.new_fingerprint) if rotation.new_fingerprint else None),
        *(("Verified", _verified(verified)) for verified in rotation.verified),
        *(
            ("Destination", joined(destination.state.value, ": ", foreign(destination.ref)))
            for destination in rotation.destinations
        ),
        *(
            (
                "Consumer",
                joined(
                    consumer.state.value,
                    ": ",
                    foreign(consumer.ref),
                    *((" (", foreign(consumer.detail), ")") if consumer.detail else ()),
                ),
            )
            for consumer in rotation.consumers
        ),
        (
            "Canary",
            text(
                f"{rotation.canary.attempts} sends, {rotation.canary.failures} failed, "
                f"longest gap {words.seconds(rotation.canary.longest_gap)} s"
            )
            if rotation.canary
            else None,
        ),
    ]
    rows = (
        element("div", element("dt", name), element("dd", value))
        for name, value in facts
        if value is not None
    )
    return element("dl", *rows, class_="facts")


def _verified(verified: Verified) -> Html:
    tries = words.count(verified.attempts, "attempt")
    return joined(
        f"{verified.type} {'passed' if verified.ok else 'failed'}, {tries}",
        *((": ", spoken(verified.detail)) if verified.detail else ()),
    )


def _commands(name: str) -> Html:
    rows = (
        element("div", element("dt", what), element("dd", spoken(f"`{command.replace('{}', name)}`")))
        for what, command in _COMMANDS
    )
    return section("commands", "What to type", element("dl", *rows, class_="facts"))
