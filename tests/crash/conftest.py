"""What the crash suites share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOM = 2**30
"""Free bytes of memory that it takes to work there: a crash leaves less than half a megabyte."""


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
