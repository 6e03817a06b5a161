"""Stages whose policy has consumers: an operator that copies the store, and pods that read the copy when they start."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.consumers.api_server import ApiServer
from tests.crash.stage import OverlapStage, Stage
from tests.crash.stores import FileStore

Place = tuple[Path, Simulator, Secret]


class _WithPods(Stage):
    """Mixed into a stage."""

    cluster: ApiServer

    def document(self, project: str) -> dict[str, Any]:
        # Digits throughout: by them a trace knows that it is the name of one, and calls all of them alike.
        name = f"mailer-{uuid.uuid4().int % 10**8:08d}"
        self.secret = self.pods = self.first
        self.operator = self.cluster.external_secret("shop", name)
        self.operator.on_sync, self.operator.delay = self._copy, 0
        self.workload = self.cluster.workload("Deployment", "shop", name, replicas=1)
        self.workload.on_new_pods = self._start
        self._look = self.workload.look
        self.workload.look = self._roll  # type: ignore[method-assign]
        return {
            **super().document(project),
            "consumers": [
                {"type": "external-secret", "namespace": "shop", "name": name},
                {"type": "kubernetes-restart", "kind": "Deployment", "namespace": "shop", "name": name},
            ],
        }

    def _roll(self) -> None:
        # Seen and done by one look: cells would be spent on waiting.
        for _ in range(2):
            self._look()

    def _copy(self) -> None:
        self.secret = self.store.read()

    def _start(self) -> None:
        self.pods = self.secret

    def dead_reads(self) -> list[str]:
        """Where two tokens live side by side, that of the pods lives until they have been restarted."""
        dead = super().dead_reads()
        if self.drains and not self.simulator.is_alive(self.pods):
            dead.append("the pods have a dead token")
        return dead

    def rest(self) -> tuple[str, list[str]]:
        ended, wrong = super().rest()
        if self.pods != self.store.read():
            wrong.append(f"{ended}, and the pods have another token than the store")
        for what, calls in (("restarted", self.workload.told), ("synced", self.operator.syncs)):
            if len(set(calls)) < len(calls):
                wrong.append(f"{what} twice for one call: {calls}")
        return ended, wrong


@dataclass
class StageWithPods(_WithPods, Stage):
    """`in-place`."""

    cluster: ApiServer = field(kw_only=True)


@dataclass
class OverlapStageWithPods(_WithPods, OverlapStage):
    """Old and new token side by side."""

    cluster: ApiServer = field(kw_only=True)


def in_cluster(cluster: ApiServer, place: Place, form: str) -> Stage:
    """A stage of the form whose consumers are in this cluster."""
    folder, simulator, team_token = place
    folder.mkdir()
    environment = {"KUBECONFIG": str(cluster.kubeconfig(folder / "kubeconfig"))}
    common = (folder, simulator, team_token, FileStore(folder), environment)
    if form == "in-place":
        return StageWithPods(*common, cluster=cluster)
    return OverlapStageWithPods(*common, form=form, cluster=cluster)
