"""`rotator doctor` finds what is wrong, names what to change, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rotator.journal.base import Hold
from rotator.journal.sqlite import SqliteJournal
from tests.acceptance.checkup import assert_found, examine
from tests.acceptance.conftest import VAULT_RULES
from tests.acceptance.disks import Disk, small_disk
from tests.acceptance.moments import MINTED
from tests.acceptance.site import PING_AND_SEND, SENDER, AwsStore, Entry, FileStore, Site, VaultStore
from tests.conftest import FakeClock
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault
from tests.leaks.search import leaks

TEAM = "LETTERMINT_TEAM_TOKEN"
UNKNOWN_TEAM_TOKEN = "lm_team_" + "Zy9" * 12


@pytest.fixture(autouse=True)
def documented_limit(site: Site) -> None:
    """So that no warning is about the many mints that other tests allow themselves."""
    site.environment["ROTATOR_ROTATE_LIMIT"] = "10"


@pytest.fixture
def secret(site: Site, strict_store: AwsStore, moto_url: str) -> AwsStore:
    """A secret in the strict fake; moto's STS says who we are."""
    site.environment["AWS_ENDPOINT_URL_STS"] = moto_url
    return strict_store


@pytest.fixture
def begun(site: Site) -> Entry:
    """A policy that was rotated once, so that journal, key and log have begun."""
    entry = site.add()
    assert site.rotate("billing").code == 0
    return entry


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with small_disk(tmp_path_factory.mktemp("mounted") / "disk") as made:
        yield made


def limited(site: Site, *abilities: str) -> None:
    token = site.simulator.add_team_token(team=site.team_token, abilities=abilities)
    site.environment[TEAM] = token.reveal()


def state(site: Site) -> Path:
    return site.folder / "state"


# --- nothing is wrong ---------------------------------------------------------------------------


def test_all_is_well(site: Site, secret: AwsStore) -> None:
    """After a first rotation everything is ok but the one ability that only a rotation shows, and that nothing is
    rehearsed; exit 0."""
    billing = site.add(store=secret, verify=PING_AND_SEND)
    other = FileStore(site.folder / "store" / "second.json")
    other.write("{}")
    billing.document["destinations"].append(other.spec)
    site.write_policies()
    site.simulator.add_domain(team=site.team_token, projects=[billing.project])
    assert site.rotate("billing").code == 0
    seen = examine(site)
    assert seen.code == 0
    unwell = [one for one in seen.checks if one["result"] != "ok"]
    assert [(one["result"], one["check"], one["subject"]) for one in unwell] == [
        ("unknown", "provider.ability", "write:projects"),
        ("skipped", "rehearsal", ""),
    ]
    identities = {one["store"]: one["identity"] for one in seen.report["identities"]}
    assert list(identities) == ["lettermint", "aws-secrets-manager (eu-central-1)", "file"]
    assert identities["lettermint"].startswith("team ")
    assert identities["aws-secrets-manager (eu-central-1)"].startswith("arn:aws:sts::")
    assert f"uid {os.geteuid()}" in identities["file"]
    names = {one["check"] for one in seen.checks}
    assert names >= {"journal.write", "audit.write", "audit.chain", "provider.clock", "destination.agrees"}
    assert {one["subject"] for one in seen.of("provider.ability")} == {
        "read:projects",
        "write:projects",
        "read:messages",
        "read:routes",
    }
    assert "this project's" in seen.of("verify", "send")[0]["detail"]


def test_before_the_first_rotation_nothing_is_made(site: Site) -> None:
    """No journal, key or log is made; it says that the first rotation makes them, and where."""
    site.add()
    before = site.files()
    seen = examine(site)
    assert (seen.code, seen.failed, seen.warned) == (0, set(), set())
    assert site.files() == before
    for name in ("journal", "audit.key", "audit.write"):
        (check,) = seen.of(name)
        assert "first rotation makes" in check["detail"]
        assert str(state(site)) in check["detail"]


