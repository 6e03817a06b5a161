"""The chart where policies tell consumers: which rights rotator gets in the cluster, and where its token comes from."""

from __future__ import annotations

import itertools
import json
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helm_python import HelmError

from rotator.model import Policy
from rotator.policies.load import load_policies
from tests.acceptance.site import Entry, Site, eventually
from tests.consumers.api_server import VERBS, ApiServer, Rule
from tests.consumers.cluster import Synced, Workload
from tests.deploy.manifests import Manifest, chart, kinds, load_all, of, pod_of, rendered
from tests.deploy.test_chart import SETS, policies_in, values
from tests.deploy.test_permissions import finish
from tests.deploy.tools import ROOT

WITH_CONSUMERS = tuple(name for name, files in SETS.items() if "consumers" in files)

Right = tuple[str, str, str, str, str]
"""Namespace, group, resource, name, verb."""
RESOURCES = {
    "Deployment": ("apps", "deployments"),
    "StatefulSet": ("apps", "statefulsets"),
    "DaemonSet": ("apps", "daemonsets"),
    "ExternalSecret": ("external-secrets.io", "externalsecrets"),
}


def rights(objects: list[Manifest]) -> set[Right]:
    """All that the service account may do in the cluster. Fails on a rule that is not for named objects."""
    found = set()
    bound = {
        (one["metadata"]["namespace"], one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in objects
        if one["kind"] == "RoleBinding"
    }
    roles = [one for one in objects if one["kind"] == "Role"]
    assert len(bound) == len(roles) == kinds(objects).get("RoleBinding", 0)
    for role in roles:
        space = role["metadata"]["namespace"]
        assert (space, "Role", role["metadata"]["name"]) in bound
        for rule in role["rules"]:
            assert set(rule) == {"apiGroups", "resources", "resourceNames", "verbs"}
            found |= {(space, *one) for one in itertools.product(*(rule[part] for part in rule))}
    return found


def told(policies: list[Policy]) -> list[Manifest]:
    """The consumers that policies tell by the Kubernetes API, as the chart's values have them."""
    return [
        {
            "kind": one.get("kind", "ExternalSecret"),
            "namespace": one["namespace"],
            "name": one["name"],
        }
        for policy in policies
        for one in policy.consumers
        if one["type"] != "webhook"
    ]


def needed(consumers: list[Manifest]) -> set[Right]:
    return {
        (one["namespace"], *RESOURCES[one["kind"]], one["name"], verb)
        for one in consumers
        for verb in ("get", "patch")
    }


@pytest.mark.parametrize("name", SETS)
def test_rights_are_those_that_the_policies_need(name: str, tmp_path: Path) -> None:
    """Read and patch for each consumer of the policies that are mounted, for nobody else, and nothing in the whole
    cluster; without consumers no Role at all."""
    made = rendered(values(name))
    consumers = told(policies_in(made, tmp_path)) if values(name).get("policies") else []
    assert bool(consumers) is (name in WITH_CONSUMERS)
    assert rights(made) == needed(consumers)
    assert not {"ClusterRole", "ClusterRoleBinding"} & set(kinds(made))
    if not consumers:
        assert not {"Role", "RoleBinding"} & set(kinds(made))


@pytest.mark.parametrize("name", WITH_CONSUMERS)
def test_rights_are_given_to_the_pods(name: str) -> None:
    """Each binding is for the service account, by name and namespace, under which every pod runs."""
    made = rendered(values(name))
    accounts = {pod["serviceAccountName"] for one in made if (pod := pod_of(one)) is not None}
    for one in made:
        if one["kind"] == "RoleBinding":
            assert one["subjects"] == [
                {"kind": "ServiceAccount", "name": account, "namespace": "rotator"} for account in accounts
            ]


IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where every client looks that runs in a pod."""


@pytest.mark.parametrize("name", SETS)
def test_token_for_the_kubernetes_api_comes_only_with_consumers(name: str) -> None:
    """Daemon, run and emergency alike: with consumers an hour's token, the cluster's certificate and the namespace
    where clients look for them; without, no pod has a token that the API takes."""
    for one in rendered(values(name)):
        pod = pod_of(one)
        if pod is None:
            continue
        tokens = {
            volume["name"]: source["serviceAccountToken"]
            for volume in pod["volumes"]
            for source in volume.get("projected", {}).get("sources", ())
            if "audience" not in source.get("serviceAccountToken", {"audience": ""})
        }
        mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
        if name not in WITH_CONSUMERS:
            assert (tokens, IN_CLUSTER in mounts) == ({}, False)
            continue
        assert tokens == {"kubernetes-token": {"path": "token", "expirationSeconds": 3600}}
        mount = mounts[IN_CLUSTER]
        assert (mount["name"], mount["readOnly"]) == ("kubernetes-token", True)
        (sources,) = [volume["projected"] for volume in pod["volumes"] if volume["name"] == mount["name"]]
        files = [
            item["path"]
            for source in sources["sources"]
            for kind in ("configMap", "downwardAPI")
            for item in source.get(kind, {}).get("items", ())
        ]
        assert files == ["ca.crt", "namespace"]
        assert sources["defaultMode"] == 0o440


def test_workloads_with_consumers_are_daemon_run_and_emergency() -> None:
    """The sets above have every kind of workload among them."""
    found = {
        (one["kind"], one["metadata"]["name"])
        for name in WITH_CONSUMERS
        for one in rendered(values(name))
        if pod_of(one)
    }
    assert found == {
        ("Deployment", "rotator"),
        ("StatefulSet", "rotator"),
        ("CronJob", "rotator"),
        ("CronJob", "rotator-emergency"),
    }


def test_releases_of_one_name_have_roles_of_their_own() -> None:
    """From two namespaces they reach into a third one, and neither takes the other's Role for its own."""
    names = set()
    for namespace in ("rotator", "staging"):
        made = chart().render(values=values("eks-consumers"), name="rotator", namespace=namespace)
        (text,) = [text for path, text in made.items() if path.endswith("/consumers.yaml")]
        names |= {
            (one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]) for one in load_all(text)
        }
    assert len(names) == 8


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_of_policies_are_installed_with_their_consumers(path: Path) -> None:
    """The chart takes each example with exactly the consumers that it tells, and refuses it without."""
    text = {path.name: path.read_text(encoding="utf-8")}
    consumers = told(list(load_policies([path]).policies))
    assert rights(rendered({"policies": text, "consumers": consumers})) == needed(consumers)
    for one in consumers:
        left = [other for other in consumers if other != one]
        said = f"{path.name} tells {one['kind']} {one['namespace']}/{one['name']}, which `consumers` does not"
        with pytest.raises(HelmError, match=re.escape(said)):
            rendered({"policies": text, "consumers": left})


