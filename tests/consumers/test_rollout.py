"""How far a rollout has come, by objects as controllers leave them."""

from __future__ import annotations

from typing import Any

import pytest

from rotator.consumers.rollout import hindrance, left_behind, progress


def an_object(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": "mailer", "generation": 7}
    return {"kind": kind, "metadata": metadata, "spec": spec, "status": {"observedGeneration": 7, **status}}


def deployment(wanted: int = 3, /, *, spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return an_object("Deployment", {"replicas": wanted, **(spec or {})}, status)


def stateful_set(wanted: int = 3, /, *, partition: int = 0, **status: Any) -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    return an_object("StatefulSet", {"replicas": wanted, "updateStrategy": strategy}, status)


def daemon_set(**status: Any) -> dict[str, Any]:
    return an_object("DaemonSet", {"updateStrategy": {"type": "RollingUpdate"}}, status)


LATE = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
DONE = {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
SAME = {"updateRevision": "b", "currentRevision": "b"}
OTHER = {"updateRevision": "b", "currentRevision": "a"}


@pytest.mark.parametrize(
    ("found", "done", "detail"),
    [
        (deployment(**DONE), True, "3 pods, all new"),
        (deployment(1, replicas=1, updatedReplicas=1, availableReplicas=1), True, "1 pod, all new"),
        (deployment(0), True, "it has no pods now"),
        (
            deployment(**{**DONE, "observedGeneration": 6}),
            False,
            "its controller has not seen the restart yet",
        ),
        (deployment(replicas=4, updatedReplicas=1, availableReplicas=3), False, "1 of 3 pods is new"),
        (deployment(replicas=3, availableReplicas=3), False, "0 of 3 pods are new"),
        (deployment(**{**DONE, "replicas": 4}), False, "1 old pod not ended yet"),
        (deployment(**{**DONE, "availableReplicas": 2}), False, "2 of 3 pods are new and available"),
        (stateful_set(**DONE, **SAME), True, "3 pods, all new"),
        (stateful_set(partition=1, **DONE, **SAME), True, "3 pods, all new"),
        (stateful_set(**{**DONE, "updatedReplicas": 2}, **OTHER), False, "2 of 3 pods are new"),
        (stateful_set(**{**DONE, "readyReplicas": 2}, **SAME), False, "2 of 3 pods are ready"),
        (stateful_set(0, **OTHER), True, "it has no pods now"),
        (
            daemon_set(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=2),
            True,
            "2 pods, all new",
        ),
        (daemon_set(desiredNumberScheduled=2, updatedNumberScheduled=1), False, "1 of 2 pods is new"),
        (
            daemon_set(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=1),
            False,
            "1 of 2 pods is new and available",
        ),
        (daemon_set(desiredNumberScheduled=0), True, "it has no pods now"),
    ],
)
def test_how_far_it_has_come(found: dict[str, Any], done: bool, detail: str) -> None:
    """Done when every pod that is wanted is a new one and serves, and the old ones are gone; each step in words."""
    standing = progress(found)
    assert (standing.done, standing.detail, standing.stuck) == (done, detail, False)


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        (
            deployment(replicas=4, updatedReplicas=1, availableReplicas=3, conditions=LATE),
            "1 of 3 pods is new; its progress deadline has passed",
        ),
        (
            deployment(spec={"paused": True}, replicas=3, availableReplicas=3),
            "0 of 3 pods are new; its rollout is paused",
        ),
        (
            stateful_set(partition=1, **{**DONE, "updatedReplicas": 2}, **OTHER),
            "2 of 3 pods are new; `partition` leaves 1 as they are",
        ),
        (
            stateful_set(partition=9, **{**DONE, "updatedReplicas": 0}, **OTHER),
            "0 of 3 pods are new; `partition` leaves 3 as they are",
        ),
    ],
)
def test_what_will_not_come_further(found: dict[str, Any], detail: str) -> None:
    """A deadline that has passed, a pause, and a partition that keeps pods: said as such, and not waited out."""
    standing = progress(found)
    assert (standing.done, standing.detail, standing.stuck) == (False, detail, True)


def test_a_deadline_of_the_time_before_does_not_count() -> None:
    """What the controller says of a template before ours is no judgement of ours."""
    standing = progress(deployment(**{**DONE, "observedGeneration": 6}, conditions=LATE))
    assert not standing.stuck


def test_a_partition_below_all_pods_waits_for_the_others_first() -> None:
    """Until the pods above it are new it is under way."""
    standing = progress(stateful_set(partition=1, **{**DONE, "updatedReplicas": 1}, **OTHER))
    assert (standing.done, standing.stuck) == (False, False)


def test_what_keeps_a_template_from_pods() -> None:
    """A pause and OnDelete have a remedy each; else nothing does."""
    paused = hindrance(deployment(spec={"paused": True}))
    assert paused is not None
    assert "kubectl -n shop rollout resume deployment/mailer" in paused[1]
    on_delete = an_object("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, {})
    assert hindrance(on_delete) is not None
    assert hindrance(deployment()) is None
    assert (
        left_behind(stateful_set(partition=2)),
        left_behind(stateful_set()),
        left_behind(deployment()),
    ) == (2, 0, 0)