def test_readers_versions_and_rotations_stay_as_they_are(
    site: Site, secret: AwsStore, strict: StrictSecretsManager
) -> None:
    """What consumers read, the current version and the journal's rotations are the same, and nothing is minted."""
    billing = site.add(store=secret, verify=PING_AND_SEND)
    crew = site.add("crew")
    site.simulator.add_domain(team=site.team_token, projects=[billing.project])
    assert site.rotate().code == 0
    mail = len(site.simulator.sends(billing.project))

    def truth() -> tuple[object, ...]:
        history = site.run("history", "-o", "json").output
        holder = strict.labels(secret.name)["AWSCURRENT"]
        files = sorted(path.name for path in (site.folder / "store").iterdir())
        return secret.content(), holder, crew.store.content(), files, history, billing.mints, crew.mints

    before = truth()
    assert examine(site).code == 0
    assert examine(site, "billing").code == 0
    assert truth() == before
    # The one thing it may send is the test message that the policy verifies by, each under a key of its own.
    assert len(site.simulator.sends(billing.project)) == mail + 2
    assert site.audit_holds()
    audited = [json.loads(line)["event"] for line in (state(site) / "audit.jsonl").read_bytes().splitlines()]
    ours = audited[audited.index("rotation.close") + 1 :]
    assert {"destination.probe.intent", "destination.probe.outcome", "token.verify.intent"} <= set(ours)


def test_nothing_secret_is_said(site: Site, secret: AwsStore) -> None:
    """No token stands in the report, on standard error or in the audit log, whatever was found."""
    site.environment["ROTATOR_LOG_LEVEL"] = "debug"
    billing = site.add(store=secret, verify=PING_AND_SEND)
    crew = site.add("crew")
    assert site.rotate("crew").code == 0
    crew.seed("PGPASSWORD=of-the-database")
    site.simulator.revoke(billing.first)
    ended = site.run("doctor", "-o", "json")
    table = site.run("doctor", "-o", "table")
    places = {
        "report": ended.output.encode(),
        "errors": ended.errors.encode(),
        "table": table.output.encode(),
        "table's errors": table.errors.encode(),
        "audit": (state(site) / "audit.jsonl").read_bytes(),
    }
    issued = [token.reveal() for token in site.simulator.issued()]
    assert leaks([*issued, "of-the-database"], places) == []


# --- the provider ---------------------------------------------------------------------------------


def test_a_team_token_that_is_refused(site: Site) -> None:
    """Names the variable; what needs no team token is checked all the same."""
    site.add()
    site.environment[TEAM] = UNKNOWN_TEAM_TOKEN
    seen = examine(site)
    assert_found(seen, "provider.token", code=2, detail=("401",), hint=(TEAM,))
    assert seen.results("project") == ["skipped"]
    assert seen.results("destination.write") == ["ok"]
    assert seen.results("verify") == ["ok"]


def test_no_team_token(site: Site) -> None:
    """The settings stand without one; the check says which variables it may come from."""
    site.add()
    site.environment[TEAM] = ""
    seen = examine(site)
    assert_found(seen, "provider.token", code=2, detail=("not set",), hint=(TEAM, f"{TEAM}_FILE"))
    assert seen.results("destination.token") == ["ok"]


def test_a_team_token_without_projects(site: Site) -> None:
    """Without read:projects: names the ability, once."""
    site.add()
    limited(site, "read:domains")
    seen = examine(site)
    assert_found(seen, "provider.ability", code=2, detail=("403",), hint=("write:projects", "read:projects"))
    assert seen.results("project") == ["skipped"]


def test_a_team_token_that_cannot_show_whose_token_it_is(site: Site) -> None:
    """Without read:messages and read:routes a send still verifies: warnings that name the abilities."""
    billing = site.add(verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[billing.project])
    limited(site, "write:projects")
    seen = examine(site)
    assert_found(seen, "provider.ability", code=0, hint=("read:messages", "read:routes"))
    assert seen.results("verify", "send") == ["ok"]
    assert seen.report["identities"][0]["identity"] == "a team token whose team it may not tell"


def test_a_project_of_another_team(site: Site) -> None:
    """A project the team token does not see: says to check the id and the team."""
    stranger = site.simulator.add_team("Stranger")
    site.add(project=site.simulator.add_project(team=stranger))
    seen = examine(site)
    assert_found(seen, "project", code=1, detail=("404",), hint=("Check the id", "team"))


