"""Journal and audit log on a disk that is full or read-only, and a journal that cannot be reached.

Before the mint nothing is begun; after it nothing is lost or delayed. Real file systems, at every form; where none
may be mounted the tests are skipped aloud.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from rotator.errors import JournalUnavailable
from rotator.model import State
from tests.acceptance.disks import Disk, small_disk
from tests.faults.world import PHASES, check_afterwards, check_while_it_lasts, history_at, strike
from tests.properties.history import FORMS, History

CUT = "network cut between us and the journal"


def read_only(history: History, disk: Disk) -> None:
    """No disk is remounted under a database that is open: SQLite is then told to refuse as it would there."""
    if disk.path.name == "journal":
        query_only(history, on=True)
    else:
        disk.read_only()


def writable(history: History, disk: Disk) -> None:
    if disk.path.name == "journal":
        query_only(history, on=False)
    else:
        disk.writable()


def query_only(history: History, *, on: bool) -> None:
    """Every write ends as SQLITE_READONLY."""
    journal: Any = history.bench.wiring.journal
    journal._database._connection.execute(f"PRAGMA query_only = {'ON' if on else 'OFF'}")


WAYS: dict[str, tuple[Callable[[History, Disk], None], Callable[[History, Disk], None]]] = {
    "on a full disk": (lambda _, disk: disk.fill(), lambda _, disk: disk.empty()),
    "read-only": (read_only, writable),
}
"""How it breaks, and how it is mended."""
WHICH = ("journal", "audit")
CASES = {f"{which} {how} {when} the mint" for which in WHICH for how in WAYS for when in ("before", "after")}
CASES |= {CUT}

ON_DISK = pytest.mark.parametrize("how", WAYS)
EITHER = pytest.mark.parametrize("which", WHICH)


@contextmanager
def on_a_disk(form: str, which: str) -> Iterator[tuple[History, Disk]]:
    """A history whose journal or audit log is on a file system of its own."""
    history = History(form)
    with ExitStack() as stack:
        stack.callback(history.close)
        bench = history.bench
        disk = stack.enter_context(small_disk(history.folder / which))
        if which == "journal":
            journal = replace(bench.settings.journal, sqlite_path=disk.path / "journal.db")
            bench.settings = replace(bench.settings, journal=journal)
        else:
            bench.settings = replace(bench.settings, audit_log=disk.path / "audit.jsonl")
        history.next_process()
        bench.wiring.journal.unfinished()  # both are opened while there is room
        bench.wiring.audit.check_writable()
        yield history, disk
        bench.wiring.close()


@pytest.mark.parametrize("form", FORMS)
@EITHER
@ON_DISK
def test_before_the_mint(form: str, which: str, how: str) -> None:
    """Nothing is begun; once it can be written again the same command goes through."""
    broken, mended = WAYS[how]
    with on_a_disk(form, which) as (history, disk):
        broken(history, disk)
        stored = history.bench.secret_file.read_bytes()
        strike(history, 0)
        assert history.bench.rotate_calls == 0
        assert history.bench.secret_file.read_bytes() == stored
        assert history.is_served()
        mended(history, disk)
        check_while_it_lasts(history)
        strike(history, 0)
        assert history.bench.wiring.journal.rotations("billing")[0].state in (State.COMPLETED, State.DRAINING)
        check_afterwards(history)


@pytest.mark.parametrize(
    ("form", "phase"), [("in-place", 0), ("two-places", 0), ("standby", 0), ("bridge", 1)]
)
@EITHER
@ON_DISK
def test_after_the_mint(form: str, phase: int, which: str, how: str) -> None:
    """The token is stored, or the one before it still serves; what could not be written is told, and made up for."""
    broken, mended = WAYS[how]
    with on_a_disk(form, which) as (history, disk):
        if phase:
            strike(history, 0)
            history.clock.advance(2.1 * 3600)
        provider: Any = history.bench.wiring.provider
        real = provider.rotate_token

        def rotate_token(project: str) -> object:
            minted = real(project)
            broken(history, disk)
            return minted

        provider.rotate_token = rotate_token
        strike(history, phase)
        assert history.bench.mints + len(history.bench.simulator.mints(history.bench.other_project)) == 1
        assert history.is_served()
        mended(history, disk)
        check_while_it_lasts(history)
        check_afterwards(history)


WRITES = (
    "save",
    "acquire",
    "renew",
    "check",
    "remember_token",
    "raise_attention",
    "clear_attention",
    "take_slot",
)
READS = (
    "rotation",
    "rotations",
    "unfinished",
    "known_token",
    "attentions",
    "holds",
    "project_facts",
    "lease_of",
)


@pytest.mark.one_in(3, 3)
@pytest.mark.parametrize("calls", [0, 6, 12, 18, 24, 36])
@pytest.mark.parametrize(("form", "phase"), PHASES)
def test_cut_off_from_the_journal_after_some_calls(form: str, phase: int, calls: int) -> None:
    """From some call on it answers nothing: before the mint nothing is begun, after it nothing is lost. (A real
    server that goes away is in `acceptance/test_postgresql`.)"""
    with history_at(form, phase) as history:
        left = [calls]

        def broken(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise JournalUnavailable("The journal cannot be reached", then="Nothing was written")
                return real(*args, **kwargs)

            return call

        journal = history.bench.wiring.journal
        for method in (*WRITES, *READS):
            setattr(journal, method, broken(getattr(journal, method)))
        strike(history, phase)
        assert history.is_served() or history.bench.rotate_calls
        history.next_process()
        check_while_it_lasts(history)
        check_afterwards(history)
