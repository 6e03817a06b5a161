"""The least rights at AWS, Vault and Lettermint: neither short of nor beyond what real commands call."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rotator.secret import Secret
from rotator.simulator.calls import CALLS
from tests.acceptance.conftest import aws_client
from tests.acceptance.moments import MINTED
from tests.acceptance.site import PING_AND_SEND, AwsStore, Entry, FileStore, Site, Store, VaultStore
from tests.deploy.conftest import RecordingVault
from tests.deploy.tools import DEPLOY, done, need
from tests.destinations.strict_secrets_manager import StrictSecretsManager

SHORT = {"min": "1s", "quiet": "1s", "max": "5m"}
ABILITY = {call.name: call.ability for call in CALLS if call.auth == "team"}


# --- what rotator does ----------------------------------------------------------------------------


def named(store: Store, name: str) -> Store:
    """The store under a name that the shipped permissions are made for."""
    path = f"prod/{name}/lettermint"
    if isinstance(store, AwsStore):
        store.name = store.spec["secret_id"] = path
    elif isinstance(store, VaultStore):
        store.path = store.spec["path"] = path
    return store


def well(ended: Any, *codes: int) -> Any:
    assert ended.code in (codes or (0,)), ended.errors + ended.output
    return ended


def pair(site: Site, store: Store) -> Entry:
    """A policy with two projects of one domain, and a test send."""
    second, _ = site.simulator.add_project("second", team=site.team_token)
    entry = site.add(
        "pair",
        store=store,
        verify=PING_AND_SEND,
        strategy="create-before-revoke",
        standby={"project": second},
        drain=SHORT,
    )
    site.simulator.add_domain(team=site.team_token, projects=[entry.project, second])
    return entry


def finish(site: Site, *codes: int) -> None:
    """Looks until no drain is left. `codes` as of `well`."""
    for _ in range(60):
        if not any(
            one["rotation"] for one in json.loads(site.run("status", "-o", "json").output)["policies"]
        ):
            return
        well(site.run("run", "-o", "json"), *codes)
    raise AssertionError("it never ended")


def live(site: Site, plain: Entry) -> None:
    """Everything that commands do with stores: both strategies, a kill, a way back, an emergency, every look."""
    well(site.run("doctor", "-o", "json"))
    well(site.rotate(plain.name))
    paused = site.start_until(MINTED, "rotate", plain.name, "--yes")
    paused.child.signal(signal.SIGKILL)
    paused.child.wait()
    paused.gate.unlink()
    well(site.run("run", "-o", "json"))
    well(site.run("rotate", "pair", "--yes", "--no-wait", "-o", "json"))
    finish(site)
    well(site.run("rotate", "pair", "--yes", "--no-wait", "-o", "json"))
    well(site.run("rollback", "pair", "-o", "json"), 1)
    finish(site, 0, 1)  # at its end what was taken back has failed
    well(
        site.run(
            "rotate", "pair", "--emergency", "--reason", "a test", "--drain", "1s", "--yes", "-o", "json"
        )
    )
    for look in ("reconcile", "verify"):
        well(site.run(look, plain.name, "-o", "json"))
    well(site.run("status", "--refresh", "-o", "json"))
    assert plain.serves_a_living_token


# --- AWS ------------------------------------------------------------------------------------------


def allowed(name: str) -> set[str]:
    document = json.loads((DEPLOY / "iam" / f"{name}.json").read_text(encoding="utf-8"))
    assert document["Version"] == "2012-10-17"
    return {action for one in document["Statement"] for action in one["Action"]}


@pytest.fixture
def aws(site: Site, strict: StrictSecretsManager, moto_url: str) -> StrictSecretsManager:
    """The strict fake, where every action that is not in `deploy/iam` is denied."""
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = strict.url
    site.environment["AWS_ENDPOINT_URL_STS"] = moto_url
    return strict


@contextmanager
def only(strict: StrictSecretsManager, actions: set[str]) -> Iterator[set[str]]:
    """Denies every other action; at the end holds what was called."""
    every = set(aws_client(strict.url).meta.service_model.operation_names)
    made: set[str] = set()
    strict.calls.clear()
    strict.denied |= every - {action.removeprefix("secretsmanager:") for action in actions}
    yield made
    made |= {f"secretsmanager:{action}" for action, _ in strict.calls}
    strict.denied.clear()


def test_iam_policy_is_what_rotations_call(site: Site, aws: StrictSecretsManager) -> None:
    """All that commands do at Secrets Manager goes through with it, and makes use of every action in it."""
    client = aws_client(aws.url)
    plain = site.add("plain", store=named(AwsStore(client), "plain"), verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[plain.project])
    pair(site, named(AwsStore(client), "pair"))
    with only(aws, allowed("rotate")) as made:
        live(site, plain)
    assert made == allowed("rotate")


def test_secret_that_is_missing_is_made_with_the_further_policy(
    site: Site, aws: StrictSecretsManager
) -> None:
    """With `create: true` the first rotation needs exactly the one action of create.json beside the others."""
    store = named(AwsStore(aws_client(aws.url)), "new")
    entry = site.add(store=store)
    aws.secrets.clear()
    store.spec["create"] = True
    site.write_policies()
    with only(aws, allowed("rotate")):
        assert site.rotate("billing").code == 2
    with only(aws, allowed("rotate") | allowed("create")) as made:
        well(site.rotate("billing"))
    assert made - allowed("rotate") == allowed("create")
    assert entry.simulator.is_alive(Secret(json.loads(store.content() or "")["token"]))


def test_iam_documents_say_the_same_as_the_guide() -> None:
    """Actions of deploy/iam, and the KMS condition, are those of the chapter that sets AWS up from nothing."""
    guide = (DEPLOY.parent / "policies" / "README.md").read_text(encoding="utf-8")
    for name in ("rotate", "kms", "create"):
        for action in allowed(name):
            assert f'"{action}"' in guide
    found = set(re.findall(r'"((?:secretsmanager|kms):[A-Z]\w+)"', guide))
    assert found - {"secretsmanager:Name", "kms:ViaService"} == {
        *allowed("rotate"),
        *allowed("kms"),
        *allowed("create"),
    }


def test_iam_resource_is_the_secrets_of_its_name_pattern() -> None:
    """`*` and `?` as IAM reads them: the secrets of the shipped pattern, with AWS's six characters, and no others."""
    document = json.loads((DEPLOY / "iam" / "rotate.json").read_text(encoding="utf-8"))
    (statement,) = document["Statement"]
    pattern = re.escape(statement["Resource"]).replace(r"\*", ".*").replace(r"\?", ".")
    account = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:"
    assert re.fullmatch(pattern, f"{account}prod/billing/lettermint-a1B2c3")
    for other in (
        "prod/billing/lettermint",
        "prod/billing/database-a1B2c3",
        "test/billing/lettermint-a1B2c3",
    ):
        assert not re.fullmatch(pattern, account + other)


