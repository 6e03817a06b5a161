"""What the engine leaves in its journal, as the status page draws it."""

from __future__ import annotations

from dataclasses import replace

from rotator.engine.states import way_of
from rotator.http.pages.timeline import Span, Timeline, timeline
from rotator.model import Rotation, State
from tests.engine.bench import Bench
from tests.engine.test_bridge import bridged, on
from tests.engine.test_standby import HOUR, drained, make_pair, pair

__all__ = ["bridged", "make_pair", "pair"]


def drawn(bench: Bench, rotation: Rotation) -> Timeline:
    return timeline(rotation, [step.name for step in way_of(rotation)], bench.clock.now())


def within(what: Timeline, span: Span | None, first: str, last: str) -> bool:
    """Whether the span begins in one step and ends in another."""
    assert span is not None
    begins, ends = (next(one for one in what.columns if one.name == name) for name in (first, last))
    return begins.left <= span.left <= begins.right and ends.left <= span.right <= ends.right


def test_a_pair_overlaps_from_its_promote_to_its_retirement(pair: Bench) -> None:
    """While it drains, up to now; when it has ended, until the old token was killed. Never an outage."""
    draining = pair.rotate()
    what = drawn(pair, draining)
    assert [one.outcome for one in what.columns] == ["done"] * 5 + ["now"] + ["ahead"] * 3
    assert within(what, what.overlap, "promote", "drain")
    ended = drained(pair)
    what = drawn(pair, ended)
    assert [one.name for one in what.columns if one.name] == [step.name for step in way_of(ended)]
    assert within(what, what.overlap, "promote", "retire")
    assert what.outage is None
    assert (ended.overlap or 0) >= 2 * HOUR


def test_a_bridge_has_three_lives(bridged: Bench) -> None:
    """The old token's overlap is with the bridge, over which consumers go; the new one comes last."""
    bridged.rotate()
    for hours in (2.1, 2.1):
        ended = on(bridged, hours)
    assert ended.state is State.COMPLETED, ended.message
    what = drawn(bridged, ended)
    assert [lane.label for lane in what.lanes] == ["old token", "bridge token", "new token"]
    assert within(what, what.overlap, "promote-bridge", "mint+stage")
    assert what.lanes[2].spans[-1].right == 1.0
    assert (ended.overlap or 0) >= 2 * HOUR


def test_in_place_serves_when_the_old_one_dies(bench: Bench) -> None:
    """Both lives meet in the one step that mints and publishes."""
    ended = bench.rotate()
    assert ended.state is State.COMPLETED, ended.message
    what = drawn(bench, replace(ended))
    assert [lane.label for lane in what.lanes] == ["old token", "new token"]
    assert what.overlap is None
    minting = next(one for one in what.columns if one.name == "mint+publish")
    old, new = what.lanes
    assert minting.left <= old.spans[-1].right <= new.spans[-1].left <= minting.right
