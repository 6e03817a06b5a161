"""How far a rollout has come, by what `kubectl rollout status` looks at. Pure: an object in, words out.

A controller writes `status.observedGeneration` when it has seen a change; before that the rest of `status` is about
the time before the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rotator.consumers.annotated import part
from rotator.consumers.base import Standing
from rotator.words import count

_DEADLINE: Final = "ProgressDeadlineExceeded"


def hindrance(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a changed template would reach no pod, and what to do; None where it would."""
    if part(found, "spec").get("paused"):
        return "its rollout is paused", f"Resume it: `kubectl {_named(found, 'rollout resume')}`"
    if part(found, "spec", "updateStrategy").get("type") == "OnDelete":
        return (
            "its update strategy is OnDelete, so its pods are replaced only as somebody deletes them",
            "Set `spec.updateStrategy.type` to RollingUpdate, or take it out of the policy and delete its pods",
        )
    return None


def left_behind(found: Mapping[str, Any]) -> int:
    """How many pods of a StatefulSet its partition keeps from every update."""
    partition = int(part(found, "spec", "updateStrategy", "rollingUpdate").get("partition") or 0)
    return min(partition, _wanted(found))


def progress(found: Mapping[str, Any]) -> Standing:
    """How far the rollout of the present template has come."""
    status = part(found, "status")
    if int(status.get("observedGeneration") or 0) < int(part(found, "metadata").get("generation") or 0):
        standing = Standing(done=False, detail="its controller has not seen the restart yet")
    else:
        standing = _PROGRESS[str(found.get("kind"))](found, status)
    if standing.done or standing.stuck:
        return standing
    why = hindrance(found)
    return Standing(done=False, detail=f"{standing.detail}; {why[0]}", stuck=True) if why else standing


def _deployment(found: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    wanted = _wanted(found)
    updated = _number(status, "updatedReplicas")
    there = _number(status, "replicas")
    available = _number(status, "availableReplicas")
    late = any(
        one.get("type") == "Progressing" and one.get("reason") == _DEADLINE
        for one in status.get("conditions") or ()
    )
    if updated < wanted:
        detail = _of(updated, wanted, "new")
    elif there > updated:
        detail = f"{count(there - updated, 'old pod')} not ended yet"
    elif available < updated:
        detail = _of(available, updated, "new and available")
    else:
        return _all_new(wanted)
    if late:
        return Standing(done=False, detail=f"{detail}; its progress deadline has passed", stuck=True)
    return Standing(done=False, detail=detail)


def _stateful_set(found: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    wanted = _wanted(found)
    behind = left_behind(found)
    updated = _number(status, "updatedReplicas")
    ready = _number(status, "readyReplicas")
    if ready < wanted:
        return Standing(done=False, detail=_of(ready, wanted, "ready"))
    if updated >= wanted:
        return _all_new(wanted)
    if behind:
        done = updated >= wanted - behind
        detail = f"{_of(updated, wanted, 'new')}; `partition` leaves {behind} as they are"
        return Standing(done=False, detail=detail, stuck=done)
    return Standing(done=False, detail=_of(updated, wanted, "new"))


def _daemon_set(_found: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    wanted = _number(status, "desiredNumberScheduled")
    updated = _number(status, "updatedNumberScheduled")
    available = _number(status, "numberAvailable")
    if updated < wanted:
        return Standing(done=False, detail=_of(updated, wanted, "new"))
    if available < wanted:
        return Standing(done=False, detail=_of(available, wanted, "new and available"))
    return _all_new(wanted)


_PROGRESS: Final = {"Deployment": _deployment, "StatefulSet": _stateful_set, "DaemonSet": _daemon_set}


def _wanted(found: Mapping[str, Any]) -> int:
    replicas = part(found, "spec").get("replicas")
    return 1 if replicas is None else int(replicas)


def _number(status: Mapping[str, Any], name: str) -> int:
    """Counts that are 0 are left out of a status."""
    return int(status.get(name) or 0)


def _of(some: int, wanted: int, what: str) -> str:
    return f"{some} of {count(wanted, 'pod')} {'is' if some == 1 else 'are'} {what}"


def _all_new(wanted: int) -> Standing:
    return Standing(done=True, detail=f"{count(wanted, 'pod')}, all new" if wanted else "it has no pods now")


def _named(found: Mapping[str, Any], command: str) -> str:
    metadata = part(found, "metadata")
    kind = str(found.get("kind", "")).lower()
    return f"-n {metadata.get('namespace')} {command} {kind}/{metadata.get('name')}"
