"""What the crash suites share. Each xdist worker makes its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.harness import running_aws, running_lettermint, running_vault

lettermint = pytest.fixture(scope="module", name="lettermint")(running_lettermint)
aws = pytest.fixture(scope="module", name="aws")(running_aws)
vault = pytest.fixture(scope="module", name="vault")(running_vault)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the stages of a test are; a crash leaves less than half a megabyte."""
    return tmp_path
