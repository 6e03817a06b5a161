"""`rotator serve` as the first process of a container: nobody else handles its signals, or waits for its orphans."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.site import Site, eventually
from tests.crash.harness import ROOT

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
STOPPED = 143


@pytest.fixture(autouse=True)
def allowed() -> None:
    """Skips aloud where no namespace may be made."""
    for tool in ("unshare", "nsenter"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here, so rotator cannot be made a first process")
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no process namespace may be made here: {tried.stderr.strip()}")


def children(pid: int) -> list[int]:
    """Also those that have ended and that nobody has waited for."""
    found = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(one) for one in " ".join(found).split()]


@contextmanager
def first_process(site: Site) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """`rotator serve` in a namespace of its own: what started it, its process id out here, its errors."""
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    errors = site.folder / "errors"
    with errors.open("wb") as err:
        outer = subprocess.Popen(
            [*NAMESPACE, sys.executable, "-m", "rotator", "serve"],
            env={**site.environment, "PYTHONPATH": str(ROOT)},
            cwd=site.folder,
            stderr=err,
        )
    try:
        eventually(lambda: b"serving" in errors.read_bytes() or outer.poll() is not None)
        (inner,) = children(outer.pid)
        (ids,) = re.findall(r"^NSpid:(.*)$", Path(f"/proc/{inner}/status").read_text("utf-8"), re.MULTILINE)
        assert ids.split()[-1] == "1"
        yield outer, inner, errors
    finally:
        outer.kill()
        outer.wait()


def in_namespace_of(pid: int, command: str) -> None:
    entered = ["nsenter", "--target", str(pid), "--pid", "--mount", "sh", "-c", command]
    subprocess.run(entered, check=True, capture_output=True)


def test_sigterm_ends_the_first_process(site: Site) -> None:
    """The kernel drops signals that process 1 has no handler for: it has one, exits with 143, and took nothing along."""
    site.add()
    with first_process(site) as (outer, inner, errors):
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(25) == STOPPED, errors.read_text(encoding="utf-8")
    assert "stopped; what was begun is in the journal" in errors.read_text(encoding="utf-8")
    assert site.run("run").code == 0
    assert site.audit_holds()


def test_the_first_process_waits_for_orphans(site: Site) -> None:
    """Processes whose parent has ended are handed to it: none stays behind as a zombie, and it serves on."""
    site.add()
    with first_process(site) as (outer, inner, errors):
        for _ in range(3):
            in_namespace_of(inner, "sleep 0.3 & exit 0")
        assert children(inner)
        eventually(lambda: not children(inner))
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(25) == STOPPED, errors.read_text(encoding="utf-8")
