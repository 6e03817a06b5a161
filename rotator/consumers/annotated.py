"""An annotation of an object in Kubernetes: read, tried, and set without undoing what others set meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.consumers.kubernetes_errors import Resource
from rotator.errors import Unreachable, VersionConflict

_TRIES: Final = 5
"""Looks and writes, while others keep changing the object between the two."""


class Annotation:
    """One annotation of one object. Safe to use from several threads. Every method raises as `KubernetesApi` does."""

    def __init__(self, api: KubernetesApi, resource: Resource, name: str, *, under: tuple[str, ...]) -> None:
        """`under`: the keys that lead to the `metadata` which holds it."""
        self._api = api
        self.resource = resource
        self._name = name
        self._under = under

    def read(self) -> dict[str, Any]:
        """The object as it is now."""
        return self._api.get(self.resource)

    def of(self, found: Mapping[str, Any]) -> str:
        """Its value in an object that was read; empty where there is none."""
        annotations = part(found, *self._under, "annotations")
        return str(annotations.get(self._name, ""))

    def rehearse(self, found: Mapping[str, Any]) -> None:
        """Raises what keeps us from setting it. Nothing is changed, and the value is the one that is there, so that
        nobody would notice even where a server kept it."""
        # The server tries again by itself; that others were faster each time says that we may.
        with suppress(VersionConflict):
            self._api.rehearse_patch(self.resource, self._change(self.of(found) or None))

    def put(self, value: str, *, may: Callable[[Mapping[str, Any]], None] = lambda _: None) -> None:
        """Sets it; an object that has this value already is left alone. `may` raises where an object, as it was read,
        must not be changed."""
        for _ in range(_TRIES):
            found = self.read()
            if self.of(found) == value:
                return
            may(found)
            try:
                self._api.patch(
                    self.resource, self._change(value, part(found, "metadata").get("resourceVersion"))
                )
            except VersionConflict:
                continue
            return
        raise Unreachable(
            f"{self.resource} was changed by others at each of {_TRIES} tries to annotate it",
            then="It was not changed by us, and is told again",
            remedy="Look at who writes to it all the time: `kubectl get --show-managed-fields`",
        )

    def _change(self, value: str | None, version: str | None = None) -> dict[str, Any]:
        """A merge patch. With a version it is refused once the object has another one: what was judged has changed."""
        change: dict[str, Any] = {"annotations": {self._name: value}}
        for key in reversed(self._under):
            change = {key: change}
        if version is not None:
            change.setdefault("metadata", {})["resourceVersion"] = version
        return change


def part(found: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """What stands under the keys; empty where nothing does."""
    current: Any = found
    for key in keys:
        current = current.get(key) if isinstance(current, Mapping) else None
    return current if isinstance(current, Mapping) else {}
