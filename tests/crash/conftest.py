"""What the crash suites share. Each xdist worker makes its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.harness import running_aws, running_lettermint, running_nursery, running_vault

ROOM = 2**30
"""Free bytes of memory that it takes to work there: a crash leaves less than half a megabyte."""

nursery = pytest.fixture(scope="session", name="nursery")(running_nursery)
lettermint = pytest.fixture(scope="module", name="lettermint")(running_lettermint)
aws = pytest.fixture(scope="module", name="aws")(running_aws)
vault = pytest.fixture(scope="module", name="vault")(running_vault)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is room: waiting for the disk would be most of the time, and no crash of a process
    touches what the kernel has taken."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="rotator-crash-", dir=memory) as made:
        yield Path(made)
