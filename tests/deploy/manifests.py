"""The chart as Helm's own engine renders it, and what the restricted Pod Security profile forbids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from helm_python import Chart
from ruamel.yaml import YAML

from tests.deploy.tools import DEPLOY

Manifest = dict[str, Any]


def load_all(text: str) -> list[Manifest]:
    return [dict(one) for one in YAML(typ="safe", pure=True).load_all(text) if one]


def values_of(*names: str) -> Manifest:
    """The documented value sets of these names, the later ones on top, as `helm -f` puts them together."""
    found: Manifest = {}
    for name in names:
        (document,) = load_all((DEPLOY / "values" / f"{name}.yaml").read_text(encoding="utf-8"))
        _merge(found, document)
    return found


def _merge(onto: Manifest, more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(onto.get(key), dict):
            _merge(onto[key], value)
        else:
            onto[key] = value


@cache
def chart() -> Chart:
    return Chart.load(DEPLOY / "chart")


def texts(values: Mapping[str, Any], name: str = "rotator") -> dict[str, str]:
    """What each template makes of the values; raises HelmError where they are refused."""
    made = chart().render(values=dict(values), name=name, namespace="rotator")
    return {Path(path).name: text for path, text in made.items()}


def rendered(values: Mapping[str, Any], name: str = "rotator") -> list[Manifest]:
    """Every object of a release."""
    return [
        one for file, text in texts(values, name).items() if file.endswith(".yaml") for one in load_all(text)
    ]


def of(objects: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one object of a kind."""
    (found,) = [one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return found


def kinds(objects: list[Manifest]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in objects:
        found[one["kind"]] = found.get(one["kind"], 0) + 1
    return found


def pod_of(one: Manifest) -> Manifest | None:
    """The pod spec of a workload."""
    spec = one.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    found = spec.get("template", {}).get("spec")
    return None if found is None else dict(found)


ALLOWED_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)


def violations(pod: Manifest) -> Iterator[str]:
    """What the restricted profile of the Pod Security Standards forbids in a pod of Linux.

    Stricter in one point: seccomp, user and groups are asked of the pod, as an auditor looks for them there.
    """
    for switch in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(switch):
            yield switch
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield "runAsNonRoot"
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if security.get("sysctls"):
        yield "sysctls"
    for volume in pod.get("volumes", ()):
        if not set(volume) - {"name"} <= ALLOWED_VOLUMES:
            yield "volumes"
    containers = [*pod["containers"], *pod.get("initContainers", ()), *pod.get("ephemeralContainers", ())]
    for container in containers:
        yield from _violations(container)


def _violations(container: Manifest) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield "allowPrivilegeEscalation"
    held = security.get("capabilities", {})
    if held.get("drop") != ["ALL"] or set(held.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if security.get("runAsNonRoot") is False or security.get("runAsUser") == 0:
        yield "runAsNonRoot"
    if security.get("seccompProfile", {}).get("type") == "Unconfined":
        yield "seccompProfile"
    if security.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "hostPort"
