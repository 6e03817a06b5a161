"""What the kustomize files are: the chart's objects without what only Helm needs. The base is made with the default
values; the component is what consumers change of its workload; the example's Roles are those of the documented set.
"""

from __future__ import annotations

import io

from ruamel.yaml import YAML

from tests.deploy.manifests import Manifest, of, pod_of, rendered, values_of
from tests.deploy.tools import DEPLOY

BASE = DEPLOY / "kustomize" / "base"
COMPONENT = DEPLOY / "kustomize" / "consumers" / "deployment.yaml"
ROLES = DEPLOY / "kustomize" / "example-consumers" / "roles.yaml"
HEAD = "# Written by .ci/generate from deploy/chart with {}.\n"
_HELMS = ("app.kubernetes.io/managed-by", "helm.sh/chart", "helm.sh/resource-policy")


def expected() -> dict[str, Manifest]:
    """Every file of the base but kustomization.yaml."""
    made = {f"{one['kind'].lower()}.yaml": _without(one) for one in rendered({})}
    assert len(made) == len(rendered({})), "one object of each kind"
    return made


def _without(one: Manifest) -> Manifest:
    metadata = one["metadata"]
    for part in ("labels", "annotations"):
        kept = {name: text for name, text in metadata.get(part, {}).items() if name not in _HELMS}
        metadata.pop(part, None)
        if kept:
            metadata[part] = kept
    return one


def component() -> Manifest:
    """A patch of the base's Deployment: the volumes that come with consumers, and where they are mounted.

    Whatever else consumers changed of the Deployment would fail here.
    """
    plain, told = (of(rendered(values), "Deployment") for values in ({}, {"consumers": _consumers()}))
    volumes, mounts = _added(plain, told, "volumes"), _added(plain, told, "volumeMounts")
    assert plain == told, "nothing but volumes and their mounts comes with consumers"
    container = {"name": "rotator", "volumeMounts": mounts}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "rotator"},
        "spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}},
    }


def _added(plain: Manifest, told: Manifest, part: str) -> list[Manifest]:
    """What the second has more of; taken out of it."""
    lists = []
    for one in (plain, told):
        pod = pod_of(one) or {}
        lists.append(pod[part] if part in pod else pod["containers"][0][part])
    more = [one for one in lists[1] if one not in lists[0]]
    lists[1][:] = [one for one in lists[1] if one not in more]
    return more


def _consumers() -> list[Manifest]:
    return list(values_of("consumers")["consumers"])


def roles() -> list[Manifest]:
    """Role and RoleBinding for each namespace of the documented consumers."""
    made = rendered(values_of("consumers"))
    return [_without(one) for one in made if one["kind"] in ("Role", "RoleBinding")]


def main() -> None:
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 110
    for path in BASE.glob("*.yaml"):
        path.unlink()
    listing = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(expected()),
    }
    for name, document in {**expected(), "kustomization.yaml": listing}.items():
        text = io.StringIO()
        writer.dump(document, text)
        (BASE / name).write_text(HEAD.format("its default values") + text.getvalue(), encoding="utf-8")
    for path, documents, source in (
        (COMPONENT, [component()], "consumers"),
        (ROLES, roles(), "deploy/values/consumers.yaml"),
    ):
        text = io.StringIO()
        writer.dump_all(documents, text)
        path.write_text(HEAD.format(source) + text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main()