def test_a_provider_that_is_not_there(site: Site, dead_port: int) -> None:
    """A dead port: exit 6, with the address that is set; stores are checked all the same."""
    site.add()
    site.environment["LETTERMINT_API_URL"] = f"http://127.0.0.1:{dead_port}/v1"
    seen = examine(site)
    hint = ("LETTERMINT_API_URL", str(dead_port))
    assert_found(seen, "provider.reach", code=6, detail=("refused",), hint=hint)
    assert seen.results("verify") == ["skipped"]
    assert seen.results("destination.read") == ["ok"]
    assert seen.results("destination.write") == ["ok"]


def test_an_address_that_is_not_the_api(site: Site) -> None:
    """A path that the API does not have: the setting is wrong, exit 2, and an example is given."""
    site.add()
    site.environment["LETTERMINT_API_URL"] = site.simulator.url.removesuffix("/v1") + "/api"
    seen = examine(site)
    hint = ("LETTERMINT_API_URL", "https://api.lettermint.co/v1")
    assert_found(seen, "provider.reach", code=2, detail=("not Lettermint's API", "404"), hint=hint)


@pytest.mark.parametrize(
    ("seconds", "code", "words"),
    [(400, 2, "s ahead of Lettermint's"), (-400, 2, "s behind Lettermint's"), (100, 0, "s ahead of")],
)
def test_a_clock_that_is_wrong(site: Site, seconds: int, code: int, words: str) -> None:
    """Somewhat wrong is a warning, very wrong a failure; says which way, and why it matters."""
    site.add()
    seen = examine(site, prepare={"call": "tests.acceptance.checkup:wrong_clock", "with": [seconds]})
    assert_found(seen, "provider.clock", code=code, detail=(words,), hint=("chrony", "AWS"))


# --- the stored token and the verifiers -----------------------------------------------------------


def test_a_stored_token_that_is_dead(site: Site) -> None:
    """Somebody regenerated it: exit 4, and the command that repairs it."""
    billing = site.add()
    site.simulator.regenerate(billing.project)
    seen = examine(site)
    assert_found(seen, "destination.token", code=4, detail=("401",), hint=("rotator rotate billing",))
    assert seen.results("verify") == ["skipped"]


def test_a_dead_token_that_the_policy_lets_repair(site: Site) -> None:
    """With `on_out_of_band: rotate` it is a warning: the next run repairs it."""
    billing = site.add(on_out_of_band="rotate")
    site.simulator.regenerate(billing.project)
    assert_found(examine(site), "destination.token", code=0, hint=("rotator run",))


def test_a_sender_whose_domain_is_not_verified(site: Site) -> None:
    """The test send is refused: names the address whose domain to verify."""
    site.add(verify=({"type": "send", "from": "nobody@elsewhere.example"},))
    seen = examine(site)
    hint = ("nobody@elsewhere.example", "Verify the domain", "attach it")
    assert_found(seen, "verify", code=1, detail=("422",), hint=hint, subject="send")


def test_a_token_of_another_project(site: Site) -> None:
    """A test send shows whose token is stored: says to correct project or destination."""
    other, foreign = site.simulator.add_project("Other", team=site.team_token)
    billing = site.add(verify=({"type": "send", "from": SENDER},))
    site.simulator.add_domain(team=site.team_token, projects=[billing.project, other])
    billing.seed(foreign)
    assert_found(
        examine(site), "verify", code=1, detail=(other, billing.project), hint=("Correct `project`",)
    )


def test_smtp_that_is_switched_off(site: Site) -> None:
    """`{type: smtp}` at a project without SMTP: says where to switch it on, and asks no relay."""
    site.add(verify=({"type": "smtp"},))
    seen = examine(site)
    assert_found(seen, "verify", code=1, detail=("smtp_enabled",), hint=("Switch SMTP on", "`verify`"))


# --- AWS ------------------------------------------------------------------------------------------


def _deny(action: str) -> Callable[[StrictSecretsManager, AwsStore], None]:
    return lambda strict, _: strict.denied.add(action)


def _natively_rotated(strict: StrictSecretsManager, secret: AwsStore) -> None:
    strict.secrets[secret.name].rotation_enabled = True


def _kms(strict: StrictSecretsManager, _: AwsStore) -> None:
    strict.kms_error = "DecryptionFailure"


def _deleted(_: StrictSecretsManager, secret: AwsStore) -> None:
    secret.client.delete_secret(SecretId=secret.name)


