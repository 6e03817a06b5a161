"""The chart, for every documented set of values: valid, restricted, and refused with a clear word where wrong."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
from helm_python import HelmError, lint

import rotator
from rotator.model import Policy
from rotator.policies.load import load_policies
from rotator.settings import resolve
from tests.acceptance.site import Site, eventually
from tests.deploy.manifests import (
    Manifest,
    chart,
    kinds,
    load_all,
    of,
    pod_of,
    rendered,
    texts,
    values_of,
    violations,
)
from tests.deploy.tools import DEPLOY, done, need
from tests.postgresql_server import PostgresqlServer

SETS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "eks": ("eks",),
    "eks-irsa": ("eks", "irsa"),
    "vault": ("vault",),
    "vault-monitoring": ("vault", "monitoring"),
    "eks-postgresql": ("eks", "postgresql"),
    "vault-postgresql-monitoring": ("vault", "postgresql", "monitoring"),
    "eks-cron": ("eks", "cron"),
    "vault-postgresql-cron": ("vault", "postgresql", "cron"),
    "eks-consumers": ("eks", "consumers"),
    "eks-consumers-postgresql": ("eks", "consumers", "postgresql"),
    "eks-consumers-postgresql-cron": ("eks", "consumers", "postgresql", "cron"),
}
CRON_AND_POSTGRESQL = {"replicaCount": 1}
OLDEST = "1.29"
VERSIONS = (OLDEST, kubernetes_validate.latest_version())
OPERATOR = "monitoring.coreos.com/v1"


def values(name: str) -> Manifest:
    found = values_of(*SETS[name])
    return {**found, **CRON_AND_POSTGRESQL} if name.endswith("postgresql-cron") else found


@pytest.fixture(params=SETS)
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(values(request.param))


# --- every set ------------------------------------------------------------------------------------


def test_helm_lint_finds_nothing() -> None:
    """Helm's own linter, over the defaults, has no warning and no error."""
    found = lint(DEPLOY / "chart")
    assert [one for one in found["messages"] if one["severity"] > 1] == []
    assert found["errors"] == []


@pytest.mark.one_in(2, 2)
@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schemas_of_kubernetes(objects: list[Manifest], version: str) -> None:
    """Strictly: an unknown field is an error. The Prometheus Operator's objects are no part of Kubernetes."""
    for one in objects:
        if one["apiVersion"] != OPERATOR:
            kubernetes_validate.validate(one, version, strict=True)


def test_schema_check_finds_what_is_wrong() -> None:
    """A field that does not exist and a value of the wrong type are told."""
    good = of(rendered({}), "Deployment")
    for change in ({"replica": 1}, {"replicas": "one"}):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**good, "spec": {**good["spec"], **change}}, "1.32", strict=True)


def test_pods_pass_the_restricted_profile(objects: list[Manifest]) -> None:
    """Every workload, with a read-only root and without a token that Kubernetes mounts by itself."""
    pods = [pod for one in objects if (pod := pod_of(one)) is not None]
    assert pods
    for pod in pods:
        assert list(violations(pod)) == []
        assert pod["automountServiceAccountToken"] is False
        assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in pod["containers"])


