"""deploy/README.md and the runbook say what is so: their commands are run, or read by the program they name."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import kubernetes_validate
import pytest
from helm_python import Chart

from rotator.settings import resolve
from tests.acceptance.site import AWS_CREDENTIALS, REGION, Site
from tests.acceptance.test_guides import Asked, blocks, parse, words_of
from tests.deploy.manifests import load_all, of, pod_of, rendered, values_of
from tests.deploy.steps import MARKED, README, tables
from tests.deploy.test_chart import SETS
from tests.deploy.tools import DEPLOY, ROOT, done, need
from tests.postgresql_server import PostgresqlServer

TEXT = README.read_text(encoding="utf-8")
RUNBOOK = (DEPLOY / "runbook.md").read_text(encoding="utf-8")
BOTH = {"README.md": TEXT, "runbook.md": RUNBOOK}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def lines(text: str) -> Iterator[list[str]]:
    """Words of every command in the shell blocks: without redirections, comments, and what stands in parentheses."""
    for block in blocks(text, "sh"):
        joined = re.sub(r"\\\n\s*|(?<=[|=])\n\s*", " ", block)
        for line in joined.splitlines():
            reader = shlex.shlex(line, posix=True, punctuation_chars="|;&()<>")
            reader.whitespace_split, reader.commenters = True, "#"
            words: list[str] = []
            skipped = False
            for word in reader:
                if set(word) <= set("|;&()"):
                    yield words
                    words = []
                elif set(word) <= set("<>("):
                    skipped = "(" not in word
                    if not skipped:
                        yield words
                        words = []
                elif skipped:
                    skipped = False
                else:
                    words.append(word)
            yield words


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Words of every command of a program, by the text they stand in."""
    found = [
        (name, words[1:]) for name, text in BOTH.items() for words in lines(text) if words[:1] == [program]
    ]
    assert found, program
    return found


# --- rotator --------------------------------------------------------------------------------------


def rotator_lines() -> list[str]:
    """Every command line of rotator: typed as it stands, behind `exec … --`, or quoted in a sentence."""
    found = [shlex.join(words) for _, words in commands("rotator")]
    for program in ("kubectl", "docker"):
        for _, words in commands(program):
            inner = words[words.index("--") + 1 :] if "--" in words else []
            if inner[:1] == ["rotator"]:
                found.append(shlex.join(inner[1:]))
    for text in BOTH.values():
        found += re.findall(r"`rotator ([a-z][^`]*)`", text)
    return sorted(set(found))


@pytest.mark.parametrize("line", rotator_lines())
def test_rotator_command_exists(line: str) -> None:
    """Command, flags and number of arguments are those of the program."""
    parse(words_of(line))


@pytest.mark.parametrize("name", BOTH)
def test_variables_are_settings(name: str) -> None:
    """No sentence names a variable of ours that nothing reads."""
    environment = Asked()
    resolve({}, environment, None, stderr_is_tty=False)
    found = set(re.findall(r"\b(?:ROTATOR|LETTERMINT|VAULT)_[A-Z_]*[A-Z]\b", BOTH[name]))
    assert found <= environment.names


@pytest.mark.parametrize("name", BOTH)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link is a file or folder of the repository, and every anchor a heading of its text."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", BOTH[name]):
        path = (DEPLOY / target).resolve() if target else DEPLOY / name
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in known, anchor


def test_tables_of_steps_are_those_of_the_engine() -> None:
    """Each strategy's steps in their order, and what they do; `.ci/generate` writes the tables anew."""
    found = MARKED.search(TEXT)
    assert found is not None
    assert found[0] == tables()


# --- kubectl, helm, aws ---------------------------------------------------------------------------


@cache
def help_of(*words: str) -> str:
    kubectl = need("kubectl", "the guides' kubectl commands were")
    return done(kubectl, *words, "--help") + done(kubectl, "options")


GROUPS = ("auth", "create", "rollout", "set", "secret")
"""Words of kubectl after which another word may be a part of the command."""