def test_policies_of_a_wrong_shape_are_left_to_rotator() -> None:
    """It says what is wrong with file, line and field; the chart stumbles over none of them."""
    for text in (
        "policies: none",
        "policies: [1, {consumers: 2}, {consumers: [3]}]",
        "other: 4",
        "# nothing",
    ):
        assert not rights(rendered({"policies": {"a.yaml": text}}))


def test_existing_policies_are_trusted_with_their_consumers() -> None:
    """What is in a ConfigMap of one's own is not seen: the consumers that are named get their rights."""
    given = {"existingPolicies": "mine", "consumers": values("eks-consumers")["consumers"]}
    assert rights(rendered(given)) == needed(given["consumers"])


def egress(values: Mapping[str, Any]) -> list[Manifest]:
    made = rendered({**values, "networkPolicy": {"enabled": True, **values.get("networkPolicy", {})}})
    return list(of(made, "NetworkPolicy")["spec"]["egress"])


def test_network_policy_lets_out_to_the_kubernetes_api_only_with_consumers() -> None:
    """One rule more, with the API's ports, to the addresses named or, without any, to all."""
    consumers = {"existingPolicies": "mine", "consumers": values("eks-consumers")["consumers"]}
    given = {"networkPolicy": {"apiServer": {"cidrs": ["10.100.0.1/32", "fd00::/64"], "ports": [6443]}}}
    plain = egress(given)
    assert plain == egress({})
    port = {"port": 6443, "protocol": "TCP"}
    blocks = [{"ipBlock": {"cidr": "10.100.0.1/32"}}, {"ipBlock": {"cidr": "fd00::/64"}}]
    assert egress({**consumers, **given}) == [*plain, {"ports": [port], "to": blocks}]
    anywhere = [{"port": 443, "protocol": "TCP"}, port]
    assert egress(consumers) == [*plain, {"ports": anywhere}]


# --- what is asked for ----------------------------------------------------------------------------

ALL_KINDS = [{"kind": kind, "namespace": "shop", "name": kind.lower()} for kind in RESOURCES]


def entry(one: Manifest) -> Manifest:
    """A consumer of the chart's values as a policy has it."""
    if one["kind"] == "ExternalSecret":
        return {"type": "external-secret", "namespace": one["namespace"], "name": one["name"]}
    return {"type": "kubernetes-restart", **one}


def test_image_has_what_asks_the_kubernetes_api() -> None:
    """The part of the lock that the image installs holds the client, of which the wheel makes an extra."""
    run_with, _, _ = (ROOT / "requirements.txt").read_text(encoding="utf-8").partition("# ---- what builds")
    assert re.search(r"^kubernetes==", run_with, re.MULTILINE)


