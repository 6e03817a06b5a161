"""Brings rotations to a halt inside one of their steps, each in its own, so that one signal meets all of them there.

`halt_in_steps` is called in a forked child before its command (`Nursery.run(prepare=…)`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.crash.trace import Tracer
from tests.leaks.accidents import standard_input

BEFORE = "before"
"""Before the step's function does anything."""
INSIDE = "inside"
"""After the step's first call that changes something outside; where it makes none, after its first call."""
AFTER = "after"
"""When the step's function has done everything, and nothing of that is recorded yet."""
WHERE = (BEFORE, INSIDE, AFTER)
ANY = ""
"""In place of a step's name: the first one that the process carries out."""

OUTSIDE = ("provider", "store", "file rename", "file replace")
"""Calls in which there is a halt. One that writes down what is done, journal or audit, would keep all others from
writing."""
CHANGING = ("provider POST", "store Put", "store Update", "file rename", "file replace")
CHANGE_SOMETHING = {
    "mint+publish",
    "mint+stage",
    "take+stage",
    "promote-bridge",
    "promote",
    "retire",
    "kill",
    "rollback",
}
"""Steps that do their work by such calls."""


class Halter(Tracer):
    """Waits, once for each policy, while the file with the policy's name stands in the folder of gates."""

    def __init__(self, gates: Path, wanted: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(None, 0, "")
        self._gates = gates
        self._wanted = dict(wanted)
        self._here = threading.local()

    def around(self, label: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            policy, step = getattr(self._here, "at", ("", ""))
            calls = CHANGING if step in CHANGE_SOMETHING else OUTSIDE
            if label.startswith(calls) and self._due(policy, step, INSIDE):
                self._wait(policy, self._here.rotation)

    def install(self) -> None:
        super().install()
        from rotator.engine import carrier  # noqa: PLC0415  # imported by the product as well

        real = carrier.function_of

        def function_of(form: Any, name: str) -> Callable[[Any], Any]:
            return lambda context: self._step(real(form, name), name, context)

        carrier.function_of = function_of

    def _step(self, function: Callable[[Any], Any], name: str, context: Any) -> Any:
        policy, rotation = context.policy.name, context.rotation.id
        if self._due(policy, name, BEFORE):
            self._wait(policy, rotation)
        self._here.at, self._here.rotation = (policy, name), rotation
        try:
            result = function(context)
        finally:
            self._here.at = ("", "")
        if self._due(policy, name, AFTER) or self._due(policy, name, INSIDE):
            self._wait(policy, rotation)
        return result

    def _due(self, policy: str, step: str, where: str) -> bool:
        return self._wanted.get(policy) in ((step, where), (ANY, where))

    def _wait(self, policy: str, rotation: str) -> None:
        del self._wanted[policy]
        gate, coming = self._gates / policy, self._gates / f".{policy}"
        coming.write_text(rotation, encoding="utf-8")
        coming.rename(gate)
        while gate.exists():
            time.sleep(0.03)  # dozens of them wait side by side


def halt_in_steps(gates: str, wanted: dict[str, list[str]], tick: float, given: str | None = None) -> None:
    """`wanted`: by policy, the step and where in it; `tick` is in seconds, of the
    daemon's ticks and of its pauses after what it could not do; `given` is what standard
    input gives."""
    if given is not None:
        standard_input(given)
    from rotator.daemon import agenda, loop  # noqa: PLC0415  # only the daemon loads a scheduler
    from rotator.daemon.ticker import Ticker  # noqa: PLC0415

    Ticker.__init__.__kwdefaults__["seconds"] = tick
    agenda.RETRY_FIRST = loop.RETRY_DEAD = tick  # type: ignore[misc]
    loop.MINTERS = loop.RESUMERS = loop.MINTERS + len(wanted)  # type: ignore[misc]  # a halt keeps its thread
    Halter(Path(gates), {policy: (step, where) for policy, (step, where) in wanted.items()}).install()


def killed_at(given: str | None, record: str | None, number: int, when: str) -> None:
    """Numbers the calls, into the file `record`, and dies before or after one; 0 is none. `given` as above."""
    if given is not None:
        standard_input(given)
    if record is not None or number:
        Tracer(Path(record) if record else None, number, when).install()
