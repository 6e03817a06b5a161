"""A furnished simulator on a fake clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import FakeClock
from tests.simulator.support import Scene
from tests.simulator_fixture import lettermint, simulator  # noqa: F401 - a fixture, found by its name


@pytest.fixture
def scene(clock: FakeClock) -> Iterator[Scene]:
    with lettermint(clock) as running:
        yield Scene(running)
