"""Restarts of workloads: what others do to the object meanwhile, and what is refused."""

from __future__ import annotations

import pytest

from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.consumers.kubernetes_restart import KubernetesRestart
from rotator.errors import Refused, Unreachable
from tests.consumers.api_server import ApiServer
from tests.consumers.conftest import CALL, LATER


def annotated(cluster: ApiServer, value: str | None) -> None:
    """Somebody else sets the annotation, or takes it away."""
    stored = cluster.objects["apps", "deployments", "shop", "mailer"]
    metadata = {"annotations": {"rotator/rotation": value}}
    stored.apply({"spec": {"template": {"metadata": metadata}}}, keep=True)


@pytest.fixture
def mailer(api: KubernetesApi) -> KubernetesRestart:
    return KubernetesRestart(api, "Deployment", "shop", "mailer")


def test_the_change_is_the_annotation_and_nothing_else(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """A merge patch of one annotation, bound to the version that was read, under our name; the rest stays."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    labels = workload.spec["template"]["metadata"]["labels"]
    read = workload.resource_version
    mailer.tell(CALL)
    (patch,) = cluster.patches("mailer")
    assert patch.body == {
        "metadata": {"resourceVersion": read},
        "spec": {"template": {"metadata": {"annotations": {"rotator/rotation": CALL.id}}}},
    }
    assert patch.query == {"fieldManager": "rotator"}
    assert workload.spec["template"]["metadata"] == {
        "labels": labels,
        "annotations": {"rotator/rotation": CALL.id},
    }


def test_a_change_by_somebody_else_in_between(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """A conflict: it is read again, and told then; what the other one set stays."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    cluster.meddle.append(
        lambda: workload.apply({"spec": {"replicas": 3, "minReadySeconds": 5}}, keep=True) and None
    )
    mailer.tell(CALL)
    assert workload.told == [CALL.id]
    assert workload.spec["minReadySeconds"] == 5
    assert [one.status for one in cluster.asked if one.verb == "patch"] == [409, 200]


def test_another_rotator_was_faster(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """The conflict was the same call, told by another process: it is not told a second time."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    cluster.meddle.append(lambda: annotated(cluster, CALL.id))
    mailer.tell(CALL)
    assert workload.told == [CALL.id]


def test_conflicts_without_an_end(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """Given up after some tries, without a restart, as something that may be tried again."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    numbers = iter(range(100))
    cluster.meddle += [
        lambda: workload.apply({"spec": {"minReadySeconds": next(numbers)}}, keep=True) and None
    ] * 20
    with pytest.raises(Unreachable, match="changed by others"):
        mailer.tell(CALL)
    assert workload.told == []


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("Deployment", {"paused": True}, "its rollout is paused"),
        ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
        ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
    ],
)
def test_what_would_restart_nothing_is_refused(
    cluster: ApiServer, api: KubernetesApi, kind: str, spec: dict[str, object], words: str
) -> None:
    """Beforehand and when told, with a remedy, and without a change."""
    workload = cluster.workload(kind, "shop", "mailer", **spec)
    consumer = KubernetesRestart(api, kind, "shop", "mailer")
    for act in (consumer.preflight, lambda: consumer.tell(CALL)):
        with pytest.raises(Refused, match=words) as caught:
            act()
        assert caught.value.remedy
    assert workload.told == []


def test_a_partition_is_refused_beforehand_and_made_the_best_of(
    cluster: ApiServer, api: KubernetesApi
) -> None:
    """Pods below it would keep what they read: said before. Told all the same, the others are restarted, and it says
    that it will not come further."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    workload = cluster.workload("StatefulSet", "shop", "mailer", updateStrategy=strategy)
    consumer = KubernetesRestart(api, "StatefulSet", "shop", "mailer")
    with pytest.raises(Refused, match="leaves 1 of its pods as they are"):
        consumer.preflight()
    consumer.tell(CALL)
    workload.roll()
    standing = consumer.standing(CALL, "")
    assert (standing.done, standing.stuck) == (False, True)
    assert workload.pods == [1, 2, 2]


def test_a_rollout_that_never_ends(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """Under way as long as Kubernetes says so, and stuck from the moment that it has given up."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    workload.stuck = True
    mailer.tell(CALL)
    for _ in range(6):
        standing = mailer.standing(CALL, "")
        assert (standing.done, standing.stuck) == (False, False)
    workload.miss_deadline()
    standing = mailer.standing(CALL, "")
    assert (standing.done, standing.stuck) == (False, True)
    assert "progress deadline" in standing.detail


def test_a_later_restart_is_as_good(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """Another rotation has restarted it since: its pods are newer, so its rollout counts."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    mark = mailer.mark()
    mailer.tell(CALL)
    mailer.tell(LATER)
    assert not mailer.standing(CALL, mark).done
    workload.roll()
    assert mailer.standing(CALL, mark).done


@pytest.mark.parametrize("before", [None, "01JD000-aabbccdd"])
def test_a_restart_that_was_taken_back(
    cluster: ApiServer, mailer: KubernetesRestart, before: str | None
) -> None:
    """The template from before is there again, so its old pods may be: that is no rollout that came to its end."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    annotated(cluster, before)
    mark = mailer.mark()
    assert mark == (before or "")
    mailer.tell(CALL)
    annotated(cluster, before)
    workload.roll()
    standing = mailer.standing(CALL, mark)
    assert (standing.done, standing.stuck) == (False, True)
    assert "took the restart's annotation back" in standing.detail


def test_a_mark_that_was_made_after_the_call(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """A process died between the call and its record: the mark made anew does not confuse it."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    mailer.tell(CALL)
    mark = mailer.mark()
    workload.roll()
    assert mailer.standing(CALL, mark).done


def test_a_workload_without_pods(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """Scaled to nothing it has nothing to replace: done once its controller has seen it."""
    cluster.workload("Deployment", "shop", "mailer", replicas=0)
    mailer.tell(CALL)
    mailer.standing(CALL, "")
    standing = mailer.standing(CALL, "")
    assert (standing.done, standing.detail) == (True, "it has no pods now")
