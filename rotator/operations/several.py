"""Work on several policies, a few at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from rotator.engine.resting import unexpected
from rotator.errors import RotatorError
from rotator.interrupt import leave_signals_to_main

log = logging.getLogger(__name__)

Result = TypeVar("Result")

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
            yield name, future.result()
