"""The objects of a small cluster and what its controllers do with them.

Kept as the API keeps them: every change gives an object another `resourceVersion`, a change of its `spec` another
`generation`, and only controllers write `status`.
A controller does one thing each time somebody reads the object, so that nothing here depends on time, or when it is
told to (`roll`, `sync`); `held` keeps it from doing anything.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar


def merged(target: Any, change: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(change, dict):
        return change
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


@dataclass
class Stored:
    """One object. Guarded by the server's lock."""

    group: ClassVar[str]
    plural: str
    kind: str
    namespace: str
    name: str
    spec: dict[str, Any]
    version: Callable[[], str]
    """Makes the next resource version of the cluster."""
    annotations: dict[str, str] = field(default_factory=dict)
    generation: int = 1
    resource_version: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    held: bool = False
    """Its controller does nothing."""

    def __post_init__(self) -> None:
        self.resource_version = self.version()

    def document(self, api_version: str) -> dict[str, Any]:
        metadata = {
            "name": self.name,
            "namespace": self.namespace,
            "generation": self.generation,
            "resourceVersion": self.resource_version,
            **({"annotations": dict(self.annotations)} if self.annotations else {}),
        }
        return copy.deepcopy(
            {
                "apiVersion": api_version,
                "kind": self.kind,
                "metadata": metadata,
                "spec": self.spec,
                "status": self.status,
            }
        )

    def apply(self, change: dict[str, Any], *, keep: bool) -> tuple[dict[str, str], dict[str, Any]]:
        """What annotations and spec become; kept unless it is a dry run."""
        annotations = merged(self.annotations, change.get("metadata", {}).get("annotations", {}))
        spec = merged(self.spec, change.get("spec", {}))
        if keep and (annotations, spec) != (self.annotations, self.spec):
            before, self.annotations = self.spec, annotations
            if spec != before:
                self.spec = spec
                self.generation += 1
                self.changed(before)
            self.resource_version = self.version()
        return annotations, spec

    def changed(self, before: dict[str, Any]) -> None:
        """The spec has changed."""

    def look(self) -> None:
        """Its controller does one thing."""

    def _write(self, status: dict[str, Any]) -> None:
        if status != self.status:
            self.status = status
            self.resource_version = self.version()