@pytest.mark.parametrize("words", [words for _, words in commands("kubectl")], ids=shlex.join)
def test_kubectl_command_exists(words: list[str]) -> None:
    """Command and flags are such as kubectl itself names."""
    words = words[: words.index("--")] if "--" in words else words
    if words[0] == "-n":
        assert words[1] in ("rotator", *(namespace for _, namespace, _ in consumers()))
        words = words[2:]
    count = 1
    while words[count - 1] in GROUPS and not words[count].startswith("-"):
        count += 1
    text = help_of(*words[:count])
    assert re.search(r"^Usage:", text, re.MULTILINE)
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{word.partition('=')[0]}\b", text), word
        elif re.fullmatch(r"-[a-z]+", word):
            for letter in word[1:]:
                assert re.search(rf"(?:^|\s)-{letter}\b", text), word


def consumers() -> set[tuple[str, str, str]]:
    """Kind, namespace and name of those that the documented values tell."""
    return {(one["kind"], one["namespace"], one["name"]) for one in values_of("consumers")["consumers"]}


def test_objects_in_the_guides_are_those_of_the_chart() -> None:
    """Whatever is named as KIND/NAME is an object that a documented set of values makes, or a consumer of one."""
    short = {"deploy": "Deployment", "sts": "StatefulSet", "cronjob": "CronJob"}
    made = {
        (one["kind"], one["metadata"]["name"])
        for name in ("eks", "eks-postgresql", "eks-cron")
        for one in rendered(values_of(*SETS[name]))
    }
    named = {
        (short[kind], name)
        for text in BOTH.values()
        for kind, name in re.findall(r"\b(deploy|sts|cronjob)/([a-z][a-z-]*)", text)
        if (kind, name) != ("deploy", "chart")
    }
    paths = {("Deployment", path.name) for path in DEPLOY.iterdir()}  # deploy/iam is no Deployment
    assert named - paths <= made | {(kind, name) for kind, _, name in consumers()}
    labels = {"app.kubernetes.io/name": "rotator", "app.kubernetes.io/component": "run"}
    job = of(rendered(values_of("eks", "cron")), "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    assert labels.items() <= job["metadata"]["labels"].items()


def helm_commands() -> list[list[str]]:
    return [words for _, words in commands("helm")]


@pytest.mark.parametrize("words", helm_commands(), ids=shlex.join)
def test_helm_command_installs_a_documented_set(words: list[str]) -> None:
    """`helm upgrade --install` of this chart, with value files whose outcome the chart's tests check."""
    assert words[:3] == ["upgrade", "--install", "rotator"]
    assert Chart.load(ROOT / words[3]).name == "rotator"
    assert words[4:6] == ["-n", "rotator"]
    flags, files = words[6::2], [ROOT / file for file in words[7::2]]
    assert set(flags) == {"-f"}
    names = tuple(file.stem for file in files)
    assert all(file.parent == DEPLOY / "values" for file in files)
    assert names in SETS.values()


def test_value_sets_are_documented() -> None:
    """Every file of values is named in the guide."""
    for path in (DEPLOY / "values").iterdir():
        assert f"values/{path.name}" in TEXT or f"mode: {path.stem}" in TEXT


def parameters(words: list[str]) -> dict[str, str]:
    """Flags of the AWS CLI as the parameters of the API; files are read as it reads them."""
    found = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = "".join(part.capitalize() for part in flag.removeprefix("--").split("-"))
        path = value.removeprefix("file://")
        found[name] = (ROOT / path).read_text(encoding="utf-8") if path != value else value
    return found


def test_aws_commands_make_the_role(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Role and policy of the guide are accepted by an IAM; the association's parameters are those of EKS."""
    for name, value in AWS_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    typed = [words for _, words in commands("aws")]
    assert [words[:2] for words in typed] == [
        ["iam", "create-role"],
        ["iam", "put-role-policy"],
        ["eks", "create-pod-identity-association"],
    ]
    iam = boto3.client("iam", region_name=REGION, endpoint_url=moto_url)
    role = iam.create_role(**parameters(typed[0][2:]))["Role"]
    iam.put_role_policy(**parameters(typed[1][2:]))
    kept = iam.get_role_policy(RoleName="rotator", PolicyName="rotate")["PolicyDocument"]
    assert kept == json.loads((DEPLOY / "iam" / "rotate.json").read_text(encoding="utf-8"))
    eks = boto3.client("eks", region_name=REGION, endpoint_url=moto_url)
    given = {name[0].lower() + name[1:]: value for name, value in parameters(typed[2][2:]).items()}
    shape = eks.meta.service_model.operation_model("CreatePodIdentityAssociation").input_shape
    assert set(given) <= set(shape.members)
    assert set(shape.required_members) <= set(given)
    assert role["Arn"].rpartition("/")[2] == given["roleArn"].rpartition("/")[2]
    irsa = (DEPLOY / "iam" / "trust-irsa.json").read_text(encoding="utf-8")
    iam.create_role(RoleName="by-irsa", AssumeRolePolicyDocument=irsa)
    for name in ("kms", "create"):
        text = (DEPLOY / "iam" / f"{name}.json").read_text(encoding="utf-8")
        iam.put_role_policy(RoleName="rotator", PolicyName=name, PolicyDocument=text)


def test_vault_role_is_for_the_pod_of_the_chart() -> None:
    """The role that is typed names the audience, the account and the namespace that the pod's token has, and the
    policy is the file that the permissions' tests run with."""
    typed = [words for _, words in commands("vault")]
    assert typed[0] == ["policy", "write", "rotator", "deploy/vault/rotator.hcl"]
    assert typed[3][:2] == ["write", "auth/kubernetes/role/rotator"]
    role = dict(word.split("=", 1) for word in typed[3][2:])
    objects = rendered(values_of("vault"))
    pod = pod_of(of(objects, "Deployment")) or {}
    (sources,) = [one["projected"]["sources"] for one in pod["volumes"] if "projected" in one]
    env = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert role["audience"] == sources[0]["serviceAccountToken"]["audience"]
    assert role["bound_service_account_names"] == pod["serviceAccountName"]
    assert role["bound_service_account_namespaces"] == "rotator"
    assert role["token_policies"] == typed[0][2]
    assert typed[3][1] == f"auth/{env['ROTATOR_VAULT_AUTH_MOUNT']}/role/{env['VAULT_ROLE']}"
    volume = {one["name"]: one for one in pod["volumes"]}["vault-ca"]
    made = next(words for _, words in commands("kubectl") if "configmap" in words)
    assert made[made.index("configmap") + 1] == volume["configMap"]["name"]
    assert made[-1].split("=")[1] == Path(env["VAULT_CACERT"]).name


# --- blocks that are run --------------------------------------------------------------------------


def block(title: str, holding: str) -> str:
    """The one shell block of a chapter in which this stands."""
    (found,) = [one for one in blocks(section(title), "sh") if holding in one]
    return found


FAKE_KUBECTL = """#!/bin/bash
# kubectl without a cluster: what would be sent is printed instead.
case " $* " in
  *" create secret "*" --dry-run=client "*) exec {kubectl} "$@" ;;
  *" create secret "*) exec {kubectl} "$@" --dry-run=client -o json ;;
  *" patch secret "*) exec {kubectl} patch --local -f {secret} -o json --patch-file=/dev/stdin --type=strategic ;;
  *" create job "*) cat {job} ;;
  *" logs "*) exit 0 ;;
  *" create -f - "*) exec cat ;;
  *" set env "*) exec {kubectl} "$@" ;;
  *) exit 0 ;;
esac
"""


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Runs a block in bash with a kubectl that has no cluster, and answers to what it asks."""
    kubectl = need("kubectl", "the guides' blocks were")
    secret, job = tmp_path / "secret.json", tmp_path / "job.json"
    data = {"lettermint-team-token": "b2xk", "api-token": "YXBp"}
    kept = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rotator-credentials"}, "data": data}
    secret.write_text(json.dumps(kept), encoding="utf-8")
    template = of(rendered(values_of("eks", "postgresql")), "CronJob", "rotator-emergency")["spec"][
        "jobTemplate"
    ]
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": template["spec"]}
    job.write_text(json.dumps(made), encoding="utf-8")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "kubectl").write_text(
        FAKE_KUBECTL.format(kubectl=kubectl, secret=secret, job=job), encoding="utf-8"
    )
    (bin_ / "helm").write_text("#!/bin/sh\n", encoding="utf-8")
    for file in bin_.iterdir():
        file.chmod(0o755)

    def execute(text: str, typed: str) -> str:
        environment = {"PATH": f"{bin_}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            input=typed,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return execute


def secret_in(text: str) -> dict[str, str]:
    start = text.index("{")
    document, _ = json.JSONDecoder().raw_decode(text[start:])
    return dict(document["data"])


def plain(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def test_secret_of_the_guide_has_the_keys_of_the_chart(shell: Any) -> None:
    """What is typed makes exactly the keys that the pod mounts, without an end of line in any."""
    data = secret_in(
        shell(block("First hour on EKS with AWS Secrets Manager", "create secret"), "lm_team_xyz\n")
    )
    assert plain(data["lettermint-team-token"]) == "lm_team_xyz"
    assert re.fullmatch("[0-9a-f]{64}", plain(data["api-token"]))
    env = (pod_of(of(rendered(values_of("eks")), "Deployment")) or {})["containers"][0]["env"]
    mounted = {one["value"].rpartition("/")[2] for one in env if one["name"].endswith("_FILE")}
    assert mounted == set(data)


def test_secret_is_completed_for_postgresql(shell: Any, tmp_path: Path) -> None:
    """Two keys come to the two that are there, and the file with the password goes."""
    text = block("Several replicas on PostgreSQL", "audit-key")
    data = secret_in(shell(text, "postgresql://rotator:pw@host/rotator\n"))
    assert plain(data["journal-url"]) == "postgresql://rotator:pw@host/rotator"
    assert re.fullmatch("[0-9a-f]{64}", plain(data["audit-key"]))
    assert plain(data["lettermint-team-token"]) == "old"
    env = (pod_of(of(rendered(values_of("eks", "postgresql")), "StatefulSet")) or {})["containers"][0]["env"]
    assert {one["value"].rpartition("/")[2] for one in env if one["name"].endswith("_FILE")} == set(data)
    assert not (tmp_path / "journal-url").exists()
    assert (tmp_path / "audit-key").stat().st_mode & 0o77 == 0


def test_team_token_is_replaced_in_the_secret(shell: Any) -> None:
    """The new token takes the place of the old one, and nothing else changes."""
    data = secret_in(shell(block("Replacing the team token", "patch"), "lm_team_new\n"))
    assert {name: plain(text) for name, text in data.items()} == {
        "lettermint-team-token": "lm_team_new",
        "api-token": "api",
    }


def test_emergency_job_is_made_as_the_guide_says(shell: Any) -> None:
    """Select and reason are in the job's environment when it is created."""
    (job,) = load_all(shell(block("A token has leaked", "rotator-emergency"), ""))
    env = {
        one["name"]: one.get("value", "") for one in job["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert (env["ROTATOR_SELECT"], env["ROTATOR_REASON"]) == (
        "billing-production",
        "INC-4711, public repository",
    )


def test_emergency_job_of_mode_cron_is_made_as_the_guide_says(shell: Any) -> None:
    """Its arguments are a command line of rotator; everything else is as it was."""
    (job,) = load_all(shell(block("A token has leaked", "jq '.spec"), ""))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "rotate"
    assert "--emergency" in container["args"]
    parse(container["args"])
    assert container["volumeMounts"]


def test_role_of_the_guide_allows_what_is_typed() -> None:
    """It fits the schema, and has the verbs of `create job --from`, `wait` and `logs`, for the template alone."""
    (role,) = [one for text in blocks(TEXT, "yaml") for one in load_all(text)]
    kubernetes_validate.validate(role, "1.32", strict=True)
    rules = {one["resources"][0]: one for one in role["rules"]}
    template = of(rendered(values_of("eks", "postgresql")), "CronJob")["metadata"]["name"]
    assert (rules["cronjobs"]["resourceNames"], rules["cronjobs"]["verbs"]) == ([template], ["get"])
    assert {"create", "get", "watch"} <= set(rules["jobs"]["verbs"])
    assert "pods/log" in rules["pods"]["resources"]


def test_leaked_token_comes_by_a_pipe(site: Site) -> None:
    """The piped form of the guide kills the token and replaces it, where nobody can answer a question."""
    entry = site.add("billing-production")
    (line,) = [one for one in rotator_lines() if "--leaked-stdin" in one and "--yes" in one]
    environment = {**site.environment, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "rotator", *shlex.split(line)],
        input=entry.first.reveal() + "\n",
        env=environment,
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not site.simulator.is_alive(entry.first)
    assert entry.serves_a_living_token


def test_role_of_the_guide_is_enough_for_the_journal(site: Site, postgresql: PostgresqlServer) -> None:
    """The SQL runs on a PostgreSQL, and the role it makes can make the tables and rotate."""
    (sql,) = blocks(TEXT, "sql")
    entry = site.add()
    for statement in filter(str.strip, sql.split(";\n")):
        postgresql.execute(statement)
    site.environment["ROTATOR_JOURNAL"] = postgresql.url("rotator", "rotator", "change-me")
    site.environment["ROTATOR_AUDIT_KEY"] = "5f" * 32
    ended = site.rotate("billing")
    assert ended.code == 0, ended.errors
    assert entry.serves_a_living_token


# --- backup and loss ------------------------------------------------------------------------------


def state(site: Site) -> Path:
    return site.folder / "state"


def attention(site: Site) -> list[str]:
    return [one["code"] for one in site.status()["attention"]]


def test_backup_of_the_journal_is_whole(site: Site, tmp_path: Path) -> None:
    """The Python that the guide types copies a journal in use; what was copied tells the same history."""
    site.add()
    assert site.rotate("billing").code == 0
    text = block("Backup, and loss of the journal", "sqlite3")
    (script,) = re.findall(r"'(from sqlite3 [^']*)'", text)
    copied = tmp_path / "journal.db"
    script = script.replace("/var/lib/rotator/journal.db", str(state(site) / "journal.db"))
    done(sys.executable, "-c", script.replace("/tmp/journal.db", str(copied)))
    before = site.run("history", "-o", "json").output
    shutil.copy(state(site) / "audit.key", tmp_path / "audit.key")
    site.environment["ROTATOR_JOURNAL"] = f"sqlite:///{copied}"
    assert site.run("history", "-o", "json").output == before
    assert site.audit_holds()


def test_lost_journal_makes_nothing_due(site: Site) -> None:
    """Journal, log and key gone: `run` finds nothing to do, and the next rotation adopts what the store holds."""
    entry = site.add()
    assert site.rotate("billing").code == 0
    shutil.rmtree(state(site))
    ended = site.run("run", "-o", "json")
    assert (ended.code, ended.rotations) == (0, [])
    assert site.rotate("billing").code == 0
    assert entry.serves_a_living_token
    assert attention(site) == []


def test_lost_key_stops_everything_until_it_is_put_back(site: Site) -> None:
    """Without the key: exit 2 and nothing is done; with it back, all is as before."""
    entry = site.add()
    assert site.rotate("billing").code == 0
    key = state(site) / "audit.key"
    aside = key.rename(site.folder / "aside")
    assert site.run("run").code == 2
    assert site.rotate("billing").code == 2
    aside.rename(key)
    assert site.rotate("billing").code == 0
    assert entry.serves_a_living_token


def test_lost_log_stops_rotations(site: Site) -> None:
    """`audit verify` says that lines are missing, and nothing is rotated: exit 4, the token stays. Moved aside
    together with the journal, both begin anew."""
    entry = site.add()
    assert site.rotate("billing").code == 0
    (state(site) / "audit.jsonl").unlink()
    held = entry.stored
    assert site.rotate("billing").code == 4
    assert site.run("audit", "verify").code == 4
    assert entry.stored == held
    state(site).rename(site.folder / "aside")
    assert site.rotate("billing").code == 0
    assert site.audit_holds()


def test_old_backup_is_noticed(site: Site) -> None:
    """Journal and log of before the last rotation: the token works, `out-of-band` says that nobody knows it, and
    `reconcile` takes it over; nothing is minted, and the trail holds."""
    entry = site.add()
    assert site.rotate("billing").code == 0
    kept = site.folder / "kept"
    shutil.copytree(state(site), kept)
    assert site.rotate("billing").code == 0
    shutil.rmtree(state(site))
    kept.rename(state(site))
    ended = site.run("run", "-o", "json")
    assert (ended.code, ended.rotations, attention(site)) == (4, [], ["out-of-band"])
    taken = site.run("reconcile", "billing", "--yes", "-o", "json")
    assert taken.code == 0, taken.errors
    assert (attention(site), entry.mints) == ([], 2)
    assert entry.serves_a_living_token
    assert site.audit_holds()