SPOILED: dict[str, Callable[[Manifest], object]] = {
    "hostNetwork": lambda pod: pod.update(hostNetwork=True),
    "runAsNonRoot": lambda pod: pod["securityContext"].update(runAsUser=0),
    "seccompProfile": lambda pod: pod["securityContext"].pop("seccompProfile"),
    "volumes": lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "allowPrivilegeEscalation": lambda pod: pod["containers"][0]["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "capabilities": lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(
        add=["SYS_ADMIN"]
    ),
    "hostPort": lambda pod: pod["containers"][0]["ports"][0].update(hostPort=8080),
    "procMount": lambda pod: pod["containers"][0]["securityContext"].update(procMount="Unmasked"),
    "sysctls": lambda pod: pod["securityContext"].update(
        sysctls=[{"name": "kernel.shm_rmid_forced", "value": "0"}]
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_profile_check_finds_what_is_wrong(name: str) -> None:
    """One thing that the restricted profile forbids, and the check says which."""
    pod = copy.deepcopy(pod_of(of(rendered({}), "Deployment")))
    assert pod is not None
    SPOILED[name](pod)
    assert list(violations(pod)) == [name]


def test_no_object_holds_a_credential(objects: list[Manifest]) -> None:
    """No Secret is made, and every credential in an environment is a file's path."""
    assert "Secret" not in kinds(objects)
    for one in objects:
        for container in (pod_of(one) or {}).get("containers", ()):
            named = {env["name"]: env.get("value", "") for env in container["env"]}
            for name, value in named.items():
                if re.search("TOKEN|KEY|SECRET|JWT", name):
                    assert name.endswith("_FILE"), name
                    assert value.startswith("/run/secrets/")


def test_environment_is_all_settings(objects: list[Manifest]) -> None:
    """Every variable of every container is one that rotator reads, with a value that it accepts."""
    for one in objects:
        for container in (pod_of(one) or {}).get("containers", ()):
            given = {env["name"]: env.get("value", "") for env in container["env"]}
            journal = given.pop("ROTATOR_JOURNAL_FILE", None)
            assert (journal is None) == bool(given["ROTATOR_JOURNAL"])
            asked = _Asked(given)
            resolve({}, asked, None, stderr_is_tty=False)
            assert set(given) <= asked.names


class _Asked(dict[str, str]):
    """An environment that remembers what was looked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__(given)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def test_pods_outlast_what_they_need_to_stop(objects: list[Manifest]) -> None:
    """Kubernetes waits longer for the end of a daemon than the daemon takes at most."""
    for one in objects:
        pod = pod_of(one)
        for env in pod["containers"][0]["env"] if pod else ():
            if pod and env["name"] == "ROTATOR_GRACE":
                assert pod["terminationGracePeriodSeconds"] >= int(env["value"].removesuffix("s")) + 10


def test_policies_of_the_sets_are_valid(tmp_path: Path) -> None:
    """What the documented values mount is a folder of policies without a problem."""
    for name in ("eks", "vault", "eks-consumers"):
        folder = tmp_path / name
        folder.mkdir()
        assert len(policies_in(rendered(values(name)), folder)) == 1


def policies_in(objects: list[Manifest], folder: Path) -> list[Policy]:
    """What the ConfigMap mounts, loaded as rotator does."""
    for file, text in of(objects, "ConfigMap", "rotator-policies")["data"].items():
        (folder / file).write_text(text, encoding="utf-8")
    return list(load_policies([folder]).policies)


def test_versions_are_those_of_the_program() -> None:
    """The chart installs the image of the version it came with."""
    image = pod_of(of(rendered({}), "Deployment"))["containers"][0]["image"]  # type: ignore[index]  # it has one
    assert image == f"rotator:{rotator.__version__}"
    assert chart().version == rotator.__version__
    assert chart().metadata["kubeVersion"] == f">={OLDEST}.0-0"


# --- what each set is for -------------------------------------------------------------------------


def test_sqlite_is_one_process_on_a_volume() -> None:
    """A Deployment that is replaced, never doubled, on a claim that outlives the release; no emergency template."""
    made = rendered(values("eks"))
    daemon = of(made, "Deployment")
    assert (daemon["spec"]["replicas"], daemon["spec"]["strategy"]) == (1, {"type": "Recreate"})
    claim = of(made, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    pod = pod_of(daemon) or {}
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "rotator"}} in pod["volumes"]
    assert {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}} in pod["volumes"]
    assert not {"CronJob", "PodDisruptionBudget", "StatefulSet", "Role"} & set(kinds(made))


def test_postgresql_is_several_processes_that_keep_their_logs() -> None:
    """A rolling set with a claim and a steady host name for each audit log, a budget, and the emergency template."""
    made = rendered(values("eks-postgresql"))
    daemon = of(made, "StatefulSet")
    assert (daemon["spec"]["replicas"], daemon["spec"]["updateStrategy"]) == (2, {"type": "RollingUpdate"})
    assert [one["metadata"]["name"] for one in daemon["spec"]["volumeClaimTemplates"]] == ["state"]
    assert daemon["spec"]["serviceName"] == of(made, "Service")["metadata"]["name"]
    budget = of(made, "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], "minAvailable" in budget) == (1, False)
    labels = daemon["spec"]["template"]["metadata"]["labels"]
    for selector in (budget["selector"]["matchLabels"], of(made, "Service")["spec"]["selector"]):
        assert selector.items() <= labels.items()


@pytest.mark.parametrize("name", ["eks-postgresql", "vault-postgresql-cron"])
def test_emergency_template_never_starts_by_itself(name: str) -> None:
    """Suspended, on a date that does not exist, with a volume and a host name of its own and no token in sight."""
    job = of(rendered(values(name)), "CronJob", "rotator-emergency")["spec"]
    assert (job["suspend"], job["schedule"]) == (True, "0 0 31 2 *")
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["hostname"] == "rotator-emergency"
    assert pod["containers"][0]["args"] == ["rotate", "--emergency", "--yes"]
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "rotator-emergency"}} in pod["volumes"]


def test_emergency_job_is_parameterised_by_its_environment(tmp_path: Path) -> None:
    """`kubectl set env` adds what to rotate and why, as the runbook has it, and changes nothing else."""
    kubectl = need("kubectl", "the emergency job was")
    template = of(rendered(values("eks-postgresql")), "CronJob", "rotator-emergency")["spec"]["jobTemplate"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "rotate-now"},
        "spec": template["spec"],
    }
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job), encoding="utf-8")
    given = {"ROTATOR_SELECT": "billing-production", "ROTATOR_REASON": "INC-4711, public repository"}
    words = [f"{name}={value}" for name, value in given.items()]
    (made,) = load_all(done(kubectl, "set", "env", "--local", "-f", file, "-o", "yaml", *words))
    container = made["spec"]["template"]["spec"]["containers"][0]
    before = template["spec"]["template"]["spec"]["containers"][0]
    assert {one["name"]: one.get("value", "") for one in container["env"]} == {
        **{one["name"]: one.get("value", "") for one in before["env"]},
        **given,
    }
    kubernetes_validate.validate(made, "1.32", strict=True)


def test_emergency_job_does_what_it_says(site: Site) -> None:
    """Its arguments and those two variables kill and replace the token of the policy named; without them nothing."""
    entry = site.add("billing-production")
    site.add("other")
    job = of(rendered(values("eks-postgresql")), "CronJob", "rotator-emergency")
    (args,) = [one["args"] for one in (pod_of(job) or {})["containers"]]
    assert site.run(*args).code == 2
    site.environment |= {"ROTATOR_SELECT": "billing-production", "ROTATOR_REASON": "INC-4711"}
    ended = site.run(*args, "-o", "json")
    assert ended.code == 0, ended.errors
    assert [one["policy"] for one in ended.rotations] == ["billing-production"]
    assert not site.simulator.is_alive(entry.first)
    assert entry.serves_a_living_token


@pytest.mark.parametrize("name", ["eks", "eks-postgresql"])
def test_daemon_answers_probes_to_all_and_its_api_to_who_has_the_token(
    site: Site, tmp_path: Path, postgresql: PostgresqlServer, name: str
) -> None:
    """With the environment of the pod, its folders elsewhere: probes are open, status wants the bearer token."""
    site.add()
    (daemon,) = [one for one in rendered(values(name)) if one["kind"] in ("Deployment", "StatefulSet")]
    (container,) = (pod_of(daemon) or {})["containers"]
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    api_token = "an-api-token-7f3a9c51d2e84b60"
    keys = {
        "lettermint-team-token": site.team_token.reveal(),
        "api-token": api_token,
        "audit-key": "5f" * 32,
        "journal-url": postgresql.url(postgresql.new_database()),
    }
    places = {
        "/run/secrets/rotator": str(secrets),
        "/var/lib/rotator": str(tmp_path / "state"),
        "/etc/rotator/policies": site.environment["ROTATOR_POLICIES"],
        ":8080": ":0",
    }
    del site.environment["LETTERMINT_TEAM_TOKEN"]
    for env in container["env"]:
        if env["name"].endswith("_FILE"):
            file = secrets / env["value"].rpartition("/")[2]
            file.write_text(keys[file.name], encoding="utf-8")
            file.chmod(0o440)
        value = env["value"]
        for place, here in places.items():
            value = value.replace(place, here)
        site.environment[env["name"]] = value
    child = site.start(*container["args"])
    found = eventually_found(lambda: re.search(r"serving 1 policies at http://:?[^:]*:(\d+)", child.errors))
    url = f"http://127.0.0.1:{found[1]}"
    probes = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    for path in (*probes, "/metrics"):
        eventually(lambda path=path: httpx.get(url + path, trust_env=False, timeout=30).status_code == 200)
    assert httpx.get(f"{url}/api/v1/status", trust_env=False, timeout=30).status_code == 401
    bearer = {"Authorization": f"Bearer {api_token}"}
    assert httpx.get(f"{url}/api/v1/status", headers=bearer, trust_env=False, timeout=30).status_code == 200
    child.signal(15)
    assert child.wait().code == 143
    assert (tmp_path / "state" / "journal.db").exists() == (name == "eks")


def eventually_found(look: Callable[[], re.Match[str] | None]) -> re.Match[str]:
    eventually(look)
    found = look()
    assert found is not None
    return found


def test_cron_runs_one_job_at_a_time_and_ends_for_good_where_a_person_must_look() -> None:
    """Forbid, a deadline for late starts, off the full hour; what is safe to repeat is tried again."""
    made = rendered(values("eks-cron"))
    job = of(made, "CronJob")["spec"]
    assert (job["concurrencyPolicy"], job["timeZone"], job["suspend"]) == ("Forbid", "Etc/UTC", False)
    assert not job["schedule"].startswith("0 ")
    template = job["jobTemplate"]["spec"]
    ends = {
        rule["action"]: rule.get("onExitCodes", {}).get("values")
        for rule in template["podFailurePolicy"]["rules"]
    }
    assert ends == {"Ignore": None, "FailJob": [1, 2, 3, 4, 5]}
    assert template["template"]["spec"]["containers"][0]["args"] == ["run"]
    assert not {"Deployment", "StatefulSet", "Service"} & set(kinds(made))


def test_vault_token_is_good_for_vault_alone() -> None:
    """A projected token with Vault's audience and ten minutes to live, where the login looks for it."""
    pod = pod_of(of(rendered(values("vault")), "Deployment")) or {}
    (source,) = [one["projected"]["sources"] for one in pod["volumes"] if one["name"] == "vault-token"]
    assert source == [
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}
    ]
    env = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert (env["ROTATOR_VAULT_AUTH"], env["VAULT_ROLE"]) == ("kubernetes", "rotator")
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    assert env["ROTATOR_VAULT_JWT_FILE"] == f"{mounts['vault-token']}/token"
    assert env["VAULT_CACERT"] == f"{mounts['vault-ca']}/ca.pem"


def test_role_comes_with_the_service_account() -> None:
    """IRSA is an annotation; Pod Identity needs none, but its agent on the node must be reached."""
    account = of(rendered(values("eks-irsa")), "ServiceAccount")
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/rotator"
    }
    made = rendered(values("eks"))
    assert "annotations" not in of(made, "ServiceAccount")["metadata"]
    egress = of(made, "NetworkPolicy")["spec"]["egress"]
    assert {"ipBlock": {"cidr": "169.254.170.23/32"}} in [to for rule in egress for to in rule.get("to", ())]


