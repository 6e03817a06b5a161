"""What the kustomize base is: the chart's objects with its default values, without what only Helm needs."""

from __future__ import annotations

import io

from ruamel.yaml import YAML

from tests.deploy.manifests import Manifest, rendered
from tests.deploy.tools import DEPLOY

BASE = DEPLOY / "kustomize" / "base"
HEAD = "# Written by .ci/generate from deploy/chart with its default values.\n"
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
        (BASE / name).write_text(HEAD + text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main()
