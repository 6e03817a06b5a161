"""Small disks that can be filled up or mounted read-only, and a limit for where none can be mounted."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A tmpfs of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        """Leaves no byte free."""
        with self._filling.open("wb", buffering=0) as file:
            size = 65536
            while size:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    size //= 2
        assert _free(self.path) == 0

    def empty(self) -> None:
        self._filling.unlink()

    def read_only(self) -> None:
        _mount("-o", "remount,ro", str(self.path))

    def writable(self) -> None:
        _mount("-o", "remount,rw", str(self.path))


@contextmanager
def small_disk(path: Path, size: str = "2m") -> Iterator[Disk]:
    """Mounts it for the time of a test; skips that test, aloud, where nothing may be mounted."""
    path.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError) as refused:
        pytest.skip(f"no file system may be mounted here ({refused}); the limit on file sizes stands in")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _free(path: Path) -> int:
    line = subprocess.run(
        ["stat", "-f", "-c", "%a", str(path)], check=True, capture_output=True, text=True
    ).stdout
    return int(line)


def no_file_above(size: int) -> None:
    """Called in a child before its command: no file of this process grows beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
