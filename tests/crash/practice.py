"""Commands that the nursery runs itself, before it bears the first child.

Python rewrites code that has run a few times into faster code, and libraries make much at its first use. Each child
would do both anew, in pages that it has to copy from its parent first: a fifth of what most of them take.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rotator.cli.main import main
from tests.as_before import as_before
from tests.crash.harness import running_lettermint
from tests.crash.stage import ROTATE, RUN, Stage
from tests.crash.stores import FileStore

COMMANDS = (RUN, ROTATE, ("status", "-o", "json"))
TIMES = 3


def practise() -> None:
    """In a folder that is gone afterwards. Leaves this process as it was, and without a thread."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as folder, as_before():
        os.chdir(folder)
        with Path(os.devnull).open("w", encoding="utf-8") as unheard, _place(Path(folder)) as environment:
            os.environ.clear()
            os.environ.update(environment)
            sys.stdout = sys.stderr = unheard
            for words in COMMANDS * TIMES:
                code = main(words)
                assert code == 0, f"{words} ended with {code} where it was practised"
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join(10)  # what keeps the time of calls stays for as long as one may take
    assert threading.active_count() == 1


@contextmanager
def _place(folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment of a stage. Its Lettermint has threads, and so is another process."""
    told, telling = os.pipe()
    waiting, over = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(over)
        _hold(folder, telling, waiting)
    os.close(telling)
    os.close(waiting)
    with open(told, encoding="utf-8") as answer:  # noqa: PTH123  # a descriptor
        environment = json.load(answer)
    try:
        yield environment
    finally:
        os.close(over)
        os.waitpid(child, 0)


def _hold(folder: Path, telling: int, waiting: int) -> NoReturn:
    """Until the other end of `waiting` is closed, be it by that process's death."""
    try:
        lettermint = running_lettermint()
        stage = Stage(folder / "stage", *next(lettermint), FileStore(folder))
        with open(telling, "w", encoding="utf-8") as out:  # a descriptor
            json.dump(stage.environment, out)
        os.read(waiting, 1)
    except BaseException:  # noqa: BLE001  # what the parent then reads says nothing of it
        traceback.print_exc()
    finally:
        os._exit(0)
