"""A policy's history made of whatever may happen to it: commands, deaths of the process, faults, other people, time.

Everything is real but the clock: HTTP to the simulator, files, SQLite. A `Died` stands for the end of a
process: nothing in the engine handles it, and the next process begins with what is on disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rotator.destinations.base import Destination
from rotator.errors import RotatorError, Unreachable, VersionConflict
from rotator.model import Rotation, State, Trigger
from rotator.secret import Secret
from tests.conftest import FakeClock
from tests.engine.bench import Bench
from tests.engine.test_resumption import run

HOUR = 3600.0
FORMS = ("in-place", "two-places", "standby", "bridge")
DOORS = ("mint", "publish", "stage", "promote", "save", "audit")
ROUNDS = 12
"""Runs after which a history must have come to rest once nothing goes wrong any more."""


class Died(BaseException):
    """The process ends here."""


class History:
    """One policy of one form, and what happened to it."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.folder = Path(tempfile.mkdtemp(prefix="history-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        self.clock = FakeClock()
        self.bench = Bench(
            self.folder,
            self.clock,
            followers=("follower.json",) if form == "two-places" else (),
            follower_budget=20.0,
            publish_budget=40.0,
            look_budget=40.0,
        )
        self.told: list[str] = []
        """What happened, for whoever reads a failure."""
        self.bridge: Secret | None = None
        self.meddled = False
        """Somebody else killed the token that readers held, so that a dead one is nobody's fault here."""
        self._refusals = 0
        self._furnish()
        self._arm_stores()

    def _furnish(self) -> None:
        bench = self.bench
        drain = {"min": "2h", "quiet": "1h", "max": "1d"}
        if self.form == "standby":
            bench.simulator.add_domain(projects=[bench.project, bench.other_project])
            bench.document |= {
                "strategy": "create-before-revoke",
                "standby": {"project": bench.other_project},
                "drain": drain,
                "verify": [{"type": "ping"}, {"type": "send", "from": "rotation@example.com"}],
            }
        elif self.form == "bridge":
            self.bridge = bench.simulator.add_token(bench.project)
            place = self.folder / "bridge.json"
            bench.write_secret(place, self.bridge)
            bench.document |= {
                "strategy": "create-before-revoke",
                "standby": {"token": {"type": "file", "path": str(place), "format": "json", "key": "token"}},
                "drain": drain,
            }
        bench.policy = bench.load_policy()

    def close(self) -> None:
        self.bench.close()
        shutil.rmtree(self.folder)

    # what may happen

    def command(self, trigger: Trigger | None) -> None:
        """`rotator rotate` by a trigger, or `rotator run` without one; a process that died leaves another."""
        try:
            if trigger is None:
                rotations = run(self.bench).rotations
            else:
                rotations = tuple(self.bench.runner.rotate(self.bench.policy, trigger, "a history"))
            self.told.append(f"{trigger or 'run'}: {[self._words(one) for one in rotations]}")
        except RotatorError as error:
            self.told.append(f"{trigger or 'run'}: {error.code}: {error.happened}")
        except Died:
            self.told.append(f"{trigger or 'run'}: died")
            self.next_process()

    @staticmethod
    def _words(rotation: Rotation) -> str:
        return f"{rotation.state} at {rotation.step or 'the end'}: {rotation.message}"

    def next_process(self) -> None:
        self.bench.new_process()
        self._arm_stores()

    def die_at(self, door: str, nth: int, *, after: bool) -> None:
        """The present process ends at its n-th call of this kind, before it takes effect or after it."""
        left = [nth]

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] == 0 and not after:
                    raise Died
                answer = real(*args, **kwargs)
                if left[0] == 0:
                    raise Died
                return answer

            return call

        wiring = self.bench.wiring
        if door == "mint":
            _replace(wiring.provider, "rotate_token", deadly)
        elif door == "save":
            _replace(wiring.journal, "save", deadly)
        elif door == "audit":
            _replace(wiring.audit, "record", deadly)
        else:
            for destination in self.destinations():
                _replace(destination, door, deadly)

    def destinations(self) -> list[Destination]:
        return [self.bench.wiring.destination(spec) for spec in self.bench.policy.destinations]

    def refuse_writes(self, times: int) -> None:
        """The stores answer the next writes with an error that says nothing was written."""
        self._refusals = times

    def _arm_stores(self) -> None:
        def sometimes(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if self._refusals > 0:
                    self._refusals -= 1
                    error = Unreachable if self._refusals % 2 else VersionConflict
                    raise error("The store does not take it now")
                return real(*args, **kwargs)

            return call

        for destination in self.destinations():
            for name in ("publish", "stage", "promote"):
                _replace(destination, name, sometimes)

    def somebody_else_mints(self) -> None:
        """Regenerate in the dashboard: of the token that readers hold, or of one that nobody holds."""
        held = self.bench.stored()
        self.clock.advance(1)  # the provider tells mints apart by whole seconds
        self.bench.simulator.regenerate(self.bench.project)
        self.meddled = self.meddled or not self.bench.simulator.is_alive(held)

    # what must hold

    def is_served(self) -> bool:
        return all(self.bench.simulator.is_alive(self.bench.stored(path)) for path in self.places())

    def places(self) -> list[Path]:
        return [Path(spec.options["path"]) for spec in self.bench.policy.destinations]

    def calm_down(self) -> None:
        """Nothing goes wrong any more, and runs come as cron would make them come."""
        self.bench.simulator.faults.clear()
        self._refusals = 0
        self.next_process()
        for _ in range(ROUNDS):
            self.command(None)
            if not self.bench.wiring.journal.unfinished():
                return
            self.clock.advance(HOUR)

    def at_rest(self) -> list[str]:
        """What is wrong with the world after `calm_down`, in words; empty when nothing is."""
        bench, wrong = self.bench, []
        journal = bench.wiring.journal
        attention = {entry.code for entry in journal.attentions("billing")}
        if not self.is_served() and not attention:
            wrong.append("readers hold a dead token, and nothing says so")
        wrong += [
            f"{one.id} completed although its old token lives"
            for one in journal.rotations("billing")
            if one.state is State.COMPLETED and one.old_fingerprint and one.old_token_dead is False
        ]
        if not attention:
            wrong += [f"{one.id} is not at rest: {one.state} at {one.step}" for one in journal.unfinished()]
            wrong += self._strays()
        bench.assert_audit_holds()
        wrong += self._tokens_elsewhere()
        return wrong

    def _strays(self) -> list[str]:
        """Living tokens that no store holds and nobody else made. (What retires the outgoing project of a pair is
        a token that nobody ever sees.)"""
        if self.meddled or self.form == "standby":
            return []
        bench = self.bench
        held = {bench.stored(path) for path in self.places()} | {bench.other_token, self.bridge}
        lost = [
            token
            for token in bench.simulator.issued()
            if token.is_project_token and bench.simulator.is_alive(token) and token not in held
        ]
        return [f"{len(lost)} living tokens are in no store"] if lost else []

    def _tokens_elsewhere(self) -> list[str]:
        """Files outside the destinations that hold a token."""
        ours = {path.resolve() for path in self.places()} | {(self.folder / "bridge.json").resolve()}
        wrong = []
        for path in self.folder.rglob("*"):
            if not path.is_file() or path.resolve() in ours or ".rotator" in path.name:
                continue
            content = path.read_bytes()
            if any(token.reveal().encode() in content for token in self.bench.simulator.issued()):
                wrong.append(f"{path.name} holds a token")
        return wrong


def _replace(owner: Any, name: str, made_of: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    setattr(owner, name, made_of(getattr(owner, name)))
