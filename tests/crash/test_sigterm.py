"""SIGTERM inside every step of every kind of rotation, and what the next daemon makes of it.

Without --long each kind is stopped at one of the places in a step.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash.halts import WHERE
from tests.crash.harness import Nursery
from tests.crash.ward import KINDS, Ward


@pytest.mark.parametrize("where", WHERE)
def test_a_signal_inside_any_step_loses_nothing(
    nursery: Nursery, lettermint: tuple[Simulator, Secret], folder: Path, where: str, long: bool
) -> None:
    """Several kinds side by side, every step of each: exit 143, no reader with a dead token; stopped once more while
    the next daemon takes it up, the third one completes each rotation under its own id, without a further mint."""
    wards = []
    kinds = KINDS if long else KINDS[WHERE.index(where) :: len(WHERE)]
    for kind in kinds:
        place = folder / kind.name
        place.mkdir()
        wards.append(Ward(place, *lettermint, nursery, kind=kind, where=where))
    for ward in wards:
        ward.prepare()
    for ward in wards:
        ward.begin()
    stop(wards)
    for ward in wards:
        ward.go_on(halting=True)
    stop(wards)
    for ward in wards:
        ward.go_on(halting=False)
    for ward in wards:
        ward.finish()
    for ward in wards:
        ward.wait_for_the_end()
    wrong = {ward.kind.name: found for ward in wards if (found := ward.look())}
    assert not wrong, json.dumps(wrong, indent=1)


def stop(wards: list[Ward]) -> None:
    """One signal to each, then its end."""
    for ward in wards:
        ward.stop()
    for ward in wards:
        ward.wait_for_the_end()
