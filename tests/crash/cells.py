"""One cell of the crash matrix: a command is killed at one of its calls to the outside, another one resumes.

Cells live side by side, so that they share the waiting for drains and for calls that may still be executed. Each
is a generator that yields for how many seconds it need not be asked again.

What a crash leaves is the same after a call and before the next one, and the same before and after a call that
only reads or syncs: a killed process loses nothing that it wrote. So each state of the world is left once, before
every call that writes and after the last one; with --long once for each of the three commands that resume.
"""

from __future__ import annotations

import heapq
import itertools
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rotator.model import State
from tests.crash import table
from tests.crash.harness import KILLED, Child, Ended, Nursery
from tests.crash.stage import DRAIN, ROTATE, RUN, Stage
from tests.crash.trace import writes

ROUNDS: Final = 8
"""Commands after a crash in which it must have come to rest."""
AT_ONCE: Final = 16
PATIENCE: Final = 60.0
LOOK: Final = 0.02
STOPPED: Final = 143
LATE: Final = 6
NO_ANSWER: Final = "no-answer after"
"""What the log says of a call whose answer did not come in time."""
TRIES: Final = 3
"""Lives of a cell whose command came to another end than the crash, because an answer was late on a busy machine."""
Life = Generator[float, None, None]
Maker = Callable[[str], Stage]


class Late(Exception):
    """The command ended before the crash could come, by an answer that did not come in time."""


@dataclass(frozen=True)
class Crash:
    """Where a command is killed: at the `nth` call of this kind. Its number among all calls is for people: the
    provider tells times in whole seconds, so how often it is read is not quite the same every time."""

    number: int
    when: str
    call: str
    nth: int

    def __str__(self) -> str:
        return f"{self.number:03d} {self.when} {self.call}"

    @property
    def trace(self) -> dict[str, Any]:
        return {"kill_at": self.nth, "call": self.call, "when": self.when}


@dataclass
class Cell:
    """`crashes` come one after the other: the first in one of the rotation's commands, the second in a command that
    resumes it. `make` makes its stage, given a name."""

    make: Maker
    name: str
    command: int
    crashes: tuple[Crash, ...]
    resumer: str
    row: str
    """Of the table."""
    problems: list[str] = field(default_factory=list)
    ended: str = ""
    stage: Stage = field(init=False)

    @property
    def where(self) -> str:
        return "; then ".join(map(str, self.crashes))

    def __str__(self) -> str:
        return f"{self.where}; resumed by {self.resumer}"

    def look(self, when: str) -> None:
        """Nobody may read a dead token at any time where two live side by side."""
        if self.stage.drains:
            self.problems += [f"{when}: {problem}" for problem in self.stage.dead_reads()]


def side_by_side(lives: Iterable[Life], at_once: int = AT_ONCE) -> None:
    """Lives all of them to their ends, so many at a time."""
    todo, numbers = iter(lives), itertools.count()
    running: list[tuple[float, int, Life]] = []
    while True:
        while len(running) < at_once and (life := next(todo, None)) is not None:
            heapq.heappush(running, (time.monotonic(), next(numbers), life))
        if not running:
            return
        due, _, life = heapq.heappop(running)
        time.sleep(max(0.0, due - time.monotonic()))
        if (pause := next(life, None)) is not None:
            heapq.heappush(running, (time.monotonic() + pause, next(numbers), life))


def finished(child: Child) -> Generator[float, None, Ended]:
    give_up_at = time.monotonic() + PATIENCE
    while (ended := child.ended()) is None:
        if time.monotonic() > give_up_at:
            return child.wait(0)
        yield LOOK
    return ended


def lead_up(nursery: Nursery, stage: Stage, command: int) -> Life:
    """Brings a rotation to the moment before one of its commands."""
    for number in range(command):
        ended = yield from finished(stage.start(nursery, number))
        if ended.code not in stage.codes and NO_ANSWER in ended.errors:
            raise Late(f"not led up to: exit {ended.code}\n{ended.errors}")
        assert ended.code in stage.codes, ended.errors
        assert stage.dead_reads() == []
        yield DRAIN + 0.1


def life(nursery: Nursery, cell: Cell) -> Life:
    """Everything that happens to one cell; what was not tried because the machine was too busy is tried anew."""
    for number in range(1, TRIES + 1):
        cell.stage = cell.make(cell.name if number == 1 else f"{cell.name}-again-{number}")
        try:
            yield from _life(nursery, cell)
        except Late as error:
            if number == TRIES:
                cell.problems.append(str(error))
        else:
            return


def _life(nursery: Nursery, cell: Cell) -> Life:
    stage = cell.stage
    yield from lead_up(nursery, stage, cell.command)
    first, *more = cell.crashes
    yield from killed(cell, stage.start(nursery, cell.command, first.trace))
    for crash in more:
        yield from killed(cell, resuming(nursery, stage, cell.resumer, crash.trace))
    yield from (served if cell.resumer == "serve" else resumed)(nursery, cell)
    cell.ended, wrong = stage.rest()
    cell.problems += wrong
    if cell.command and cell.ended not in stage.ends:
        cell.problems.append(f"{cell.ended}, although its token was promoted")
    if not cell.problems:
        shutil.rmtree(stage.folder)