def test_network_policy_lets_in_scrapes_only_and_out_what_is_listed() -> None:
    """Ingress on the HTTP port from the namespaces named; egress to DNS and the ports named."""
    policy = of(rendered(values("vault") | {"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = policy["ingress"]
    assert [port["port"] for port in ingress["ports"]] == ["http"]
    assert ingress["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
    assert [port["port"] for port in policy["egress"][0]["ports"]] == [53, 53, 443, 465, 5432, 8200]


@pytest.mark.parametrize(
    ("switch", "kind"), [("podMonitor", "PodMonitor"), ("serviceMonitor", "ServiceMonitor")]
)
def test_monitor_finds_the_daemon(switch: str, kind: str) -> None:
    """Its selector matches pod or service, the port has that name, and the job is called as the alerts have it."""
    made = rendered({"monitoring": {switch: True}})
    monitor = of(made, kind)
    assert monitor["apiVersion"] == OPERATOR
    daemon = of(made, "Deployment")["spec"]["template"]
    target = (
        daemon["metadata"]["labels"] if kind == "PodMonitor" else of(made, "Service")["metadata"]["labels"]
    )
    assert monitor["spec"]["selector"]["matchLabels"].items() <= target.items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints" if kind == "PodMonitor" else "endpoints"]
    ports = daemon["spec"]["containers"][0]["ports"]
    assert (endpoint["port"], endpoint["path"]) == (ports[0]["name"], "/metrics")
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "rotator"}]


@pytest.mark.parametrize(("mode", "file"), [("daemon", "alerts"), ("cron", "alerts-cron")])
def test_rules_and_dashboard_are_the_files_that_are_tested(mode: str, file: str) -> None:
    """The PrometheusRule holds the groups of the alerts' file, the ConfigMap the dashboard, to the byte."""
    made = rendered({"mode": mode, "monitoring": {"prometheusRule": True, "dashboard": True}})
    folder = DEPLOY / "chart" / "monitoring"
    (groups,) = load_all((folder / f"{file}.yaml").read_text(encoding="utf-8"))
    assert of(made, "PrometheusRule")["spec"] == groups
    text = of(made, "ConfigMap", "rotator-dashboard")["data"]["rotator.json"]
    assert text.strip() == (folder / "dashboard.json").read_text(encoding="utf-8").strip()


def test_age_of_rehearsals_is_a_value() -> None:
    """It changes the expression of that one alert; the default is what the tested file has."""
    (groups,) = load_all((DEPLOY / "chart" / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))
    made = rendered({"monitoring": {"prometheusRule": True, "rehearsalMaxAgeDays": 100}})
    pairs = zip(
        groups["groups"][0]["rules"], of(made, "PrometheusRule")["spec"]["groups"][0]["rules"], strict=True
    )
    ((before, after),) = [(one, other) for one, other in pairs if one != other]
    assert before["alert"] == "RotatorRehearsalTooOld"
    assert after == {**before, "expr": before["expr"].replace("35 * 86400", "100 * 86400")}


def test_release_of_another_name_keeps_its_names_apart() -> None:
    """Two releases in one namespace share no object, and no name outgrows what a CronJob may have."""
    long = "a-name-that-is-as-long-as-names-may-be-in-helm-53-chr"
    made = rendered(values("vault-postgresql-cron"), name=long)
    assert not {one["metadata"]["name"] for one in made} & {
        one["metadata"]["name"] for one in rendered(values("vault-postgresql-cron"))
    }
    assert all(len(one["metadata"]["name"]) <= 52 for one in made)


# --- what is refused ------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Manifest, str]] = {
    "replicas-on-sqlite": (
        {"replicaCount": 2},
        "a SQLite journal serves one process: set journal.type to postgresql",
    ),
    "replicas-in-cron": (
        {**values_of("vault", "postgresql"), "mode": "cron"},
        "mode cron starts one job at a time",
    ),
    "both-monitors": (
        {"monitoring": {"podMonitor": True, "serviceMonitor": True}},
        "scrape everything twice",
    ),
    "monitor-in-cron": (
        {"mode": "cron", "monitoring": {"podMonitor": True}},
        "nothing can be scraped between two",
    ),
    "no-audit-key": ({"journal": {"type": "postgresql"}}, "credentials.auditKey is needed with postgresql"),
    "claim-on-postgresql": (
        {**values_of("postgresql"), "persistence": {"existingClaim": "mine"}},
        "persistence.existingClaim goes with a SQLite journal",
    ),
    "two-kinds-of-policies": ({"policies": {"a.yaml": "x"}, "existingPolicies": "b"}, "set one of them"),
    "vault-without-address": ({"vault": {"enabled": True}}, "vault.address is needed"),
    "nobody": ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
    "misspelled": ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    "misspelled-inside": ({"image": {"repo": "x"}}, "additional properties 'repo' not allowed"),
    "wrong-mode": ({"mode": "job"}, "at '/mode': value must be one of 'daemon', 'cron'"),
    "wrong-type": ({"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
    "wrong-digest": ({"image": {"digest": "latest"}}, "at '/image/digest'"),
    "too-short-a-grace": ({"settings": {"graceSeconds": 1}}, "at '/settings/graceSeconds': minimum"),
    "credential-as-a-value": (
        {"extraEnv": [{"name": "LETTERMINT_TEAM_TOKEN", "value": "lm_team_" + "x" * 32}]},
        "at '/extraEnv/0/value'",
    ),
    "host-path": (
        {"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        "invalid propertyName 'hostPath'",
    ),
    "policy-of-no-yaml": ({"policies": {"billing.txt": "x"}}, "billing.txt"),
    "policy-that-is-no-yaml": ({"policies": {"a.yaml": "policies: [b"}}, "policies: a.yaml is no YAML"),
    "consumer-without-a-right": (
        {**values_of("eks", "consumers"), "consumers": []},
        "policies: billing.yaml tells ExternalSecret shop/mailer, which `consumers` does not name: add it there",
    ),
    "right-for-nobody": (
        {**values_of("eks"), "consumers": values_of("consumers")["consumers"]},
        "consumers: no policy tells ExternalSecret shop/mailer: take it out",
    ),
    "consumer-of-another-kind": (
        {"consumers": [{"kind": "Secret", "namespace": "shop", "name": "mailer"}]},
        "at '/consumers/0/kind': value must be one of 'Deployment', 'StatefulSet', 'DaemonSet', 'ExternalSecret'",
    ),
    "every-consumer": (
        {"consumers": [{"kind": "Deployment", "namespace": "shop", "name": "*"}]},
        "at '/consumers/0/name': '*' does not match",
    ),
    "consumer-without-a-namespace": (
        {"consumers": [{"kind": "Deployment", "name": "mailer"}]},
        "at '/consumers/0': missing property 'namespace'",
    ),
    "consumer-twice": (
        {"consumers": [{"kind": "Deployment", "namespace": "shop", "name": "mailer"}] * 2},
        "at '/consumers': items at 0 and 1 are equal",
    ),
    "no-port-of-the-api": (
        {"networkPolicy": {"apiServer": {"ports": []}}},
        "at '/networkPolicy/apiServer/ports': minItems",
    ),
    "host-instead-of-a-network": (
        {"networkPolicy": {"apiServer": {"cidrs": ["10.100.0.1"]}}},
        "at '/networkPolicy/apiServer/cidrs/0'",
    ),
    "no-days-between-rehearsals": (
        {"monitoring": {"rehearsalMaxAgeDays": 0}},
        "at '/monitoring/rehearsalMaxAgeDays': minimum",
    ),
    "wrong-schedule": ({"cron": {"schedule": "hourly"}}, "at '/cron/schedule'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_value_is_refused_with_a_clear_word(name: str) -> None:
    """Nothing is rendered, and the message names the value or says what to do."""
    wrong, said = REFUSED[name]
    with pytest.raises(HelmError, match=re.escape(said)):
        rendered(wrong)


def test_every_value_is_in_the_schema_and_explained() -> None:
    """No default lacks its place in the schema, and each first-level value stands below a comment or explains itself."""
    (defaults,) = load_all((DEPLOY / "chart" / "values.yaml").read_text(encoding="utf-8"))

    def walk(given: Manifest, schema: Manifest, place: str) -> None:
        for key, value in given.items():
            assert key in schema["properties"], f"{place}{key}"
            if isinstance(value, dict) and "properties" in schema["properties"][key]:
                walk(value, schema["properties"][key], f"{place}{key}.")
                assert set(schema["properties"][key]["properties"]) == set(value), f"{place}{key}"

    schema = chart().schema
    assert schema is not None
    walk(defaults, schema, "")
    assert set(schema["properties"]) - set(defaults) == {"global"}


def test_notes_say_what_to_type() -> None:
    """For each workload: the command that checks it, with its real name."""
    daemon = texts(values("eks"))["NOTES.txt"]
    assert "kubectl -n rotator exec deploy/rotator -- rotator doctor" in daemon
    assert "no policies" not in daemon
    assert "exec sts/rotator" in texts(values("eks-postgresql"))["NOTES.txt"]
    assert "create job rotator-now --from=cronjob/rotator" in texts(values("eks-cron"))["NOTES.txt"]
    assert "There are no policies" in texts({})["NOTES.txt"]
    for text in (daemon, texts({})["NOTES.txt"]):
        assert not re.search(r"lm_\w{10}", text)
