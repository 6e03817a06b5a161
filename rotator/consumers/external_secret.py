"""Has the External Secrets Operator read the store now, by an annotation of the ExternalSecret.

The operator reads again when labels or annotations change, and writes down what it has done with which version of
them: `status.syncedResourceVersion`, and the time at which it began, `status.refreshTime` (whole seconds). Only a
success moves either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from rotator.clock import parse_rfc3339
from rotator.consumers.annotated import Annotation, part
from rotator.consumers.base import SYNC_ANNOTATION, Call, Standing
from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.consumers.kubernetes_errors import Resource
from rotator.errors import Refused
from rotator.secret import scrub

_LONGEST: Final = 200
"""Characters of the operator's message that are told."""


class ExternalSecret:
    """Implements `consumers.base.Consumer`. Its mark is refresh time, synced version and annotation, as JSON."""

    def __init__(self, api: KubernetesApi, namespace: str, name: str) -> None:
        resource = Resource(
            "external-secrets.io", ("v1", "v1beta1"), "externalsecrets", "ExternalSecret", namespace, name
        )
        self._annotation = Annotation(api, resource, SYNC_ANNOTATION, under=("metadata",))

    def preflight(self) -> None:
        found = self._annotation.read()
        self._check(found)
        self._annotation.rehearse(found)

    def mark(self) -> str:
        found = self._annotation.read()
        status = part(found, "status")
        kept = [
            _text(status, "refreshTime"),
            _text(status, "syncedResourceVersion"),
            self._annotation.of(found),
        ]
        return json.dumps(kept) if any(kept) else ""

    def tell(self, call: Call) -> None:
        self._annotation.put(call.id, may=self._check)

    def standing(self, call: Call, mark: str) -> Standing:
        status = part(self._annotation.read(), "status")
        ready: Mapping[str, Any] = next(
            (one for one in status.get("conditions") or () if one.get("type") == "Ready"), {}
        )
        if ready.get("status") == "True" and _synced(status, call, mark):
            return Standing(done=True, detail="it has synced")
        if ready.get("status") == "False":
            # A message may be a page long, and hold what a store answered.
            words = scrub(" ".join(str(ready.get("message", "")).split()))[:_LONGEST]
            why = ": ".join(part for part in (str(ready.get("reason", ""))[:_LONGEST], words) if part)
            return Standing(done=False, detail=f"it is not ready ({why})" if why else "it is not ready")
        return Standing(done=False, detail="it has not synced yet")

    def describe(self) -> str:
        return str(self._annotation.resource)

    def _check(self, found: Mapping[str, Any]) -> None:
        never = {
            "its `refreshPolicy` is CreatedOnce": part(found, "spec").get("refreshPolicy") == "CreatedOnce",
            "its target is immutable": part(found, "spec", "target").get("immutable") is True,
        }
        for why in (words for words, holds in never.items() if holds):
            raise Refused(
                f"{self.describe()} would not read the store again: {why}",
                then="Nothing was changed",
                remedy="Change that, or take the consumer out of the policy",
            )


def _synced(status: Mapping[str, Any], call: Call, mark: str) -> bool:
    """Whether the operator has read the store since the call."""
    refreshed, version = _text(status, "refreshTime"), _text(status, "syncedResourceVersion")
    before, version_before, annotation = json.loads(mark) if mark else ("", "", "")
    if not refreshed:
        return False
    if annotation == call.id:
        # It had been told before the mark was made, so what it did then may be in the mark already.
        return parse_rfc3339(refreshed) >= call.at.replace(microsecond=0) + timedelta(seconds=1)
    # By its version if it tells one: two reads within one second have the same time.
    return version != version_before if version else refreshed != before


def _text(status: Mapping[str, Any], name: str) -> str:
    return str(status.get(name) or "")
