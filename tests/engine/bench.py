"""A whole rotator in one process, on a clock that moves when told to: real HTTP, real files, real SQLite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rotator.audit.base import AuditEvent
from rotator.audit.chain import verify as verify_chain
from rotator.engine.context import Progress, Timings
from rotator.engine.runner import Runner
from rotator.interrupt import Stop
from rotator.model import Policy, Rotation, Trigger
from rotator.policies.load import from_snapshot
from rotator.secret import Secret
from rotator.settings import resolve
from rotator.simulator.server import Simulator
from rotator.wiring import Wiring
from tests.conftest import FakeClock

OTHER = "kept-as-it-is"


class Bench:
    """One policy `billing`, one project, one JSON file with another field beside the token.

    `lease` is far longer than any waiting, because the heartbeat beats in real time and the rest on
    the fake clock.
    """

    def __init__(
        self,
        folder: Path,
        clock: FakeClock,
        *,
        rotate_limit: int = 30,
        verify: list[dict[str, Any]] | None = None,
        followers: tuple[str, ...] = (),
        extra: dict[str, Any] | None = None,
        stored: bool = True,
        **timings: float,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.simulator = Simulator(clock=clock, rotate_limit=rotate_limit, read_limit=100_000)
        self.simulator.start()
        furnished = self.simulator.furnish(2)
        (self.project, self.first), (self.other_project, self.other_token) = furnished.projects
        self.secret_file = folder / "billing.json"
        if stored:
            self.write_secret(self.secret_file, self.first)
        else:
            self.secret_file.write_text(json.dumps({"other": OTHER}), encoding="utf-8")
        destinations = [{"type": "file", "path": str(self.secret_file), "format": "json", "key": "token"}]
        for name in followers:
            path = folder / name
            self.write_secret(path, self.first)
            destinations.append({"type": "file", "path": str(path), "format": "json", "key": "token"})
        self.document = {
            "name": "billing",
            "project": self.project,
            "strategy": "in-place",
            "schedule": {"every": "30d"},
            "destinations": destinations,
            "verify": verify or [{"type": "ping"}],
            **(extra or {}),
        }
        (folder / "policies").mkdir()
        self.policy = self.load_policy()
        self.settings = resolve(
            {},
            {
                "ROTATOR_POLICIES": str(folder / "policies"),
                "ROTATOR_JOURNAL": f"sqlite:///{folder}/state/journal.db",
                "ROTATOR_AUDIT_LOG": str(folder / "state" / "audit.jsonl"),
                "LETTERMINT_API_URL": self.simulator.url,
                "LETTERMINT_TEAM_TOKEN": furnished.team_token.reveal(),
                "ROTATOR_ROTATE_LIMIT": str(rotate_limit),
            },
            None,
            stderr_is_tty=False,
        )
        self.timings = Timings(**{"call": 2.0, "lease": 1e6, **timings})
        self.progress: list[Progress] = []
        self.announced: list[str] = []
        self.unwritten: list[AuditEvent] = []
        self.stop = Stop()
        self.wiring = self.new_process()

    def load_policy(self) -> Policy:
        """What `load_policies` makes of its file, without reading YAML, which takes thirty times as long, and without
        looking for what several policies must not share."""
        # JSON is YAML.
        file = self.folder / "policies" / "billing.yaml"
        file.write_text(json.dumps({"policies": [self.document]}), encoding="utf-8")
        return from_snapshot({**self.document, "file": str(file), "line": 1})

    def new_process(self) -> Wiring:
        """Another process would begin with nothing but what is on disk."""
        self.stop = Stop()
        self.wiring = Wiring(
            self.settings,
            self.clock,
            stop=self.stop,
            observer=self.progress.append,
            announce=self.announced.append,
            unwritten=lambda event, _at: self.unwritten.append(event),
            command="test",
        )
        return self.wiring

    @property
    def runner(self) -> Runner:
        wiring = self.wiring
        return Runner(
            wiring.ports,
            wiring.holder,
            self.timings,
            self.stop,
            self.progress.append,
            lambda event, _at: self.unwritten.append(event),
        )

    def rotate(self, trigger: Trigger = Trigger.MANUAL) -> Rotation:
        """Rotates and returns the last rotation."""
        return self.runner.rotate(self.policy, trigger, "test")[-1]

    def let_somebody_else_mint_next(self) -> None:
        """From now on somebody presses Regenerate in the dashboard a second after each mint of ours."""
        real = self.wiring.provider.rotate_token

        def then_somebody_else(project: str) -> object:
            minted = real(project)
            self.clock.advance(1)
            self.simulator.regenerate(project)
            return minted

        self.wiring.provider.rotate_token = then_somebody_else  # type: ignore[method-assign, assignment]

    def close(self) -> None:
        self.simulator.stop()

    # what is true

    def write_secret(self, path: Path, token: Secret) -> None:
        path.write_text(json.dumps({"other": OTHER, "token": token.reveal()}), encoding="utf-8")

    def stored(self, path: Path | None = None) -> Secret:
        document = json.loads((path or self.secret_file).read_text(encoding="utf-8"))
        assert document["other"] == OTHER
        return Secret(document["token"])

    @staticmethod
    def stored_of(path: Path) -> Secret:
        """The token in a file of rotator's own making, which holds nothing else."""
        return Secret(json.loads(path.read_text(encoding="utf-8"))["token"])

    @property
    def mints(self) -> int:
        return len(self.simulator.mints(self.project))

    @property
    def rotate_calls(self) -> int:
        return sum(1 for event in self.simulator.events if event.call == "rotate")

    @property
    def attention(self) -> set[str]:
        return {entry.code for entry in self.wiring.journal.attentions("billing")}

    def audited(self) -> list[dict[str, Any]]:
        text = self.settings.audit_log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def assert_served(self) -> None:
        """The store holds a living token, and it is the journal's newest."""
        assert self.simulator.is_alive(self.stored())

    def assert_audit_holds(self) -> None:
        head = self.wiring.journal.audit_head()
        report = verify_chain(self.settings.audit_log, self.wiring.audit_key, head)
        assert report.ok, report.problem


def outage_seen(bench: Bench, rotation: Rotation) -> float:
    """Seconds from the true death of the old token to the true write of the new one, at least."""
    mint = bench.simulator.mints(bench.project)[-1]
    assert rotation.served is not None
    return mint.old_dead_from.seconds_until(rotation.served)
