"""The two READMEs say what is so: commands, settings, examples, and the least rights at each store."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from rotator.cli.main import application
from rotator.destinations import aws_errors
from rotator.destinations.aws_secrets_manager import AwsSecretsManagerDestination
from rotator.model import DestinationSpec
from rotator.policies.load import load_policies
from rotator.secret import Secret
from rotator.settings import resolve
from tests.acceptance.conftest import aws_client
from tests.acceptance.site import AWS_CREDENTIALS, AwsStore, Site, VaultStore
from tests.conftest import FakeClock
from tests.crash.harness import ROOT
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault

README, GUIDES = ROOT / "README.md", ROOT / "policies" / "README.md"
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (README, GUIDES)}
AWS, VAULT = "AWS Secrets Manager from nothing", "Vault or OpenBao from nothing"

Rules = dict[str, set[str]]


# --- reading the texts ----------------------------------------------------------------------------


def section(title: str) -> str:
    """One chapter of the guides."""
    return TEXTS["policies/README.md"].split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def typed(text: str) -> Iterator[str]:
    """Every command line of rotator: those to type, also behind a pipe, and those quoted in a sentence."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"[|>;]|&&", line.partition(" #")[0]):
                name, _, rest = part.strip().partition(" ")
                if name.rpartition("/")[2] == "rotator":
                    yield rest
    yield from re.findall(r"`rotator ([^`]+)`", text)


COMMANDS = sorted({(name, line) for name, text in TEXTS.items() for line in typed(text)})


def words_of(line: str) -> list[str]:
    """What a person would type for a usage line: every optional part, once."""
    return shlex.split(re.sub(r"[\[\]…]", "", line))


def parse(words: list[str]) -> None:
    """Raises what the command line raises for words it does not know. Runs nothing."""
    command = typer.main.get_command(application())
    while True:
        context = command.context_class(command, info_name="rotator")
        _, rest, _ = command.make_parser(context).parse_args(list(words))
        if not hasattr(command, "commands"):
            assert not rest, f"{rest} is nothing it takes"
            return
        if not rest:
            return
        name, *words = rest
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]


# --- commands and settings ------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "line"), COMMANDS)
def test_command_line_exists(text: str, line: str) -> None:
    """Command, flags and number of arguments of every line in the READMEs are those of the program."""
    parse(words_of(line))


def test_lines_are_found_and_wrong_ones_are_told() -> None:
    """The reader of the texts finds pipes, continuations and usage lines, and the parser refuses what is not there."""
    lines = {line for _, line in COMMANDS}
    assert {"audit search", "rotate billing-production --dry-run", "verify POLICY", "demo"} <= lines
    for wrong in ("rotate --dry", "doctors", "audit look", "demo extra"):
        with pytest.raises((AssertionError, typer.TyperException)):
            parse(words_of(wrong))


def test_table_of_commands_is_complete() -> None:
    """Each command of the program stands in README's table."""
    table = TEXTS["README.md"].split("\n## Commands\n", 1)[1].split("\n## ", 1)[0]
    root = typer.main.get_command(application())
    names = {name for name in root.commands if name != "audit"}
    names |= {f"audit {name}" for name in root.commands["audit"].commands}
    listed = {
        " ".join(words[:2] if words[0] == "audit" else words[:1])
        for row in table.splitlines()
        if row.startswith("| `")
        for span in re.findall(r"`([^`]+)`", row.split(" | ")[0])
        if (words := words_of(span.removeprefix("rotator ")))
    }
    assert listed == names


class Asked(dict[str, str]):
    """An empty environment that remembers what was looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


@pytest.fixture
def variables() -> set[str]:
    """Every variable that the settings look at."""
    environment = Asked()
    resolve({}, environment, None, stderr_is_tty=False)
    return environment.names


def test_table_of_settings_is_complete(variables: set[str]) -> None:
    """README's table has exactly the variables that the settings look at, but for the `_FILE` of each."""
    table = TEXTS["README.md"].split("\n## Settings\n", 1)[1].split("\n## ", 1)[0]
    rows = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)]
    assert sorted(listed) == sorted(name for name in variables if not name.endswith("_FILE"))


@pytest.mark.parametrize("name", TEXTS)
def test_variables_in_the_texts_are_settings(name: str, variables: set[str]) -> None:
    """No sentence and no command names a variable of ours, or of Vault, that nothing reads."""
    text = TEXTS[name].replace("ROTATOR_PENDING", "").replace("ROTATOR_PROBE", "")  # labels at AWS
    assert set(re.findall(r"\b(?:ROTATOR|LETTERMINT|VAULT)_[A-Z_]*[A-Z]\b", text)) <= variables | {
        "LETTERMINT_PROJECT_TOKEN"  # a field of a secret
    }


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link is a file of the repository, and every anchor a heading of its text."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", TEXTS[name]):
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, anchor


def policies_in(text: str) -> list[str]:
    return [block for block in blocks(text, "yaml") if block.startswith("policies:")]