# --- Vault ----------------------------------------------------------------------------------------

Rules = dict[str, set[str]]


def vault_rules() -> Rules:
    text = (DEPLOY / "vault" / "rotator.hcl").read_text(encoding="utf-8")
    found = re.findall(r'^path "([^"]+)" {\n  capabilities = (\[[^\]]*\])\n}$', text, re.MULTILINE)
    assert len(found) == text.count("\npath ")
    return {path: set(json.loads(listed)) for path, listed in found}


def as_rules(used: Iterable[tuple[str, str]]) -> Rules:
    """What was made use of, with the name of the secret as the pattern that policies have for it."""
    found: Rules = {}
    for path, capability in used:
        found.setdefault(re.sub(r"/prod/[^/]+/", "/prod/+/", path), set()).add(capability)
    return found


def test_vault_policy_is_what_rotations_use(site: Site, vault: RecordingVault) -> None:
    """All that commands do in Vault goes through with it, and makes use of every capability in it."""
    site.environment["VAULT_TOKEN"] = vault.token(vault_rules())
    plain = site.add("plain", store=named(VaultStore(vault), "plain"), verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[plain.project])
    pair(site, named(VaultStore(vault), "pair"))
    # As a preflight leaves it that is killed in the middle: the one thing that "update" beside a secret is for.
    left = {"rotator": "probe", "version": "", "rotation": "", "base": None, "document": {"padding": "0"}}
    vault.write("secret", "prod/plain/lettermint/rotator-pending", left)
    live(site, plain)
    assert as_rules(vault.used) == vault_rules()
    assert vault.paths("secret") == ["prod/pair/lettermint", "prod/plain/lettermint"]