def _missing(strict: StrictSecretsManager, secret: AwsStore) -> None:
    del strict.secrets[secret.name]


@pytest.mark.parametrize(
    ("how", "check", "code", "hint"),
    [
        (_deny("GetSecretValue"), "destination.read", 2, "secretsmanager:GetSecretValue"),
        (_deny("PutSecretValue"), "destination.write", 2, "secretsmanager:PutSecretValue"),
        (
            _deny("UpdateSecretVersionStage"),
            "destination.write",
            2,
            "secretsmanager:UpdateSecretVersionStage",
        ),
        (_deny("DescribeSecret"), "destination.write", 2, "secretsmanager:DescribeSecret"),
        (_natively_rotated, "destination.write", 1, "cancel-rotate-secret"),
        (_kms, "destination.read", 1, "Check that the key exists, is enabled"),
        (_deleted, "destination.read", 1, "restore-secret"),
        (_missing, "destination.read", 1, "create: true"),
    ],
    ids=["no read", "no write", "no relabel", "no describe", "native rotation", "KMS", "deleted", "missing"],
)
def test_a_secret_at_aws(
    site: Site,
    secret: AwsStore,
    strict: StrictSecretsManager,
    how: Callable[[StrictSecretsManager, AwsStore], None],
    check: str,
    code: int,
    hint: str,
) -> None:
    """Each thing that keeps a rotation from a secret fails one check that names the permission or command."""
    site.add(store=secret)
    how(strict, secret)
    seen = examine(site)
    assert_found(seen, check, code=code, detail=(secret.name,), hint=(hint,))
    if check == "destination.read":
        assert seen.results("destination.write") == ["skipped"]
        assert seen.results("project") == ["ok"]


def test_credentials_that_aws_refuses(site: Site, secret: AwsStore, strict: StrictSecretsManager) -> None:
    """A key id that AWS does not know: says to look at credentials and clock."""
    site.add(store=secret)
    site.environment["AWS_ACCESS_KEY_ID"] = "unknown"
    strict.bad_keys["unknown"] = "UnrecognizedClientException"
    assert_found(examine(site), "destination.read", code=2, hint=("AWS credentials", "clock"))


def test_one_store_that_is_not_there(site: Site, secret: AwsStore, dead_port: int) -> None:
    """One dead endpoint fails one check; the other policy is checked as if nothing were."""
    site.add(store=secret)
    site.add("crew")
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = f"http://127.0.0.1:{dead_port}"
    seen = examine(site)
    assert_found(seen, "destination.read", code=6, hint=("network", "VPC endpoint"), subject="AWS secret")
    crew = {one["check"]: one["result"] for one in seen.checks if one["policy"] == "crew"}
    assert crew.pop("rehearsal") == "skipped"
    assert set(crew.values()) == {"ok"}


def test_a_secret_that_is_to_be_made_is_not_made(
    site: Site, secret: AwsStore, strict: StrictSecretsManager
) -> None:
    """With `create: true` a missing secret stays missing: readers would see it."""
    entry = site.add(store=secret)
    entry.document["destinations"][0]["create"] = True
    site.write_policies()
    del strict.secrets[secret.name]
    seen = examine(site)
    assert seen.code == 0
    assert seen.results("destination.write") == ["unknown"]
    assert strict.secrets == {}


def test_an_identity_that_cannot_be_had(site: Site, secret: AwsStore, dead_port: int) -> None:
    """Without STS nothing fails, because no rotation needs it; it says what could not be asked."""
    site.add(store=secret)
    site.environment["AWS_ENDPOINT_URL_STS"] = f"http://127.0.0.1:{dead_port}"
    seen = examine(site)
    assert seen.code == 0
    (check,) = seen.of("identity")
    assert check["result"] == "unknown"
    assert "sts:GetCallerIdentity" in check["detail"]


# --- Vault ----------------------------------------------------------------------------------------


@pytest.fixture
def kept(site: Site, vault: StrictVault) -> VaultStore:
    """A secret in the strict fake of Vault."""
    return VaultStore(vault)


def _allowed(**changes: set[str]) -> Callable[[Site, StrictVault], None]:
    """A Vault token whose policy differs: capabilities by `data`, `metadata`."""

    def change(site: Site, vault: StrictVault) -> None:
        rules = {f"secret/{kind}/prod/*": capabilities for kind, capabilities in changes.items()}
        site.environment["VAULT_TOKEN"] = vault.token({**VAULT_RULES, **rules})

    return change