@pytest.mark.parametrize(("name", "count"), [("README.md", 1), ("policies/README.md", 2)])
def test_policies_in_the_texts_are_valid(name: str, count: int, tmp_path: Path) -> None:
    """What a reader is told to save loads without a problem."""
    found = policies_in(TEXTS[name])
    assert len(found) == count
    for block in found:
        (tmp_path / "billing.yaml").write_text(block, encoding="utf-8")
        assert len(load_policies([tmp_path]).policies) == 1


def test_lines_of_the_big_numbers_name_all_who_have_some() -> None:
    """Every test module with cases that only --long tries, itself or by its folder, in one of the two lines."""
    lines = [line for line in TEXTS["README.md"].splitlines() if "pytest --long" in line]
    assert len(lines) == 2
    named = {ROOT / word for line in lines for word in line.split() if word.startswith("tests/")}
    files = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    having = {
        path
        for path, text in files.items()
        if re.search(r"\blong: bool|^@pytest\.mark\.one_in", text, re.MULTILINE)
    }
    assert len(having) > 15
    assert {str(path) for path in having if named.isdisjoint({path, *path.parents})} == set()


# --- the least rights -----------------------------------------------------------------------------


def place_in(title: str) -> dict[str, Any]:
    """The destination of a chapter's policy, as it is written."""
    (text,) = policies_in(section(title))
    (destination,) = YAML(typ="safe", pure=True).load(text)["policies"][0]["destinations"]
    return dict(destination)


@pytest.fixture
def statements() -> dict[str, Mapping[str, Any]]:
    """The statements of the IAM policy, and the two that are added where they apply, by name."""
    policy, *more = (json.loads(block) for block in blocks(section(AWS), "json"))
    assert policy["Version"] == "2012-10-17"
    return {one["Sid"]: one for one in [*policy["Statement"], *more]}


def actions(statement: Mapping[str, Any]) -> set[str]:
    allowed = statement["Action"]
    return {allowed} if isinstance(allowed, str) else set(allowed)


