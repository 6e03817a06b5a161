"""What the races need: children of a warm parent, a Lettermint, and a folder that is fast."""

from __future__ import annotations

import pytest

from tests.crash.conftest import folder
from tests.crash.harness import running_lettermint
from tests.postgresql_server import postgresql

__all__ = ["folder", "postgresql"]

lettermint = pytest.fixture(scope="module", name="lettermint")(running_lettermint)
