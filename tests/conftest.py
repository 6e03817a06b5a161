"""What every test folder may use."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.crash.harness import Nursery

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# A shell starts background jobs with SIGINT ignored, `nohup` any with SIGHUP, and children inherit that. Tests
# that press Ctrl-C or close a terminal need children who hear it, however the tests themselves were started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30
"""Free bytes of memory that the tests may work in; they leave about 300 MB."""


def in_memory() -> bool:
    """Whether temporary folders can be there: waiting for a disk is much of the time, and the few tests that need one
    ask for it."""
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(MEMORY).free > ROOM


if in_memory():
    # Where pytest makes its folders, and whoever else here makes one of its own.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

ROOT = Path(__file__).resolve().parent.parent


def keep_what_is_compiled() -> None:
    """Where Python is told to write down no compiled module, those of the tests are kept for as long as they run: else
    each worker compiles each of them, and so does each command that the tests start."""
    kept = tempfile.mkdtemp(prefix="rotator-tests-")
    atexit.register(shutil.rmtree, kept, ignore_errors=True)
    # For this process and the workers, which it starts.
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = kept
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    sys.dont_write_bytecode = False


if os.environ.get("PYTHONDONTWRITEBYTECODE") and "PYTEST_XDIST_WORKER" not in os.environ:
    keep_what_is_compiled()

WAITING = ("acceptance", "crash", "races")
"""Folders of tests that mostly wait: for processes, drains, calls that may still be executed, leases."""
SPREAD = 0.75
"""The part of a run over which they are spread."""
LONG_EXAMPLES = 3000
"""Examples of each property test with `--long`, unless it asks for a number of its own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="take the big numbers; takes an hour")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        from hypothesis import settings  # noqa: PLC0415  # loads slowly, and most runs do without

        settings.register_profile("long", max_examples=LONG_EXAMPLES)
        settings.load_profile("long")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Nothing of what is collected is garbage, and looking through it takes a tenth of the time."""
    gc.disable()
    try:
        compile_a_part(session)
        return (yield)
    finally:
        gc.enable()


def compile_a_part(session: pytest.Session) -> None:
    """Each worker compiles a part of the tests before it collects them all: by then the others have compiled theirs,
    which costs more than a minute of a fresh clone's run where each compiles everything."""
    given = getattr(session.config, "workerinput", None)
    if given is None:
        return
    chosen = [Path(one.partition("::")[0]).resolve() for one in session.config.args]
    found = sorted({file for one in chosen for file in (one.rglob("test_*.py") if one.is_dir() else [one])})
    files = found[int(given["workerid"].removeprefix("gw")) :: given["workercount"]]
    # A folder's conftest says which helpers beside its tests are compiled like them, and must come before these.
    folders = {folder for file in files for folder in file.parents if (ROOT / "tests") in folder.parents}
    beside = sorted(folder / "conftest.py" for folder in folders if (folder / "conftest.py").exists())
    for path in [*beside, *files]:
        # What cannot be imported, or is to be skipped, is told when it is collected.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out what only --long tries. Where several workers share the run, the suites that wait most are spread over
    it: side by side they would all fall to one worker, and the others would end long before it."""
    if not config.getoption("--long"):
        leave_some(config, items)
    given = getattr(config, "workerinput", None)
    if given is None:
        return
    waiting = [item for item in items if item.path.parent.name in WAITING]
    rest = [item for item in items if item.path.parent.name not in WAITING]
    workers = given["workercount"]
    items[:] = [
        item
        for number in range(workers)
        for item in mixed(
            waiting[number::workers],
            rest[len(rest) * number // workers : len(rest) * (number + 1) // workers],
        )
    ]


def mixed(waiting: list[pytest.Item], rest: list[pytest.Item]) -> Iterator[pytest.Item]:
    """One worker's share: those that wait are spread over the most of it, and not over its end, where there would be
    nothing left that others can do meanwhile."""
    apart = SPREAD * len(rest) / max(1, len(waiting))
    places = [int(number * apart) for number in range(len(waiting))]
    done = 0
    for place, item in zip(places, waiting, strict=True):
        yield from rest[done:place]
        yield item
        done = place
    yield from rest[done:]


def leave_some(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests that are marked `one_in`; the runner counts those that are left out as deselected.

    Raises UsageError where a value would never be tried of a parameter that is given alone.
    """
    left: list[pytest.Item] = []
    seen: Counter[str] = Counter()
    untried: dict[str, set[tuple[str, str]]] = {}
    tried: dict[str, set[tuple[str, str]]] = {}
    for item in items:
        marker = item.get_closest_marker("one_in")
        if marker is None:
            continue
        number, group = marker.args
        name = item.nodeid.partition("[")[0]
        goes = (seen[name] + seen[name] // group) % number
        (untried if goes else tried).setdefault(name, set()).update(values_given_alone(item))
        if goes:
            left.append(item)
        seen[name] += 1
    for name, values in untried.items():
        if never := values - tried[name]:
            raise pytest.UsageError(f"one_in leaves out all cases of {name} with {sorted(never)}")
    if left:
        config.hook.pytest_deselected(items=left)
        gone = {id(item) for item in left}
        items[:] = [item for item in items if id(item) not in gone]


def values_given_alone(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Name and value of each parameter; those that are given in tuples are left out."""
    values: dict[str, Any] = item.callspec.params  # type: ignore[attr-defined]  # of whatever is parametrized
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0]
        if isinstance(names, str) and "," not in names:
            yield names, repr(values[names])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The crash matrix, which no single test sees."""
    from tests.crash.table import lines  # noqa: PLC0415  # this file is loaded before the path is set

    passed = terminalreporter.getreports("passed")
    told = lines(one for report in passed for one in report.user_properties)
    if told:
        terminalreporter.section("crash matrix")
        for line in told:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the big numbers were asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The warm parent of the commands that tests run as processes; one for each worker."""
    from tests.crash.harness import running_nursery  # noqa: PLC0415  # this file is loaded before the path is set

    yield from running_nursery()


class FakeClock:
    """A clock that moves only when told to, or by the waits asked of it."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        self._boot = 1000.0
        self.boot_id = "boot-1"
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._now

    def boot(self) -> float:
        return self._boot

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._boot += seconds

    def jump_wall(self, seconds: float) -> None:
        """Somebody set the wall clock; the boot clock does not care."""
        self._now += timedelta(seconds=seconds)

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        if stop is not None and stop.is_set():
            return True
        self.waits.append(seconds)
        self.advance(max(0.0, seconds))
        return False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def pytest_collection_finish() -> None:
    """What was collected stays to the end: it need not be looked through whenever garbage is collected. By now those
    tests are loaded that need botocore."""
    if "botocore" in sys.modules:
        from tests import botocore_data  # noqa: PLC0415  # loads slowly, and some runs do without

        botocore_data.read_once()
    gc.collect()
    gc.freeze()