def _expired(site: Site, vault: StrictVault) -> None:
    vault.expire(site.environment["VAULT_TOKEN"])


def _no_token(site: Site, _: StrictVault) -> None:
    site.environment["VAULT_TOKEN"] = ""


def _nowhere(site: Site, _: StrictVault) -> None:
    site.environment["VAULT_ADDR"] = ""


def _other_namespace(site: Site, _: StrictVault) -> None:
    site.environment["VAULT_NAMESPACE"] = "elsewhere"


@pytest.mark.parametrize(
    ("how", "check", "code", "hint"),
    [
        (lambda _, vault: vault.seal(), "destination.read", 6, ("vault operator unseal",)),
        (lambda _, vault: vault.standby(None), "destination.read", 6, ("cluster",)),
        (_allowed(data={"create", "update"}), "destination.read", 2, ("secret/data/prod/", '"read"')),
        (
            _allowed(data={"read"}),
            "destination.write",
            2,
            ("secret/data/prod/", '"create", "read", "update"'),
        ),
        (
            _allowed(metadata={"read"}),
            "destination.write",
            2,
            ("secret/metadata/prod/", "rotator-pending", '"delete"'),
        ),
        (_expired, "destination.read", 2, ("VAULT_TOKEN",)),
        (_no_token, "destination.read", 2, ("ROTATOR_VAULT_AUTH",)),
        (_nowhere, "destination.read", 2, ("vault-kv need this",)),
        (_other_namespace, "destination.read", 1, ("VAULT_NAMESPACE",)),
    ],
    ids=[
        "sealed",
        "no active node",
        "no read",
        "no write",
        "no delete beside it",
        "dead token",
        "no token",
        "no address",
        "wrong namespace",
    ],
)
def test_a_secret_in_vault(
    site: Site,
    vault: StrictVault,
    kept: VaultStore,
    how: Callable[[Site, StrictVault], None],
    check: str,
    code: int,
    hint: tuple[str, ...],
) -> None:
    """Each thing that keeps a rotation from Vault fails one check that names path and capability, or setting."""
    site.add(store=kept)
    how(site, vault)
    seen = examine(site)
    assert_found(seen, check, code=code, hint=hint)
    assert seen.results("project") == ["ok"]
    unset = [name for name in ("VAULT_ADDR", "VAULT_TOKEN") if not site.environment[name]]
    assert all(name in seen.of("destination.read")[0]["detail"] for name in unset)


@pytest.mark.parametrize(
    ("mount", "words"),
    [("old", ("not KV version 2",)), ("gone", ("nothing is mounted there",))],
    ids=["version 1", "none"],
)
def test_a_mount_that_is_not_kv_version_2(
    site: Site, vault: StrictVault, kept: VaultStore, mount: str, words: tuple[str, ...]
) -> None:
    """An engine of version 1, or none at all: says to look at `mount`."""
    vault.mount("old", version=1)
    entry = site.add(store=kept)
    entry.document["destinations"][0]["mount"] = mount
    site.write_policies()
    site.environment["VAULT_TOKEN"] = vault.root
    assert_found(examine(site), "destination.read", code=1, detail=words, hint=("`mount`",))


def test_vault_and_a_look(site: Site, vault: StrictVault, kept: VaultStore) -> None:
    """All is well: says as whom, and neither a version nor anything beside the secret is left behind."""
    site.add(store=kept)
    before = (vault.raw_versions("secret", kept.path), vault.paths("secret"))
    seen = examine(site)
    assert (seen.code, seen.failed, seen.warned) == (0, set(), set())
    (identity,) = [one["identity"] for one in seen.report["identities"] if one["store"] == "vault-kv"]
    assert "polic" in identity
    assert site.environment["VAULT_TOKEN"] not in seen.ended.output + seen.ended.errors
    assert (vault.raw_versions("secret", kept.path), vault.paths("secret")) == before


# --- files ----------------------------------------------------------------------------------------