@pytest.fixture
def aws_place(
    strict: StrictSecretsManager, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> AwsSecretsManagerDestination:
    """The destination of the guide, with `create: true`, at an empty Secrets Manager."""
    for name, value in AWS_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", strict.url)
    written = place_in(AWS)
    spec = DestinationSpec(
        written["type"],
        f"aws:{written['secret_id']}",
        written["key"],
        create=True,
        overwrite=False,
        options={"secret_id": written["secret_id"], "region": written["region"]},
    )
    return AwsSecretsManagerDestination(spec, clock)


def test_iam_policy_has_exactly_the_calls_that_are_made(
    statements: dict[str, Mapping[str, Any]],
    strict: StrictSecretsManager,
    aws_place: AwsSecretsManagerDestination,
) -> None:
    """A destination does all it can do, its secret missing at first: each call is allowed, and none for nothing."""
    first, second = (Secret("lm_" + letter * 32) for letter in "AB")
    aws_place.preflight()
    aws_place.publish(first, rotation="r1", base=aws_place.read())
    base = aws_place.read()
    staged = aws_place.stage(second, rotation="r2", base=base)
    aws_place.discard()
    aws_place.promote(aws_place.stage(second, rotation="r2", base=base), base=base)
    assert (aws_place.read_staged(), staged.value) == (None, second)
    assert aws_place.recall(lambda value: value == first) == first
    made = {f"secretsmanager:{action}" for action, _ in strict.calls}
    assert actions(statements["RotateThisSecret"]) | actions(statements["MakeThisSecret"]) == made


def test_rotation_needs_no_other_call(
    statements: dict[str, Mapping[str, Any]], site: Site, strict: StrictSecretsManager
) -> None:
    """With every other action of Secrets Manager denied, the policy of the guide rotates."""
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = strict.url
    client = aws_client(strict.url)
    store = AwsStore(client)
    written = place_in(AWS)
    store.name, store.spec = written["secret_id"], {**written, "key": "token"}
    entry = site.add(store=store)
    allowed = {action.removeprefix("secretsmanager:") for action in actions(statements["RotateThisSecret"])}
    strict.denied |= set(client.meta.service_model.operation_names) - allowed
    ended = site.rotate("billing")
    assert ended.code == 0, ended.errors
    strict.denied.clear()
    assert entry.serves_a_living_token


def test_iam_policy_names_the_secret_of_the_guide(statements: dict[str, Mapping[str, Any]]) -> None:
    """The ARN is that of the policy's secret and region with AWS's six characters, and `create-secret` makes it."""
    written = place_in(AWS)
    name, region = written["secret_id"], written["region"]
    assert statements["RotateThisSecret"]["Resource"] == (
        f"arn:aws:secretsmanager:{region}:111122223333:secret:{name}-??????"
    )
    assert statements["MakeThisSecret"]["Condition"] == {"StringEquals": {"secretsmanager:Name": name}}
    assert region in statements["UseTheKeyOfThisSecret"]["Resource"]
    script = "".join(blocks(section(AWS), "sh"))
    assert f"create-secret --name {name} " in script
    assert f'"{written["key"]}": "%s"' in script


def test_kms_statement_is_what_an_error_asks_for(statements: dict[str, Mapping[str, Any]]) -> None:
    """The guide and the message of a denied key name the same two actions."""
    denied = aws_errors.explain(
        action="secretsmanager:PutSecretValue",
        where="AWS secret",
        code="AccessDeniedException",
        status=400,
        message="Access to KMS is not allowed",
    )
    assert set(re.findall(r"kms:\w+", denied.remedy)) == actions(statements["UseTheKeyOfThisSecret"])


def vault_rules() -> Rules:
    (text,) = blocks(section(VAULT), "hcl")
    found = re.findall(r'^path "([^"]+)" {\n  capabilities = (\[[^\]]*\])\n}$', text, re.MULTILINE)
    assert len(found) == text.count("\npath ") == text.count("capabilities")
    return {path: set(json.loads(listed)) for path, listed in found}


RULES = vault_rules()
SECRET = f"data/{place_in(VAULT)['path']}"
NOTES = f"metadata/{place_in(VAULT)['path']}"
BESIDE = f"{SECRET}/rotator-pending"
SINGLE = sorted((path, one) for path, held in RULES.items() for one in held)
NOT_ALWAYS = {(f"secret/{NOTES}", "patch"), (f"secret/{BESIDE}", "update")}


@pytest.fixture
def kept(site: Site, vault: StrictVault) -> VaultStore:
    """The secret of the guide."""
    store = VaultStore(vault)
    store.spec = place_in(VAULT)
    store.path = store.spec["path"]
    site.add(store=store)
    return store


def login(site: Site, vault: StrictVault, rules: Rules) -> None:
    site.environment["VAULT_TOKEN"] = vault.token(rules)


def without(path: str, capability: str) -> Rules:
    return {one: held - {capability} if one == path else held for one, held in RULES.items()}


def notes(vault: StrictVault) -> dict[str, str]:
    body = vault.call("GET", f"secret/{NOTES}").body or {}
    return dict(body["data"]["custom_metadata"] or {})


def leave_probe(vault: StrictVault) -> None:
    """As a preflight does that is killed in the middle."""
    left = {"rotator": "probe", "version": "", "rotation": "", "base": None, "document": {"padding": "0"}}
    vault.write("secret", f"{place_in(VAULT)['path']}/rotator-pending", left)


@pytest.mark.parametrize("leftover", [False, True])
def test_vault_policy_is_enough(site: Site, vault: StrictVault, kept: VaultStore, leftover: bool) -> None:
    """Its rules rotate, leave notes on the secret and nothing beside it, also after a killed preflight."""
    if leftover:
        leave_probe(vault)
    login(site, vault, RULES)
    ended = site.rotate("billing")
    assert ended.code == 0, ended.errors
    assert site.entries["billing"].serves_a_living_token
    assert notes(vault)["rotator-rotation"] == ended.rotations[0]["id"]
    assert vault.paths("secret") == [kept.path]


@pytest.mark.parametrize(("path", "capability"), [one for one in SINGLE if one not in NOT_ALWAYS])
def test_vault_policy_has_nothing_to_spare(
    site: Site, vault: StrictVault, kept: VaultStore, path: str, capability: str
) -> None:
    """Without any one capability the rotation is refused before the mint, and the error names path and capability."""
    login(site, vault, without(path, capability))
    ended = site.rotate("billing")
    assert ended.code == 2
    assert f'path "{path}"' in ended.output + ended.errors.replace('\\"', '"')
    assert f'"{capability}"' in ended.output + ended.errors
    assert site.entries["billing"].rotate_calls == 0


def test_vault_update_beside_is_for_what_was_left_there(
    site: Site, vault: StrictVault, kept: VaultStore
) -> None:
    """After a killed preflight its remains are overwritten, which is all that this capability is for."""
    login(site, vault, without(f"secret/{BESIDE}", "update"))
    assert site.rotate("billing").code == 0
    leave_probe(vault)
    assert site.rotate("billing").code == 2


def test_vault_notes_are_optional(site: Site, vault: StrictVault, kept: VaultStore) -> None:
    """Without the rule that the guide calls optional, only the notes are missing."""
    login(site, vault, without(f"secret/{NOTES}", "patch"))
    assert site.rotate("billing").code == 0
    assert notes(vault) == {}


def test_vault_secret_is_made_with_create_alone(site: Site, vault: StrictVault, kept: VaultStore) -> None:
    """`create: true` needs the one capability that the guide's comment names, and no other."""
    vault.call("DELETE", f"secret/{NOTES}")
    kept.spec["create"] = True
    site.write_policies()
    login(site, vault, RULES)
    assert site.rotate("billing").code == 2
    (text,) = blocks(section(VAULT), "hcl")
    assert text.startswith(
        '# The secret. Add "create" where the policy says `create: true`.\npath "secret/data/'
    )
    login(site, vault, {**RULES, f"secret/{SECRET}": RULES[f"secret/{SECRET}"] | {"create"}})
    assert site.rotate("billing").code == 0
    assert set(vault.read("secret", kept.path) or {}) == {"token"}
