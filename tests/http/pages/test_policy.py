"""The page of one policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.clock import Instant
from rotator.http.pages import policy as policy_page
from rotator.model import (
    Bounds,
    DestinationRecord,
    DestinationState,
    Emergency,
    Order,
    StepOutcome,
    StepRecord,
    Trigger,
    Verified,
)
from rotator.views import RehearsalStatus
from tests.http.pages import scene
from tests.http.pages.outline import read
from tests.http.pages.test_overview import HOSTILE
from tests.journal.builders import T0, full_rotation

PATH = "/policies/billing-production"


def test_it_tells_where_the_policy_stands(client, board):
    """Trouble and command first, then the facts, the rotations, and what else may be typed."""
    board.policies = [
        scene.status(
            state="needs-attention",
            attention=(scene.attention("billing-production"),),
            active_project="other",
        )
    ]
    board.past = [scene.in_place()]
    answer, outline = read(client, PATH)
    assert board.asked == [("billing-production", policy_page.ROTATIONS)]
    for text in ("token-dead", "team-billing", "made 2026-11-18 08:00 UTC", "0.170-0.390 s", "other"):
        assert text in outline.text
    order = [answer.text.index(f'id="{name}"') for name in ("attention", "about", "rotations", "commands")]
    assert order == sorted(order)
    assert "<code>rotator rotate billing-production --emergency --reason TEXT</code>" in answer.text


def test_each_rotation_is_told_in_a_sentence_and_drawn(client, board):
    """Outage, overlap and death in words; a drawing whose name says the same; every step below it."""
    board.past = list(scene.history())
    answer, outline = read(client, PATH)
    assert (
        "Took 2.90 s. Readers had no living token for 0.170-0.390 s. The old token is proved dead."
        in outline.text
    )
    assert "Old token and new token were both alive for 3h." in outline.text
    assert "Old token and bridge were both alive for 2h." in outline.text
    assert outline.text.count("Steps: preflight done, mint+publish done, verify done") == 3
    assert "Steps: preflight failed." in outline.text
    drawings = [value for tag, name, value in outline.attributes if (tag, name) == ("svg", "role")]
    assert drawings == ["img"] * len(board.past)
    assert '<rect x="' in answer.text
    assert "quarterly exercise <b>with</b> Ανδρέας" in outline.text
    assert "10800 sends, 0 failed" in outline.text


def test_an_open_rotation_shows_what_is_still_to_come(client, board):
    """Steps that wait are drawn, too; nothing is said of a death that nobody has seen."""
    one = scene.draining("billing-production")
    board.policies = [scene.with_rotation(one)]
    board.past = [one]
    answer, outline = read(client, PATH)
    assert "drain now, retire ahead, prove-dead ahead, close ahead" in outline.text
    assert answer.text.count('class="s-ahead"') == 3
    assert "proved dead" not in outline.text


def test_a_policy_that_is_gone_has_its_history(client, board):
    """Said to be gone, and no command is offered."""
    board.policies = []
    board.past = [scene.in_place()]
    _, outline = read(client, PATH)
    assert "No policy has this name any more" in outline.text
    assert "What to type" not in outline.text


def test_a_policy_without_rotations(client, board):
    """Says so."""
    _, outline = read(client, PATH)
    assert "None was made yet." in outline.text


@pytest.mark.parametrize("name", ["nobody", "UPPER", "-x", "a" * 64, "%2e%2e", "%3Cscript%3E", "a%2Fb"])
def test_other_names_have_no_page(client, board, name):
    """404 in plain text, which repeats nothing of what was asked for."""
    board.policies = []
    answer = client.get(f"/policies/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert name not in answer.text


def test_every_text_is_escaped(client, board):
    """Whatever a reason, a message, a step, a verifier, a destination or an actor holds stays text."""
    one = replace(
        scene.in_place(),
        reason=HOSTILE,
        message=f"`{HOSTILE}`",
        actor=HOSTILE,
        verified=(Verified(HOSTILE, ok=False, attempts=1, detail=HOSTILE),),
        destinations=(DestinationRecord("file", HOSTILE, DestinationState.BEHIND),),
        steps=(StepRecord(HOSTILE, T0, 1.0, StepOutcome.FAILED, HOSTILE),),
        old_fingerprint=HOSTILE,
        new_fingerprint=HOSTILE,
        id="r-<b>",
    )
    board.policies = [scene.status(owner=HOSTILE, reason=HOSTILE, project=HOSTILE, strategy=HOSTILE)]
    board.past = [one]
    answer, outline = read(client, PATH)
    assert outline.text.count(HOSTILE) >= 12
    assert not {"script", "img"} & set(outline.tags)
    assert "<script" not in answer.text


def test_a_rotation_with_something_in_every_field(client, board):
    """Exposure without an upper bound, a forced drain, an abandoned one: all of it can be shown."""
    board.past = [full_rotation(), replace(full_rotation("r-2"), steps=(), outage=Bounds(0.0, float("inf")))]
    _, outline = read(client, PATH)
    assert "The leaked token was exposed for 1.00 s or more." in outline.text
    assert outline.tags.count("figure") == 1


def test_a_clock_that_was_set_back_breaks_no_drawing(client, board):
    """Steps that seem to begin before the former one ended, and a death before everything."""
    one = scene.in_place()
    back = tuple(replace(step, at=step.at - timedelta(hours=n)) for n, step in enumerate(one.steps))
    board.past = [replace(one, steps=back)]
    answer, _ = read(client, PATH)
    assert 'width="-' not in answer.text


REHEARSAL = RehearsalStatus(
    last_success_at=T0 - timedelta(days=5),
    age_seconds=5 * 86400.0,
    seconds=4.2,
    last_outcome="needs-attention",
    next_due_at=None,
    overdue=False,
    reason="no schedule: rehearsed only when asked to",
    attention=(replace(scene.attention("billing-production"), code="unclear", message="It is unclear"),),
)


def test_rehearsals_are_told_apart_from_the_real_thing(client, board):
    """Their age and outcome, their own troubles, and each path by what it rehearsed; no exposure of theirs is the
    policy's."""
    board.policies = [scene.status(rehearsal=REHEARSAL)]
    common = {"policy": "billing-production/rehearsal", "trigger": Trigger.REHEARSAL}
    leak = Emergency(Instant(T0, "boot-1", 1.0), Order.KILL_FIRST, 0.0)
    board.past = [
        replace(scene.in_place(), **common, emergency=leak, exposure=Bounds(1.0, 2.0)),
        replace(scene.in_place(), **common),
    ]
    answer, outline = read(client, PATH)
    for text in (
        "A rehearsal of an emergency.",
        "A rehearsal of the scheduled path.",
        "5d ago, then needs-attention",
        "Its rehearsal needs attention",
        "It is unclear",
    ):
        assert text in outline.text
    assert 'id="attention"' not in answer.text
    assert "Last exposure" not in outline.text


def test_the_overview_tells_a_rehearsal_in_a_few_words(client, board):
    """Beside the policy; one that was never rehearsed says so, one that cannot be says nothing."""
    board.policies = [
        scene.status("a", rehearsal=REHEARSAL),
        scene.status("b", rehearsal=replace(REHEARSAL, age_seconds=None, last_outcome=None)),
        scene.status("c"),
    ]
    _, outline = read(client, "/")
    assert outline.text.count("rehearsed") == 2
    assert "rehearsed 5d ago, then needs-attention" in outline.text
    assert "rehearsed never" in outline.text