def test_a_value_that_is_not_ours(site: Site) -> None:
    """Something else in the field is left alone, not probed and not shown; names `key` and `overwrite`."""
    billing = site.add()
    billing.seed("PGPASSWORD")
    seen = examine(site)
    assert_found(seen, "destination.ours", code=1, hint=("`key`", "overwrite: true"))
    assert seen.results("destination.write") == ["skipped"]
    assert "PGPASSWORD" not in seen.ended.output + seen.ended.errors


def test_a_secret_that_is_no_json(site: Site) -> None:
    """A field is asked for where there is no JSON object."""
    billing = site.add()
    billing.store.write("TOKEN=x")
    assert_found(examine(site), "destination.read", code=1, detail=("JSON",), hint=("",))


def test_a_folder_that_is_not_there(site: Site) -> None:
    """A file in a folder that nobody made: says to make it."""
    billing = site.add()
    billing.document["destinations"] = [{"type": "file", "path": str(site.folder / "gone" / "token")}]
    site.write_policies()
    assert_found(examine(site), "destination.write", code=1, detail=("does not exist",), hint=("Make it",))


def test_a_file_on_a_read_only_disk(site: Site, disk: Disk) -> None:
    """Reading works and writing does not: found without touching the file."""
    site.add(store=FileStore(disk.path / "store" / "billing.json"))
    disk.read_only()
    assert_found(examine(site), "destination.write", code=1, hint=("Mount it writable",))


def test_folders_that_this_user_may_not_write(site: Site) -> None:
    """Names the folder of the file; before the first rotation also those of the journal and the audit log."""
    entry = site.add()
    assert isinstance(entry.store, FileStore)
    folders = (entry.store.path.parent, site.folder)
    for folder in folders:
        folder.chmod(0o500)
    seen = examine(site, prepare={"call": "tests.acceptance.checkup:without_privilege"})
    for folder in folders:
        folder.chmod(0o700)
    assert seen.failed == {"destination.write", "journal", "audit.write"}
    for check, words in (
        ("destination.write", ("right to write in the folder",)),
        ("journal", ("ROTATOR_JOURNAL", str(site.folder))),
        ("audit.write", ("ROTATOR_AUDIT_LOG", str(site.folder))),
    ):
        assert_found(seen, check, code=3, hint=words, only=False)


def test_destinations_that_disagree(site: Site) -> None:
    """A second place, restored from a backup, holds the former token: exit 4 and the command that mends it."""
    billing = site.add()
    second = FileStore(site.folder / "store" / "second.json")
    second.write(json.dumps({"token": billing.first.reveal()}))
    billing.document["destinations"].append(second.spec)
    site.write_policies()
    assert site.rotate("billing").code == 0
    second.write(json.dumps({"token": billing.first.reveal()}))
    seen = examine(site)
    hint = ("rotator run", "rotator reconcile billing")
    assert_found(seen, "destination.agrees", code=4, detail=("dead",), hint=hint, subject="second.json")
    assert "provider.token" not in seen.warned
    second.write("{}")
    assert_found(examine(site), "destination.agrees", code=0, detail=("lacks",), hint=hint)


def test_hints_about_disagreement_promise_no_more_than_run_does(site: Site) -> None:
    """A dead token is spread by nobody, and a living one of somebody else is left in place."""
    billing = site.add()
    second = FileStore(site.folder / "store" / "second.json")
    second.write(json.dumps({"token": billing.first.reveal()}))
    billing.document["destinations"].append(second.spec)
    site.write_policies()
    assert site.rotate("billing").code == 0
    living = billing.stored
    billing.seed(billing.first)
    dead = ("not spread", "rotator rotate billing")
    assert_found(examine(site), "destination.agrees", code=4, hint=dead, only=False)
    billing.seed(living)
    second.write(json.dumps({"token": site.simulator.add_token(billing.project).reveal()}))
    assert_found(examine(site), "destination.agrees", code=1, hint=("destination.ours",), only=False)


def test_a_follower_with_a_living_token_of_somebody_else(site: Site) -> None:
    """It differs from the authoritative one and lives: not ours, so it is neither written nor probed."""
    billing = site.add()
    second = FileStore(site.folder / "store" / "second.json")
    second.write(json.dumps({"token": site.simulator.add_token(billing.project).reveal()}))
    billing.document["destinations"].append(second.spec)
    site.write_policies()
    seen = examine(site)
    hint = ("overwrite: true",)
    assert_found(seen, "destination.ours", code=1, hint=hint, subject="second.json", only=False)
    assert seen.results("destination.write", "second.json") == ["skipped"]


