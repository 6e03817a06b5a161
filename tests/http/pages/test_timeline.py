"""Where the parts of a drawing go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotator.engine.states import way_of
from rotator.http.pages import drawing
from rotator.http.pages.timeline import Timeline, timeline
from rotator.model import Death, Form, Rotation, State, StepOutcome, StepRecord
from tests.http.pages import scene
from tests.journal.builders import T0

LIVES = {
    "in-place": (scene.in_place(), ["old token", "new token"]),
    "pair": (scene.pair(), ["old token", "new token"]),
    "bridge": (scene.bridge(), ["old token", "bridge token", "new token"]),
    "refused": (scene.refused(), ["old token"]),
    "first issue": (replace(scene.in_place(), old_fingerprint=None, death=None), ["new token"]),
}


def spans(what: Timeline, label: str) -> list[tuple[str, float, float]]:
    lane = next(lane for lane in what.lanes if lane.label == label)
    return [(span.kind, span.left, span.right) for span in lane.spans]


def column(what: Timeline, name: str):
    return next(one for one in what.columns if one.name == name)


def sound(what: Timeline) -> None:
    """Columns fill the width from left to right; everything else lies within it, and no span is turned around."""
    if what.columns:
        assert what.columns[0].left == 0
        assert what.columns[-1].right == pytest.approx(1)
    for before, after in pairwise(what.columns):
        assert before.right == after.left
        assert before.left < before.right
    bands = [band for band in (what.overlap, what.outage) if band is not None]
    for span in (*bands, *(span for lane in what.lanes for span in lane.spans)):
        assert 0 <= span.left < span.right <= 1 + 1e-9


@pytest.mark.parametrize("name", LIVES)
def test_each_token_that_lived_has_a_lane(name):
    """Old, bridge and new, in this order; none for a token that never was."""
    rotation, lanes = LIVES[name]
    what = timeline(rotation)
    sound(what)
    assert [lane.label for lane in what.lanes] == lanes


def test_in_place_has_an_outage_and_no_overlap():
    """From the earliest moment the old token may have died until the new one was served."""
    what = timeline(scene.in_place())
    assert what.overlap is None
    assert what.outage is not None
    (alive, dying), (serves,) = spans(what, "old token"), spans(what, "new token")
    assert (alive[0], alive[1], alive[2]) == ("live", 0.0, what.outage.left)
    assert dying[0] == "dying"
    assert dying[1] == what.outage.left < dying[2] < what.outage.right == serves[1]
    assert serves[2] == 1.0
    minting = column(what, "mint+publish")
    assert minting.left < what.outage.left < what.outage.right < minting.right


def test_a_pair_has_an_overlap_and_no_outage():
    """Staged before it is promoted; both live from the promote until the old one is retired."""
    what = timeline(scene.pair())
    assert what.outage is None
    assert what.overlap is not None
    staged, live = spans(what, "new token")
    assert (staged[0], staged[1]) == ("staged", column(what, "mint+stage").right)
    assert staged[2] == live[1] == what.overlap.left
    assert column(what, "promote").left < live[1] <= column(what, "promote").right
    retiring = column(what, "retire")
    assert retiring.left < what.overlap.right < retiring.right
    assert scene.pair().overlap == pytest.approx(10_804.52)


def test_a_bridge_lives_between_its_promote_and_the_last_drain():
    """The old token dies while the bridge is in use; the overlap is theirs."""
    what = timeline(scene.bridge())
    assert spans(what, "bridge token") == [
        ("live", column(what, "promote-bridge").right, column(what, "drain-bridge").right)
    ]
    assert what.overlap is not None
    assert what.overlap.left == column(what, "promote-bridge").right
    assert column(what, "mint+stage").left < what.overlap.right < column(what, "mint+stage").right
    assert [kind for kind, _, _ in spans(what, "old token")] == ["live", "dying"]
    assert spans(what, "old token")[1][2] == column(what, "prove-dead").right
    assert scene.bridge().overlap == pytest.approx(7206.3)
    # Of several calls any may have killed the old token: then nobody can say how long it lived beside the bridge.
    assert replace(scene.bridge(), mints=2).overlap is None


def test_an_open_rotation_ends_at_now():
    """What is alive is drawn up to the step at hand, and what is to come has empty columns."""
    one = scene.draining()
    way = [step.name for step in way_of(one)]
    what = timeline(one, way, T0)
    sound(what)
    assert [one.outcome for one in what.columns] == ["done"] * 5 + ["now"] + ["ahead"] * 3
    now = column(what, "drain").right
    assert spans(what, "old token") == [("live", 0.0, now)]
    assert spans(what, "new token")[-1][2] == now
    assert what.overlap is not None
    assert what.overlap.right == now


def test_an_outage_that_goes_on_is_drawn_up_to_now():
    """The token is dead and no store took the new one."""
    one = scene.stuck("orders")
    what = timeline(one, [step.name for step in way_of(one)], T0)
    sound(what)
    assert what.outage is not None
    assert what.outage.right == column(what, "mint+publish").right


def test_attempts_share_a_column_and_pauses_have_one():
    """Tries at a step stand in its column with what came of each; a long rest between two steps is a gap."""
    what = timeline(scene.crashed())
    assert [one.outcome for one in column(what, "mint+publish").attempts] == ["unclear", "done"]
    late = T0 + timedelta(hours=1)
    rested = replace(
        scene.in_place(),
        steps=(
            StepRecord("preflight", T0, 1, StepOutcome.DONE),
            StepRecord("verify", late, 1, StepOutcome.DONE),
        ),
    )
    assert [one.name for one in timeline(rested).columns] == ["preflight", "", "verify"]


def test_a_longer_step_is_wider_but_not_in_proportion():
    """A drain of hours beside steps of a second: both can be seen."""
    what = timeline(scene.pair())
    widths = {one.name: one.right - one.left for one in what.columns}
    assert widths["close"] < widths["verify"] < widths["drain"] < 3 * widths["close"]


def test_a_token_that_was_thrown_away_ends_there():
    """Staged, never promoted, discarded."""
    begin = T0 - timedelta(hours=1)
    one = replace(
        scene.pair(),
        promoted=None,
        death=None,
        abandoned="the verifier failed",
        steps=scene.steps(begin, ("mint+stage", 1, "done"), ("discard", 1, "done"), ("close", 1, "done")),
    )
    what = timeline(one)
    assert spans(what, "new token") == [
        ("staged", column(what, "mint+stage").right, column(what, "discard").right)
    ]
    assert what.overlap is None


def test_a_token_that_was_taken_back_lives_until_nobody_uses_it():
    """Promoted, rolled back, drained, killed: the old token lives on, and the new one ends where it was discarded."""
    one = scene.rolled_back()
    what = timeline(one)
    sound(what)
    (staged, live) = spans(what, "new token")
    assert staged == ("staged", column(what, "mint+stage").right, column(what, "promote").right)
    assert live[:2] == ("live", column(what, "promote").right)
    assert column(what, "discard").left <= live[2] <= column(what, "discard").right
    assert spans(what, "old token") == [("live", 0.0, 1.0)]
    assert what.overlap is not None
    assert (what.overlap.left, what.overlap.right) == live[1:]
    waiting = replace(
        one, death=None, state=State.DRAINING, step="drain-incoming", finished_at=None, steps=one.steps[:-2]
    )
    what = timeline(waiting, [step.name for step in way_of(waiting)], T0)
    sound(what)
    assert spans(what, "new token")[-1][2] == column(what, "drain-incoming").right
    assert [one.name for one in what.columns if one.outcome == "ahead"] == ["discard", "close"]


MOMENTS = st.integers(-(10**6), 10**6).map(lambda seconds: T0 + timedelta(seconds=seconds / 10))
NAMES = sorted(
    {step.name for one in (*[one for one, _ in LIVES.values()], scene.rolled_back()) for step in one.steps}
)
INSTANTS = MOMENTS.map(scene.instant)


@st.composite
def rotations(draw) -> Rotation:
    """Any mixture of steps and moments, also those that no rotation should have."""
    records = draw(
        st.lists(
            st.builds(
                StepRecord,
                st.sampled_from(NAMES),
                MOMENTS,
                st.floats(-10, 1e7),
                st.sampled_from(StepOutcome),
                st.just(""),
            ),
            max_size=12,
        )
    )
    return replace(
        scene.pair(),
        form=draw(st.sampled_from(Form)),
        steps=tuple(records),
        step=draw(st.sampled_from(["", *NAMES])),
        promoted=draw(st.none() | INSTANTS),
        served=draw(st.none() | INSTANTS),
        death=draw(st.none() | st.builds(Death, INSTANTS, st.none() | INSTANTS)),
        old_token_dead=draw(st.sampled_from([None, True, False])),
        abandoned=draw(st.sampled_from(["", "it misbehaved"])),
        returned=draw(st.none() | INSTANTS),
    )


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(rotation=rotations(), way=st.lists(st.sampled_from(NAMES), unique=True), now=MOMENTS)
def test_any_rotation_can_be_drawn(rotation, way, now):
    """Clocks that jump, steps out of order, moments outside of every step: it stays within its frame."""
    what = timeline(rotation, way, now)
    sound(what)
    assert 'width="-' not in drawing.drawn(what, "said", "d")