def test_vault_secret_that_is_missing_needs_what_the_comment_says(site: Site, vault: RecordingVault) -> None:
    """`create: true` needs "create" on the secret itself, and nothing else."""
    store = named(VaultStore(vault), "new")
    site.add(store=store)
    vault.call("DELETE", "secret/metadata/prod/new/lettermint")
    store.spec["create"] = True
    site.write_policies()
    rules = vault_rules()
    site.environment["VAULT_TOKEN"] = vault.token(rules)
    assert site.rotate("billing").code == 2
    rules["secret/data/prod/+/lettermint"].add("create")
    site.environment["VAULT_TOKEN"] = vault.token(rules)
    well(site.rotate("billing"))


# --- Lettermint -----------------------------------------------------------------------------------

HELD = "write:projects"


def table() -> dict[str, set[str]]:
    """deploy/README's list of abilities, by what they are for."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    rows = text.split("\n### The team token\n", 1)[1].split("\n#", 1)[0]
    return {
        cells[0]: set(re.findall(r"`(\w+:\w+)`", cells[1]))
        for row in re.findall(r"^\| (.+) \|$", rows, re.MULTILINE)[2:]
        if (cells := row.split(" | "))
    }


def used(site: Site, since: int) -> set[str]:
    """Abilities that calls with the team token made use of; a write includes the read of the same."""
    events = [one for one in site.simulator.events if one.seq > since and one.executed]
    found = {ability for one in events if (ability := ABILITY.get(one.call))}
    return {one for one in found if one.replace("read:", "write:") not in found - {one}}


def hold(site: Site, abilities: set[str]) -> int:
    """Gives the commands a token with these abilities alone; the number of the last event before it."""
    token = site.simulator.add_team_token(team=site.team_token, abilities=abilities)
    site.environment["LETTERMINT_TEAM_TOKEN"] = token.reveal()
    return len(site.simulator.events)


@pytest.fixture
def two(site: Site) -> Entry:
    """A policy with two projects."""
    return pair(site, FileStore(site.folder / "store" / "pair.json"))


def rows(*numbers: int) -> set[str]:
    """What the rows of the table allow together; a write needs no read beside it."""
    every = list(table().values())
    found = set().union(*(every[number] for number in numbers))
    return {one for one in found if one.replace("read:", "write:") not in found - {one}}


EVERY, SEND, TWO, PREPARE = range(4)


def test_table_of_abilities_is_in_the_order_that_the_tests_read_it() -> None:
    """Rotation, test send, two projects, the preparation of the second one."""
    words = ("every rotation", "send", "standby.project", "--prepare-standby")
    assert [word in row for word, row in zip(words, table(), strict=True)] == [True] * 4


def test_abilities_of_a_rotation(site: Site) -> None:
    """In place, with a ping: one ability, and its calls need no other; `doctor` finds nothing else missing."""
    site.add("plain")
    since = hold(site, rows(EVERY))
    well(site.rotate("plain"))
    well(site.run("status", "--refresh", "-o", "json"))
    assert used(site, since) == rows(EVERY)
    well(site.run("doctor", "-o", "json"))
    hold(site, {"read:projects"})
    assert site.rotate("plain").code == 2


def test_abilities_of_a_test_send(site: Site) -> None:
    """Whose token a test send used is shown with two further abilities, and they are called for nothing else."""
    plain = site.add("plain", verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[plain.project])
    since = hold(site, rows(EVERY, SEND))
    well(site.rotate("plain"))
    assert used(site, since) == rows(EVERY, SEND)


def test_abilities_of_two_projects(site: Site, two: Entry) -> None:
    """The two are compared before each mint; without either ability nothing is minted."""
    since = hold(site, rows(EVERY, SEND, TWO))
    well(site.run("rotate", "pair", "--yes", "--no-wait", "-o", "json"))
    finish(site)
    assert used(site, since) == rows(EVERY, SEND, TWO)
    mints = two.mints
    for missing in rows(TWO):
        hold(site, rows(EVERY, SEND, TWO) - {missing})
        assert site.run("rotate", "pair", "--yes", "--no-wait", "-o", "json").code == 2
    assert two.mints == mints


def bare(site: Site) -> tuple[str, ...]:
    """The command that has something to do: a second project without a domain and without a route."""
    second, _ = site.simulator.add_project("bare", team=site.team_token, initial_routes="transactional")
    entry = site.add("pair", strategy="create-before-revoke", standby={"project": second}, drain=SHORT)
    site.simulator.add_domain(team=site.team_token, projects=[entry.project])
    return ("doctor", "--prepare-standby", "pair", "--yes", "-o", "json")


def test_abilities_of_the_preparation(site: Site) -> None:
    """Domains and routes of the second project are made like the first one's with two write abilities."""
    prepare = bare(site)
    since = hold(site, rows(EVERY, TWO, PREPARE))
    well(site.run(*prepare))
    assert used(site, since) - {"read:projects"} == rows(PREPARE)