# --- the record -----------------------------------------------------------------------------------


def test_an_audit_log_that_was_changed(site: Site, begun: Entry) -> None:
    """A line in the middle was changed: exit 4, says which, and what to put back."""
    log = state(site) / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"policy":"billing"', b'"policy":"killing"')
    log.write_bytes(b"".join(lines))
    assert_found(examine(site), "audit.chain", code=4, detail=("line 3",), hint=("rotator audit verify",))


def test_an_audit_log_that_is_gone(site: Site, begun: Entry) -> None:
    """The journal remembers events that are no more: no new log is begun."""
    (state(site) / "audit.jsonl").unlink()
    seen = examine(site)
    hint = ("Put the file back", "ROTATOR_AUDIT_LOG")
    assert_found(seen, "audit.write", code=4, detail=("missing",), hint=hint, only=False)
    assert not (state(site) / "audit.jsonl").exists()


def test_an_audit_key_of_another_journal(site: Site, begun: Entry) -> None:
    """Another key than the journal began with: says whose it must be."""
    site.environment["ROTATOR_AUDIT_KEY"] = "7a" * 32
    seen = examine(site)
    assert_found(seen, "journal", code=2, hint=("former key",), detail=("ROTATOR_AUDIT_KEY",), only=False)
    assert seen.results("destination.write") == ["ok"]


def test_an_audit_key_that_is_gone(site: Site, begun: Entry) -> None:
    """A journal without its key: no new one is made."""
    key = state(site) / "audit.key"
    key.unlink()
    assert_found(examine(site), "audit.key", code=2, detail=("gone",), hint=("backup",))
    assert not key.exists()


@pytest.mark.parametrize("name", ["audit.key", "journal.db", "audit.jsonl"])
def test_a_file_that_everybody_may_read(site: Site, begun: Entry, name: str) -> None:
    """Key, journal and log are this user's own: a warning with the command."""
    path = state(site) / name
    path.chmod(0o644)
    check = {"audit.key": "audit.key", "journal.db": "journal", "audit.jsonl": "audit.write"}[name]
    assert_found(examine(site), check, code=0, detail=("0644",), hint=(f"chmod 0600 {path}",))
    path.chmod(0o600)
    assert examine(site).warned == set()


def test_a_journal_that_cannot_be_opened(site: Site) -> None:
    """Something else in its place: names the variable, and the rest is checked."""
    site.add()
    (state(site)).mkdir()
    (state(site) / "journal.db").write_bytes(b"not a database, but long enough to be looked at " * 4)
    (state(site) / "audit.key").write_text("5f" * 32, encoding="utf-8")
    (state(site) / "audit.key").chmod(0o600)
    seen = examine(site)
    assert_found(seen, "journal", code=2, hint=("ROTATOR_JOURNAL",))
    assert seen.results("verify") == ["ok"]


def test_a_journal_below_a_file(site: Site) -> None:
    """A place that no journal can be made at, before the first rotation."""
    site.add()
    (site.folder / "blocked").write_text("x", encoding="utf-8")
    site.environment["ROTATOR_JOURNAL"] = f"sqlite:///{site.folder}/blocked/journal.db"
    assert_found(examine(site), "journal", code=2, hint=("ROTATOR_JOURNAL",))


def test_a_full_disk(site: Site, disk: Disk) -> None:
    """Journal and log have no room: exit 6, before and after the first rotation."""
    site.add()
    site.environment["ROTATOR_JOURNAL"] = f"sqlite:///{disk.path}/journal.db"
    site.environment["ROTATOR_AUDIT_LOG"] = str(disk.path / "audit.jsonl")
    disk.fill()
    seen = examine(site)
    assert seen.failed == {"journal", "audit.write"}
    assert_found(seen, "journal", code=6, detail=("No space",), hint=("Make room",), only=False)
    disk.empty()
    assert site.rotate("billing").code == 0
    disk.fill()
    seen = examine(site)
    assert seen.code == 6
    assert seen.failed <= {"journal", "journal.write", "audit.write"}
    assert_found(seen, "journal", code=0, detail=("0 KiB left",), hint=("Free some space",), only=False)


# --- what stands, and what is written -------------------------------------------------------------


