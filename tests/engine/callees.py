"""A consumer in memory: keeps the port's promises, and comes on when it is told to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rotator.consumers.base import Call, Standing
from rotator.errors import Refused, RotatorError
from rotator.wiring import Wiring
from tests.engine.bench import Bench


class Callee:
    """A workload with one pod. Its `read` are the tokens that pods began with, the latest last."""

    def __init__(self, name: str, bench: Bench) -> None:
        self.name = name
        self.calls: list[Call] = []
        """Those that disturbed it."""
        self.repeated = 0
        self.ends = True
        """Whether it comes to its end by itself."""
        self.stuck = False
        self.refuses: RotatorError | None = None
        """What it answers to whatever it is told or asked."""
        self.read: list[str] = []
        self._bench = bench
        self._done: set[str] = set()

    def preflight(self) -> None:
        if self.refuses is not None:
            raise self.refuses

    def mark(self) -> str:
        return str(len(self.calls))

    def tell(self, call: Call) -> None:
        if self.refuses is not None:
            raise self.refuses
        if any(call.id == former.id for former in self.calls):
            self.repeated += 1
            return
        self.calls.append(call)
        self.read.append(self._bench.wiring.fingerprints.of(self._bench.stored()))

    def finish(self) -> None:
        """Its rollout ends."""
        self._done.add(self.calls[-1].id)

    def standing(self, call: Call, mark: str) -> Standing:
        if self.refuses is not None:
            raise self.refuses
        assert call.id == self.calls[-1].id
        assert int(mark) < len(self.calls)
        if self.ends or call.id in self._done:
            return Standing(done=True, detail="1 of 1 pods is new")
        return Standing(done=False, detail="0 of 1 pods are new", stuck=self.stuck)

    def describe(self) -> str:
        return self.name


def with_consumers(bench: Bench, *entries: Mapping[str, str]) -> Callees:
    """Gives the bench's policy these consumers; one Deployment if none is named."""
    bench.document["consumers"] = list(entries) or [restart("mailer")]
    bench.policy = bench.load_policy()
    return Callees(bench)


def restart(name: str) -> dict[str, str]:
    """The entry of a Deployment in a policy."""
    return {"type": "kubernetes-restart", "kind": "Deployment", "namespace": "shop", "name": name}


def sync(name: str) -> dict[str, str]:
    """The entry of an ExternalSecret in a policy."""
    return {"type": "external-secret", "namespace": "shop", "name": name}


class Callees:
    """Stands in for the composition root's consumers in every process of a bench from now on."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.by_name: dict[str, Callee] = {}
        new_process = bench.new_process

        def attached() -> Wiring:
            wiring = new_process()
            wiring.consumer = self.of  # type: ignore[method-assign, assignment]
            return wiring

        bench.new_process = attached  # type: ignore[method-assign]
        bench.wiring.consumer = self.of  # type: ignore[method-assign, assignment]

    def of(self, entry: Mapping[str, Any]) -> Callee:
        return self[entry["name"]]

    def __getitem__(self, name: str) -> Callee:
        return self.by_name.setdefault(name, Callee(name, self._bench))


def forbidden() -> Refused:
    """What the API server says of a Role that is missing."""
    return Refused("deployments.apps is forbidden", then="It is told again", remedy="Grant patch on it")