@pytest.fixture
def cluster() -> Iterator[ApiServer]:
    """One consumer of each kind, and the service account with the rights that the chart gives it for them."""
    with ApiServer() as server:
        for one in ALL_KINDS:
            if one["kind"] == "ExternalSecret":
                server.external_secret(one["namespace"], one["name"])
            else:
                server.workload(**one, replicas=1)
        server.rules = [
            Rule(role["metadata"]["namespace"], group, **held)
            for role in rendered({"existingPolicies": "mine", "consumers": ALL_KINDS})
            if role["kind"] == "Role"
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for held in [
                {"resources": rule["resources"], "names": rule["resourceNames"], "verbs": rule["verbs"]}
            ]
        ]
        yield server


@pytest.fixture
def policy(site: Site, cluster: ApiServer) -> Entry:
    """A policy that tells all of them."""
    site.environment["KUBECONFIG"] = str(cluster.kubeconfig(site.folder / "kubeconfig"))
    return site.add("billing", consumers=[entry(one) for one in ALL_KINDS])


def asked(cluster: ApiServer, *statuses: int) -> set[Right]:
    """Of which rights the requests made use, or tried to, that were answered so."""
    found = set()
    for one in cluster.asked:
        if one.status in statuses:
            *_, group, _, _, namespace, resource, name = one.path.split("/")
            found.add((namespace, group, resource, name, one.verb))
    return found


def restarts(cluster: ApiServer) -> dict[str, int]:
    """How often each was restarted, or synced because it was told."""
    found = {}
    for one in cluster.objects.values():
        if isinstance(one, Workload):
            found[one.kind] = len(one.told)
        elif isinstance(one, Synced):
            found[one.kind] = len(one.syncs)
    return found


ONCE = dict.fromkeys(RESOURCES, 1)


def test_rights_are_what_commands_make_use_of(site: Site, cluster: ApiServer, policy: Entry) -> None:
    """A real rotation with a consumer of every kind tells each of them once, uses every right that the chart gives,
    and asks for none that it does not give."""
    for argv in (("doctor",), ("rotate", "billing", "--yes")):
        ended = site.run(*argv, "-o", "json")
        assert ended.code == 0, ended.errors + ended.output
    finish(site)
    assert asked(cluster, 403) == set()
    assert asked(cluster, 200) == needed(ALL_KINDS)
    assert {one.status for one in cluster.asked} == {200}
    assert restarts(cluster) == ONCE
    assert policy.serves_a_living_token


def test_kill_while_consumers_are_told_restarts_nobody_twice(
    site: Site, cluster: ApiServer, policy: Entry
) -> None:
    """The process dies when the second of four has been restarted and does not know it; the next runs tell the
    others, and mint nothing."""

    def after_the_first(_plural: str, name: str, dry_run: bool) -> None:
        if name == ALL_KINDS[0]["name"] and not dry_run:
            cluster.fail(verb="patch", after=True, late=60)

    cluster.admission = after_the_first
    child = site.start("rotate", "billing", "--yes", "-o", "json")
    told = {**dict.fromkeys(RESOURCES, 0), "Deployment": 1, "StatefulSet": 1}
    eventually(lambda: restarts(cluster) == told)
    child.signal(signal.SIGKILL)
    child.wait()
    assert restarts(cluster) == told
    finish(site)
    assert restarts(cluster) == ONCE
    assert policy.mints == 1
    assert policy.serves_a_living_token


@pytest.mark.parametrize("verb", sorted(VERBS.values()))
def test_missing_right_is_told_before_anything_is_minted(
    site: Site, cluster: ApiServer, policy: Entry, verb: str
) -> None:
    """Without one of them a rotation is refused with the rule that it lacks, word for word a rule of the chart."""
    (rule,) = [one for one in cluster.rules if "daemonsets" in one.resources]
    cluster.rules.remove(rule)
    cluster.rules.append(replace(rule, verbs={*rule.verbs} - {verb}))
    ended = site.rotate("billing")
    assert ended.code != 0
    assert (policy.mints, restarts(cluster)) == (0, dict.fromkeys(RESOURCES, 0))
    assert asked(cluster, 403) == {("shop", "apps", "daemonsets", "daemonset", verb)}
    said = ended.errors + ended.output.replace('\\"', '"')
    for part, held in (
        ("apiGroups", [rule.group]),
        ("resources", rule.resources),
        ("resourceNames", rule.names),
        ("verbs", rule.verbs),
    ):
        assert f"{part}: {json.dumps(held)}" in said