def killed(cell: Cell, child: Child) -> Life:
    ended = yield from finished(child)
    if ended.code != KILLED:
        if NO_ANSWER in ended.errors:
            raise Late(f"not killed: exit {ended.code}\n{ended.errors}")
        cell.problems.append(f"not killed: exit {ended.code}\n{ended.errors}")
    cell.look("after the crash")


def resuming(nursery: Nursery, stage: Stage, resumer: str, trace: dict[str, Any] | None = None) -> Child:
    """Starts the command that takes up what is unfinished. Only that work of a daemon is traced."""
    argv = {"run": RUN, "rotate": ROTATE, "serve": ("serve",)}[resumer]
    if trace is not None and resumer == "serve":
        trace = {**trace, "threads": "resume-"}
    return nursery.start(*argv, stage=stage, trace=trace)


def resumed(nursery: Nursery, cell: Cell) -> Life:
    """The same command again and again, as cron would; readers are asked after each. Where nothing has to be waited
    for, the first one does it all, unless an answer was late on a busy machine (6)."""
    for number in range(1, ROUNDS + 1):
        ended = yield from finished(resuming(nursery, cell.stage, cell.resumer))
        # 3: `rotate` has ended one that was given up (1) and begun another.
        if ended.code not in ((0, 1, 3, 4, LATE) if cell.stage.drains else (0, LATE)):
            cell.problems.append(
                f"{cell.resumer} {number} ended with {ended.code}: {ended.output} {ended.errors}"
            )
        cell.look(f"after {cell.resumer} {number}")
        cell.stage.answer_attention()
        if ended.code != LATE and not (cell.stage.drains and cell.stage.open_rotations()):
            return
        yield DRAIN + 0.1
    cell.problems.append(f"unfinished after {ROUNDS} times")


def served(nursery: Nursery, cell: Cell) -> Life:
    """One daemon until nothing is left open, then SIGTERM."""
    child = resuming(nursery, cell.stage, "serve")
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at and child.ended() is None:
        if "serving" in child.errors:
            cell.look("under serve")
            cell.stage.answer_attention()
            if not cell.stage.open_rotations():
                break
        yield LOOK * 10
    child.signal(signal.SIGTERM)
    ended = yield from finished(child)
    if ended.code != STOPPED:
        cell.problems.append(f"serve ended with {ended.code}: {ended.errors}")
    cell.look("after serve")


def crashes_at(points: list[str], when: str, among: Callable[[str], bool]) -> list[Crash]:
    """Before or after each of the calls that is among these."""
    seen: Counter[str] = Counter()
    crashes: list[Crash] = []
    for number, call in enumerate(points, start=1):
        seen[call] += 1
        if among(call):
            crashes.append(Crash(number, when, call, seen[call]))
    return crashes


def crashes_of(points: list[str]) -> list[Crash]:
    """Where to kill a command that makes these calls."""
    return [
        *crashes_at(points, "before", writes),
        crashes_at(points, "after", lambda call: call == points[-1])[-1],
    ]


def in_turn(crashes: list[Crash], *, long: bool, every: int) -> list[tuple[Crash, str]]:
    """Crashes, and the command that resumes each: with --long all of them with each of the three commands, else of
    each `every` crashes one, with the three in turn."""
    if long:
        return list(itertools.product(crashes, table.RESUMERS))
    return list(zip(crashes[::every], itertools.cycle(table.RESUMERS)))


def points_of(
    nursery: Nursery, stage: Stage, command: int, crash: Crash | None = None, resumer: str = ""
) -> list[str]:
    """Every call of one undisturbed command, in order; with a crash in it, those of what resumes it."""
    record = stage.folder / "points"

    def undisturbed() -> Life:
        yield from lead_up(nursery, stage, command)
        child = stage.start(nursery, command, {"record": str(record)} if crash is None else crash.trace)
        ended = yield from finished(child)
        if crash is None:
            assert ended.code in stage.codes, ended.errors
            return
        assert ended.code == KILLED, ended.errors
        child = resuming(nursery, stage, resumer, {"record": str(record)})
        if resumer == "serve":
            while any(one.state is State.RUNNING for one in stage.open_rotations()):
                yield LOOK
            child.signal(signal.SIGTERM)
        yield from finished(child)

    side_by_side([undisturbed()])
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def survive(
    nursery: Nursery, cells: list[Cell], record_property: table.Record, *, there: Mapping[str, int]
) -> None:
    """Lives all cells and tells the table of them; fails with what was wrong with which. `there`: by row, how many
    points it has, tried or not."""
    side_by_side(life(nursery, cell) for cell in cells)
    wrong = {f"{cell.row}: {cell}": cell.problems for cell in cells if cell.problems}
    assert not wrong, json.dumps(wrong, indent=1)
    assert any(cell.ended in cell.stage.ends for cell in cells)
    table.tell(record_property, [(cell.row, cell.where, cell.resumer) for cell in cells], there=there)
