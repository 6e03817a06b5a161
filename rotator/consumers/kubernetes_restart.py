"""Restarts a Deployment, StatefulSet or DaemonSet by an annotation of its pod template, as `kubectl rollout restart`.

The annotation's value is the call's id, so a call restarts once, however often it is told and whoever tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rotator.consumers.annotated import Annotation
from rotator.consumers.base import RESTART_ANNOTATION, Call, Standing
from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.consumers.kubernetes_errors import Resource
from rotator.consumers.rollout import hindrance, left_behind, progress
from rotator.errors import Refused

_PLURALS: Final = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}


class KubernetesRestart:
    """Implements `consumers.base.Consumer`. Its mark is the annotation's value before, empty where there was none."""

    def __init__(self, api: KubernetesApi, kind: str, namespace: str, name: str) -> None:
        resource = Resource("apps", ("v1",), _PLURALS[kind], kind, namespace, name)
        self._annotation = Annotation(
            api, resource, RESTART_ANNOTATION, under=("spec", "template", "metadata")
        )
        self._kind = kind

    def preflight(self) -> None:
        found = self._annotation.read()
        self._check(found)
        self._check_whole(found)
        self._annotation.rehearse(found)

    def mark(self) -> str:
        return self._annotation.of(self._annotation.read())

    def tell(self, call: Call) -> None:
        # Where pods would be left behind, the others read the token all the same; `standing` tells.
        self._annotation.put(call.id, may=self._check)

    def standing(self, call: Call, mark: str) -> Standing:
        found = self._annotation.read()
        value = self._annotation.of(found)
        if value in (mark, "") and value != call.id:
            # The old template is back, and with it perhaps the old pods. A third value is a later restart, after
            # which pods read what readers get now.
            return Standing(
                done=False,
                detail="somebody took the restart's annotation back; its pods may be old",
                stuck=True,
            )
        return progress(found)

    def describe(self) -> str:
        return str(self._annotation.resource)

    def _check(self, found: Mapping[str, Any]) -> None:
        if why := hindrance(found):
            self._refuse(*why)

    def _check_whole(self, found: Mapping[str, Any]) -> None:
        if count := left_behind(found):
            self._refuse(
                f"its update strategy leaves {count} of its pods as they are (`partition`)",
                "Set `spec.updateStrategy.rollingUpdate.partition` to 0",
            )

    def _refuse(self, why: str, remedy: str) -> None:
        raise Refused(
            f"{self.describe()} would not be restarted: {why}", then="Nothing was changed", remedy=remedy
        )
