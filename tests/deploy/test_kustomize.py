"""The kustomize base is the chart with its default values, and overlays do what they should."""

from __future__ import annotations

import kubernetes_validate
import pytest

from rotator.policies.load import load_policies
from tests.deploy.kustomize import BASE, expected
from tests.deploy.manifests import Manifest, load_all, of, pod_of, violations
from tests.deploy.tools import DEPLOY, done, need

EXAMPLE = DEPLOY / "kustomize" / "example"


def test_base_is_what_the_chart_makes() -> None:
    """File by file the same objects; `.ci/generate` writes them anew."""
    found = {
        path.name: load_all(path.read_text(encoding="utf-8"))[0]
        for path in BASE.glob("*.yaml")
        if path.name != "kustomization.yaml"
    }
    assert found == expected()
    (listing,) = load_all((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
    assert listing["resources"] == sorted(found)


@pytest.fixture
def overlaid() -> list[Manifest]:
    kubectl = need("kubectl", "the kustomize base was")
    return load_all(done(kubectl, "kustomize", EXAMPLE))


def test_overlay_is_valid_and_restricted(overlaid: list[Manifest]) -> None:
    """What `kubectl kustomize` makes of the example fits the schemas and the restricted profile."""
    for one in overlaid:
        kubernetes_validate.validate(one, "1.32", strict=True)
        assert one["metadata"]["namespace"] == "rotator"
    assert list(violations(pod_of(of(overlaid, "Deployment")) or {})) == []


def test_overlay_sets_image_and_policies(overlaid: list[Manifest]) -> None:
    """The image is the one named, and the mounted ConfigMap holds the policy, under a name that stays."""
    pod = pod_of(of(overlaid, "Deployment")) or {}
    assert pod["containers"][0]["image"] == "registry.example.com/rotator:0.1.0"
    policies = of(overlaid, "ConfigMap")
    assert {"name": "policies", "configMap": {"name": policies["metadata"]["name"]}} in pod["volumes"]
    assert policies["data"]["billing.yaml"] == (EXAMPLE / "billing.yaml").read_text(encoding="utf-8")
    assert len(load_policies([EXAMPLE / "billing.yaml"]).policies) == 1
