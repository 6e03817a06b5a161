"""Work on several policies, a few at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Final, TypeVar

from rotator.engine.resting import unexpected
from rotator.errors import RotatorError
from rotator.interrupt import SLICE, leave_signals_to_main

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Item = TypeVar("Item")

# Work waits for the network, and the provider's rate limit allows few mints anyway.
SIDE_BY_SIDE: Final = 8


def attempted(job: Callable[[], Result]) -> Result | RotatorError:
    """What the job returns, or its error. What nobody thought of is an error of that job, too: a defect met at one
    policy must not keep the others from being rotated."""
    try:
        return job()
    except RotatorError as error:
        return error
    except Exception as error:
        log.exception("unexpected error in the work on one policy")
        return unexpected(error)


def with_room(
    ask: Callable[[Sequence[Item]], list[tuple[Item, float]]],
    items: Sequence[Item],
    wait: Callable[[float, int], None] | None,
) -> None:
    """Asks about the items; again about those that `ask` returns because the rate limit had no room for them,
    after the seconds it names with each, for as long as that gets any further.

    `wait` takes the seconds and how many wait; None: nobody waits.
    """
    stuck = False
    while items:
        limited = ask(items)
        if wait is None or not limited or (stuck and len(limited) == len(items)):
            return
        # Once it may be another command that took the room; twice it is none that comes back.
        stuck = len(limited) == len(items)
        wait(max(seconds for _, seconds in limited), len(limited))
        items = [item for item, _ in limited]


def side_by_side(
    jobs: Mapping[str, Callable[[], Result]], *, at_once: int = SIDE_BY_SIDE
) -> Iterable[tuple[str, Result | RotatorError]]:
    """Runs the jobs in their order, a few at a time; one that fails stops no other."""
    if not jobs:
        return
    with ThreadPoolExecutor(
        min(at_once, len(jobs)), thread_name_prefix="rotation", initializer=leave_signals_to_main
    ) as pool:
        futures = [(name, pool.submit(attempted, job)) for name, job in jobs.items()]
        for name, future in futures:
            while not future.done():
                wait_for([future], SLICE)
            yield name, future.result()