@dataclass
class Workload(Stored):
    """A Deployment, StatefulSet or DaemonSet; `replicas` of a DaemonSet is the number of its nodes."""

    group: ClassVar[str] = "apps"
    replicas: int = 3
    pods: list[int] = field(default_factory=list)
    """The template of each, by number."""
    template: int = 1
    stuck: bool = False
    """New pods never become ready."""
    late: bool = False
    """The Deployment's progress deadline has passed."""
    told: list[str] = field(default_factory=list)
    """The annotation `rotator/rotation` after each change of its template: each is a restart."""
    on_new_pods: Callable[[], None] = lambda: None
    """Called when all pods have become new ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pods = [1] * self.replicas
        self.observe()

    def changed(self, before: dict[str, Any]) -> None:
        if self.spec["template"] != before["template"]:
            self.template += 1
            self.late = False
            annotations = self.spec["template"].get("metadata", {}).get("annotations", {})
            self.told.append(annotations.get("rotator/rotation", ""))

    def look(self) -> None:
        if self.held:
            return
        if self.status.get("observedGeneration") != self.generation:
            self.observe()
        else:
            self._replace_one()

    def roll(self) -> None:
        """To the end, now."""
        self.held = False
        for _ in range(self.replicas + 1):
            self.look()

    def observe(self) -> None:
        self._write(self._status())

    def _replace_one(self) -> None:
        old = [number for number in range(self.replicas) if self.pods[number] != self.template]
        reached = [number for number in old if number >= self._partition]
        waits = self.spec.get("paused") or self.spec.get("updateStrategy", {}).get("type") == "OnDelete"
        # Controllers go on with the next pod when the one before is ready.
        if reached and not waits and not (self.stuck and self._new):
            self.pods[reached[-1]] = self.template
            if self._new == self.replicas:
                self.on_new_pods()
        self.observe()

    @property
    def _new(self) -> int:
        return self.pods.count(self.template)

    @property
    def _partition(self) -> int:
        return int(self.spec.get("updateStrategy", {}).get("rollingUpdate", {}).get("partition", 0))

    def _status(self) -> dict[str, Any]:
        unready = self._new if self.stuck and self.template > 1 else 0
        counts = self._counts(unready)
        # Zeroes are left out, as Go's `omitempty` does.
        return {
            "observedGeneration": self.generation,
            **{name: value for name, value in counts.items() if value},
            **self._words(),
        }

    def _counts(self, unready: int) -> dict[str, int]:
        # A Deployment's new pod comes first, and the old one stays until it is ready.
        surge = unready if self.kind == "Deployment" else 0
        ready = self.replicas - unready + surge
        if self.kind == "DaemonSet":
            return {
                "desiredNumberScheduled": self.replicas,
                "currentNumberScheduled": self.replicas,
                "updatedNumberScheduled": self._new,
                "numberReady": ready,
                "numberAvailable": ready,
                "numberUnavailable": unready,
            }
        return {
            "replicas": self.replicas + surge,
            "updatedReplicas": self._new,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": surge,
        }

    def _words(self) -> dict[str, Any]:
        if self.kind == "Deployment":
            reason = "ProgressDeadlineExceeded" if self.late else "ReplicaSetUpdated"
            if self._new == self.replicas and not self.stuck:
                reason = "NewReplicaSetAvailable"
            progressing = {
                "type": "Progressing",
                "status": "False" if self.late else "True",
                "reason": reason,
                "message": f'ReplicaSet "{self.name}-{self.template}" {reason}',
            }
            return {"conditions": [{"type": "Available", "status": "True"}, progressing]}
        if self.kind == "StatefulSet":
            done = self._new == self.replicas and not self.stuck
            return {
                "updateRevision": f"{self.name}-{self.template}",
                "currentRevision": f"{self.name}-{self.template if done else self.template - 1}",
            }
        return {}

    def miss_deadline(self) -> None:
        self.late = True
        self.observe()


@dataclass
class Synced(Stored):
    """An ExternalSecret, and the operator that syncs it."""

    group: ClassVar[str] = "external-secrets.io"
    delay: int = 1
    """Looks after a change before the operator does it."""
    waited: int = 0
    failure: tuple[str, str] | None = None
    """Reason and message, where the operator cannot sync."""
    syncs: list[str | None] = field(default_factory=list)
    """The annotation `force-sync` at each time that it was synced."""
    on_sync: Callable[[], None] = lambda: None
    """Called when the store is read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sync()
        self.syncs.clear()

    @property
    def _metadata(self) -> str:
        text = json.dumps(self.annotations, sort_keys=True)
        return f"{self.generation}-{hashlib.sha256(text.encode()).hexdigest()[:28]}"

    def look(self) -> None:
        if self.held or self.status.get("syncedResourceVersion") == self._metadata:
            return
        if self.spec.get("refreshPolicy") == "CreatedOnce":
            return
        self.waited += 1
        if self.waited > self.delay:
            self.sync()

    def sync(self) -> None:
        self.waited = 0
        if self.failure is not None:
            self._write({**self.status, "conditions": [_ready("False", *self.failure)]})
            return
        self.on_sync()
        self.syncs.append(self.annotations.get("force-sync"))
        self._write(
            {
                "conditions": [_ready("True", "SecretSynced", "secret synced")],
                "refreshTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "syncedResourceVersion": self._metadata,
                "binding": {"name": self.name},
            }
        )


def _ready(status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": "Ready", "status": status, "reason": reason, "message": message}