@pytest.mark.parametrize("missing", ["write:domains", "write:routes"])
def test_preparation_needs_both_abilities(site: Site, missing: str) -> None:
    """With the read alone of either, the command says that it may not."""
    prepare = bare(site)
    hold(site, rows(EVERY, TWO, PREPARE) - {missing} | {missing.replace("write:", "read:")})
    assert site.run(*prepare).code == 2


# --- Terraform ------------------------------------------------------------------------------------


def evaluated(name: str, folder: Path, variables: dict[str, Any], **expressions: str) -> dict[str, Any]:
    """Expressions as Terraform evaluates them in the example, its providers' blocks left out."""
    terraform = need("terraform", "the Terraform examples were", "HashiCorp's own packages have it")
    shutil.copytree(DEPLOY, folder / "deploy")
    place = folder / "deploy" / "terraform" / name
    text = (place / "main.tf").read_text(encoding="utf-8")
    bare = re.sub(r"^(?:terraform|resource|data|output) .*?^}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    outputs = "".join(f'output "{key}" {{\n  value = {value}\n}}\n' for key, value in expressions.items())
    (place / "main.tf").write_text(bare + outputs, encoding="utf-8")
    given = place / "terraform.tfvars.json"
    given.write_text(json.dumps(variables), encoding="utf-8")
    done(terraform, f"-chdir={place}", "init", "-no-color")
    done(terraform, f"-chdir={place}", "apply", "-auto-approve", "-no-color")
    found = json.loads(done(terraform, f"-chdir={place}", "output", "-json"))
    return {key: one["value"] for key, one in found.items()}


@pytest.mark.parametrize("name", ["aws", "vault"])
def test_terraform_examples_are_formatted(name: str) -> None:
    """They parse, and look as `terraform fmt` has them."""
    done(
        need("terraform", "the Terraform examples were", "HashiCorp's own packages have it"),
        "fmt",
        "-check",
        DEPLOY / "terraform" / name,
    )


def test_terraform_allows_what_the_iam_policy_does(tmp_path: Path) -> None:
    """Its statements take their actions from deploy/iam, and its trust the cluster's issuer from the provider's ARN."""
    issuer = "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
    variables = {
        "secret_arns": [
            "arn:aws:secretsmanager:eu-central-1:111122223333:secret:prod/billing/lettermint-??????"
        ],
        "region": "eu-central-1",
        "oidc_provider_arn": f"arn:aws:iam::111122223333:oidc-provider/{issuer}",
    }
    found = evaluated(
        *("aws", tmp_path, variables),
        rotate="local.rotate.Action",
        kms="local.kms.Action",
        issuer="local.issuer",
        irsa="local.irsa",
    )
    assert set(found["rotate"]) == allowed("rotate")
    assert set(found["kms"]) == allowed("kms")
    assert (found["issuer"], found["irsa"]) == (issuer, True)
    text = (DEPLOY / "terraform" / "aws" / "main.tf").read_text(encoding="utf-8")
    assert "actions   = local.rotate.Action" in text
    assert "actions   = local.kms.Action" in text


def test_terraform_makes_the_vault_policy_for_another_place(tmp_path: Path) -> None:
    """Mount and path are replaced in every rule, and nothing else is."""
    variables = {"mount": "kv", "path": "team-a/+/mail"}
    text = evaluated("vault", tmp_path, variables, policy="local.policy")["policy"]
    expected = (DEPLOY / "vault" / "rotator.hcl").read_text(encoding="utf-8")
    expected = expected.replace('path "secret/', 'path "kv/').replace("prod/+/lettermint", "team-a/+/mail")
    assert text == expected
    assert "policy = local.policy" in (DEPLOY / "terraform" / "vault" / "main.tf").read_text(encoding="utf-8")