def test_what_stands_about_a_policy(site: Site, begun: Entry) -> None:
    """Attention fails with its own next command (exit 4); a hold is a warning with the command that ends it."""
    journal = SqliteJournal.open(state(site) / "journal.db", FakeClock(), create=False)
    journal.hold(Hold("billing", FakeClock().now(), "kim", "freeze"))
    journal.close()
    assert_found(examine(site), "hold", code=0, detail=("kim",), hint=("rotator release billing",))
    assert site.run("release", "billing").code == 0
    site.simulator.regenerate(begun.project)
    site.add(schedule={"every": "1s"}, project=(begun.project, begun.first)).seed(begun.first)
    time.sleep(1.1)
    assert site.run("run").code == 4
    seen = examine(site)
    assert seen.failed == {"attention", "destination.token"}
    assert_found(
        seen, "attention", code=4, detail=("token-dead",), hint=("rotator rotate billing",), only=False
    )


def test_a_rotation_that_is_unfinished(site: Site) -> None:
    """Killed after the mint: says which, and what takes it up; without its policy it is an orphan."""
    site.add()
    paused = site.start_until(MINTED, "rotate", "billing", "--yes")
    paused.child.signal(9)
    paused.child.wait()
    seen = examine(site)
    (rotation,) = seen.of("rotation")
    assert rotation["result"] == "warning"
    assert "rotator run" in rotation["hint"]
    assert seen.results("destination.token") == ["warning"]
    (site.folder / "policies" / "billing.yaml").unlink()
    site.entries.clear()
    site.add("crew")
    orphaned = examine(site)
    assert_found(
        orphaned, "rotation.orphan", code=4, hint=("Restore the policy", "rotator reconcile billing")
    )


def test_policies_that_are_wrong(site: Site) -> None:
    """Every problem is told as one finding, and what needs no policy is checked all the same."""
    site.add(verify=({"type": "telepathy"},))
    seen = examine(site)
    assert_found(seen, "policies", code=2, detail=("billing.verify[0]",), hint=("rotator validate",))
    assert seen.results("provider.token") == ["ok"]


def test_a_name_that_no_policy_has(site: Site) -> None:
    """A slip of the finger is refused before anything is asked."""
    site.add()
    ended = site.run("doctor", "biling", "-o", "json")
    assert (ended.code, ended.output) == (2, "")
    assert "did you mean billing" in ended.errors


def test_files_that_a_policy_names(site: Site) -> None:
    """Keys of notifiers and consumers are read, and nobody is called."""
    key = site.folder / "slack"
    site.add(notify=[{"type": "slack", "url_file": str(key), "on": ["failed"]}])
    assert_found(examine(site), "file", code=2, detail=("slack: url_file",), hint=(str(key),))
    key.write_text("", encoding="utf-8")
    assert_found(examine(site), "file", code=2, detail=("empty",), hint=(str(key),))
    key.write_text("https://hooks.example.com/x", encoding="utf-8")
    assert examine(site).code == 0


def test_settings_that_are_risky(site: Site) -> None:
    """Times that are close together, and more mints than the provider documents: warnings with the variable."""
    site.add()
    site.environment |= {"ROTATOR_LEASE": "3s", "ROTATOR_CALL_TIMEOUT": "2.1s"}
    site.environment["ROTATOR_ROTATE_LIMIT"] = "11"
    hint = ("ROTATOR_CALL_TIMEOUT", "ROTATOR_LEASE")
    assert_found(examine(site), "settings.lease", code=0, hint=hint, only=False)
    assert_found(examine(site), "settings.rotate-limit", code=0, hint=("ROTATOR_ROTATE_LIMIT",), only=False)
    site.environment |= {"ROTATOR_CALL_TIMEOUT": "2s", "ROTATOR_ROTATE_LIMIT": "10"}
    assert examine(site).warned == set()


def test_different_things_that_are_wrong(site: Site, secret: AwsStore, dead_port: int) -> None:
    """A wrong credential and a store that is away make exit code 3."""
    site.add(store=secret)
    site.environment[TEAM] = UNKNOWN_TEAM_TOKEN
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = f"http://127.0.0.1:{dead_port}"
    seen = examine(site)
    assert seen.failed == {"provider.token", "destination.read"}
    assert seen.code == 3
