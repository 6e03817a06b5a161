"""`kubectl rollout status` itself, asked about the same objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rotator.consumers.rollout import progress
from tests.consumers.api_server import PLURALS, ApiServer
from tests.consumers.statuses import Answer
from tests.deploy.tools import need, run

DONE = ("successfully rolled out", "roll out complete", "rolling update complete")
LATE = {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}


class Shown(ApiServer):
    """Also says what it serves, which kubectl asks first; every workload is the one to be shown."""

    document: dict[str, Any]

    def answer(self, method: str, target: str, authorization: str, body: bytes, media_type: str) -> Answer:
        path, _, query = target.partition("?")
        version = {"groupVersion": "apps/v1", "version": "v1"}
        group = {"name": "apps", "versions": [version], "preferredVersion": version}
        resources = [
            {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": ["get", "list"],
            }
            for kind, plural in PLURALS.items()
        ]
        kind = self.document["kind"]
        answers: dict[str, dict[str, Any]] = {
            "/api": {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"]},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]},
            "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": resources},
        }
        if path in answers:
            return Answer(200, answers[path])
        if path.endswith("/mailer"):
            return Answer(200, self.document)
        listed = {"metadata": {"resourceVersion": "1"}, "items": [self.document]}
        return Answer(
            200, "" if "watch=true" in query else {"kind": f"{kind}List", "apiVersion": "apps/v1", **listed}
        )


def an_object(kind: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "mailer", "namespace": "shop", "generation": 7, "resourceVersion": "1"},
        "spec": {"selector": {}, "template": {"metadata": {}, "spec": {"containers": []}}, **spec},
        "status": status,
    }


def objects() -> Iterator[dict[str, Any]]:
    """Workloads of two pods in the states on both sides of every limit."""
    for seen, updated, there, available, late in product((6, 7), (1, 2), (2, 3), (1, 2), ({}, LATE)):
        complete = (updated, there, available) == (2, 2, 2)
        if not (complete and late):  # what serves in full has come to its end, however late
            counts = {"updatedReplicas": updated, "replicas": there, "availableReplicas": available}
            yield an_object("Deployment", {"replicas": 2}, {"observedGeneration": seen, **counts, **late})
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    for seen, updated, ready, wanted in product((6, 7), (1, 2), (1, 2), (0, 2)):
        status = {"observedGeneration": seen, "updatedReplicas": updated, "readyReplicas": ready}
        yield an_object("StatefulSet", {"replicas": wanted, "updateStrategy": strategy}, status)
    for seen, updated, available, wanted in product((6, 7), (1, 2), (1, 2), (0, 2)):
        counts = {"updatedNumberScheduled": updated, "numberAvailable": available}
        status = {"observedGeneration": seen, "desiredNumberScheduled": wanted, **counts}
        yield an_object("DaemonSet", {"updateStrategy": {"type": "RollingUpdate"}}, status)


@pytest.mark.parametrize("kind", PLURALS)
def test_we_judge_as_kubectl_does(kind: str, tmp_path: Path) -> None:
    """Done, under way or given up: the same for each object. What a partition leaves behind is no end to us alone."""
    kubectl = need("kubectl", "its judgement of roll-outs was")
    differ = []
    verdicts = set()
    with Shown() as server:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "KUBECONFIG": str(server.kubeconfig(tmp_path / "kubeconfig")),
        }
        for document in (one for one in objects() if one["kind"] == kind):
            server.document = document
            words = ("-n", "shop", "rollout", "status", f"{kind.lower()}/mailer", "--watch=false")
            ended = run(kubectl, *words, environment=environment, timeout=60)
            said = ended.stdout + ended.stderr
            late = "exceeded its progress deadline" in said
            assert ended.returncode == 0 or late, said
            theirs = "given up" if late else "done" if any(word in said for word in DONE) else "under way"
            ours = progress(document)
            verdicts.add(theirs)
            if theirs != ("done" if ours.done else "given up" if ours.stuck else "under way"):
                differ.append((document["status"], said, ours))
    assert differ == []
    assert {"done", "under way"} <= verdicts
