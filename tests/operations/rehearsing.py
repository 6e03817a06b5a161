"""A bench with a policy that has run and can be rehearsed, and everything that a rehearsal must leave alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from rotator.model import Policy, Rotation
from rotator.operations import rehearse as operation
from rotator.operations.emergency import Report
from rotator.operations.outcome import Outcome
from rotator.operations.rehearsals import Past, past_of
from rotator.rehearsal import rehearsal_of
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.forms import SEND, rotated
from tests.engine.test_resumption import Killed

SHARED = {"slots", "claims", "pauses", "meta"}
"""Tables of what all policies share: the rate limit and the end of the audit chain."""

Row = tuple[str, tuple[Any, ...]]


def rehearsable(form: str, make_bench: Callable[..., Bench], *, overlap: str = "", **options: Any) -> Bench:
    """A policy of the form that was rotated once, with a rehearsal; `overlap` gives that what the policy's own
    strategy needs: `standby` or `bridge`."""
    bench = rotated(form, make_bench, **options)
    project, _ = bench.simulator.add_project("rehearsal")
    place = {"type": "file", "path": str(bench.folder / "rehearsal.json"), "key": "token"}
    rehearsal: dict[str, Any] = {"project": project, "destinations": [place], "verify": [{"type": "ping"}]}
    if overlap == "standby":
        other, _ = bench.simulator.add_project("rehearsal, standby")
        bench.simulator.add_domain("rehearsal.example.com", projects=[project, other])
        send = {**SEND, "from": "rotation@rehearsal.example.com"}
        rehearsal |= {"standby": {"project": other}, "verify": [{"type": "ping"}, send]}
    elif overlap == "bridge":
        bridge = bench.folder / "rehearsal-bridge.json"
        bench.write_secret(bridge, bench.simulator.add_token(project))
        rehearsal |= {"standby": {"token": {"type": "file", "path": str(bridge), "key": "token"}}}
    bench.document["rehearsal"] = rehearsal
    bench.policy = bench.load_policy()
    bench.clock.advance(120)  # what was minted so far has left the rate limit
    return bench


def schedule(bench: Bench, **keys: str) -> None:
    """Gives the rehearsal a schedule."""
    bench.document["rehearsal"]["schedule"] = keys
    bench.policy = bench.load_policy()


def rehearse(bench: Bench, *policies: Policy) -> tuple[Outcome, list[operation.Told], Report | None]:
    """`rotator rehearse` in the bench's present process."""
    return operation.rehearse(
        bench.runner, bench.wiring.ports, policies or (bench.policy,), "a drill", bench.stop, lambda _: None
    )


def past(bench: Bench) -> Past:
    return past_of(bench.wiring.journal, rehearsal_of(bench.policy))


def of_rehearsal(bench: Bench) -> list[Rotation]:
    """Oldest first."""
    return bench.wiring.journal.rotations("billing/rehearsal")[::-1]


def stored(bench: Bench) -> Secret:
    """What the rehearsal's destination holds."""
    return bench.stored_of(bench.folder / "rehearsal.json")


def die_at_the_mint(bench: Bench, number: int, *, executed: bool) -> None:
    """The process dies in the so-manieth call of rotate-token from now on."""
    real = bench.wiring.provider.rotate_token
    calls: list[str] = []

    def rotate_token(project: str) -> object:
        calls.append(project)
        if len(calls) < number:
            return real(project)
        if executed:
            real(project)
        raise Killed

    bench.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]


class Untouched:
    """What stands before a rehearsal, and that it stands after it, byte for byte."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._rows = self._read()
        self._files = self._stores()
        self._generated = self._made()

    def check(self) -> None:
        """Every byte and time of generation is what it was; every row that came, changed or went is the rehearsal's."""
        assert self._stores() == self._files
        assert self._made() == self._generated
        assert [row for row in self._read() ^ self._rows if not self._is_of_rehearsal(*row)] == []

    def _is_of_rehearsal(self, table: str, row: tuple[Any, ...]) -> bool:
        """By the columns that say whose it is; a token's row says it in its document."""
        names = {"billing/rehearsal", *rehearsal_of(self._bench.policy).projects}
        whose = {json.loads(row[1])["policy"]} if table == "tokens" else {*row}
        return bool(names & whose)

    def _read(self) -> set[Row]:
        """Every row of every table but the shared ones."""
        database = sqlite3.connect(f"file:{self._bench.folder}/state/journal.db?mode=ro", uri=True)
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            (name, tuple(row))
            for name in names
            if name not in SHARED and not name.startswith("sqlite_")
            for row in database.execute(f"SELECT * FROM {name}")
        }
        database.close()
        return found

    def _stores(self) -> dict[str, tuple[bytes, int, int]]:
        """Content, time of change and inode of every file of the policy's own, those with staged tokens too."""
        return {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
            for path in self._bench.folder.glob("*.json*")
            if path.is_file() and not path.name.startswith("rehearsal")
        }

    def _made(self) -> dict[str, tuple[str | None, int]]:
        """As the provider tells it, and how often it was asked to make one."""
        ports, simulator = self._bench.wiring.ports, self._bench.simulator
        return {
            project: (ports.provider.project(project).token_generated_at, len(simulator.mints(project)))
            for project in self._bench.policy.projects
        }
