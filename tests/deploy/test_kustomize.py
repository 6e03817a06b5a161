"""The kustomize base is the chart with its default values, the component what consumers change of it, and overlays do
what they should."""

from __future__ import annotations

import kubernetes_validate
import pytest

from rotator.policies.load import load_policies
from tests.deploy.kustomize import BASE, COMPONENT, ROLES, component, expected, roles
from tests.deploy.manifests import Manifest, load_all, of, pod_of, rendered, values_of, violations
from tests.deploy.tools import DEPLOY, done, need

EXAMPLE = DEPLOY / "kustomize" / "example"
WITH_CONSUMERS = DEPLOY / "kustomize" / "example-consumers"


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


def test_component_and_roles_are_what_the_chart_makes() -> None:
    """The patch is the whole difference that consumers make, the Roles are those of the documented values."""
    assert load_all(COMPONENT.read_text(encoding="utf-8")) == [component()]
    assert load_all(ROLES.read_text(encoding="utf-8")) == roles()


def test_overlay_with_consumers_is_the_chart_with_consumers() -> None:
    """Roles, bindings, pod and policy of `kubectl kustomize` are those of the documented values; it fits the schemas
    and the restricted profile, and what has to be in another namespace than rotator's is there."""
    kubectl = need("kubectl", "the kustomize component was")
    made = load_all(done(kubectl, "kustomize", WITH_CONSUMERS))
    for one in made:
        kubernetes_validate.validate(one, "1.32", strict=True)
        home = one["kind"] not in ("Role", "RoleBinding")
        assert (one["metadata"]["namespace"] == "rotator") is home
    assert [one for one in made if one["kind"] == "Role"] == [one for one in roles() if one["kind"] == "Role"]
    assert [one for one in made if one["kind"] == "RoleBinding"] == [
        one for one in roles() if one["kind"] == "RoleBinding"
    ]
    objects = rendered(values_of("consumers"))
    pod, charts = (pod_of(of(one, "Deployment")) or {} for one in (made, objects))
    assert list(violations(pod)) == []
    for part, key in (("volumes", "name"), ("volumeMounts", "mountPath")):
        found, wanted = (one.get(part) or one["containers"][0][part] for one in (pod, charts))
        assert sorted(found, key=lambda one: one[key]) == sorted(wanted, key=lambda one: one[key])
    texts = of(made, "ConfigMap")["data"], of(objects, "ConfigMap")["data"]
    assert texts[0]["billing.yaml"].strip() == texts[1]["billing.yaml"].strip()
