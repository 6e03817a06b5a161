"""One canary per policy, around whatever is done for these policies meanwhile.

with Canaries(ports, policies, parse_rate("10/s"), stop) as canaries:
    outcome = rotate(runner, policies, trigger, reason)  # and the waiting for drains, if any
rotations = canaries.noted(runner, outcome.rotations)
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Self

from rotator.canary import CACHE, Canary, message_of
from rotator.engine.ports import Ports
from rotator.engine.runner import Runner
from rotator.errors import InvalidInput, RotatorError
from rotator.interrupt import Stop
from rotator.model import CanaryCount, Policy, Rotation
from rotator.provider.base import TestMessage

log = logging.getLogger(__name__)

_AROUND: Final = 1.0
"""Seconds of sending before and after, at least; and two sends, at least."""


class Canaries:
    """They fly from entering to leaving, some sends before and after what is done in between.

    Raises InvalidInput before anything is sent where a policy does not say whom its mail comes from.
    """

    def __init__(self, ports: Ports, policies: Iterable[Policy], rate: float, stop: Stop) -> None:
        messages = [(policy, message_of(policy)) for policy in policies]
        _refuse_silent(messages)
        self._clock = ports.clock
        self._stop = stop
        self._before = max(_AROUND, 2 / rate)
        # What was read before the last change is used up first.
        self._after = CACHE + self._before
        self._canaries = {
            policy.name: Canary(
                ports.provider,
                ports.destination(policy.authoritative),
                message,
                rate=rate,
                clock=ports.clock,
                name=policy.name,
            )
            for policy, message in messages
            if message is not None
        }
        self._counts: dict[str, CanaryCount] = {}

    def __enter__(self) -> Self:
        for canary in self._canaries.values():
            canary.start()
        self._clock.wait(self._before, self._stop.requested)
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.wait(self._after, self._stop.requested)
        self._counts = {name: canary.land() for name, canary in self._canaries.items()}

    def noted(self, runner: Runner, rotations: Iterable[Rotation]) -> tuple[Rotation, ...]:
        """The same rotations; the last one of each policy with its canary's count, in the journal too.

        A count that could not be journaled is logged and still told. Never raises a RotatorError.
        """
        rotations = tuple(rotations)
        last = {rotation.policy: rotation.id for rotation in rotations}
        return tuple(
            self._noted(runner, rotation)
            if rotation.id == last[rotation.policy] and rotation.policy in self._counts
            else rotation
            for rotation in rotations
        )

    def _noted(self, runner: Runner, rotation: Rotation) -> Rotation:
        count = self._counts[rotation.policy]
        try:
            return runner.note_canary(rotation, count)
        except RotatorError as error:
            log.warning("the canary's count of rotation %s is not journaled: %s", rotation.id, error)
            return replace(rotation, canary=count)


def _refuse_silent(messages: list[tuple[Policy, TestMessage | None]]) -> None:
    silent = [policy.name for policy, message in messages if message is None]
    if silent:
        raise InvalidInput(
            f"A canary has no sender address for {', '.join(silent)}: there is no `send` verification",
            then="Nothing was sent and nothing was changed",
            remedy="Add `{type: send, from: ADDRESS}` to `verify` in the policy, or leave --canary out",
        )
