"""Every row of the table of settings, and which layer wins."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from rotator.errors import InvalidInput
from rotator.secret import scrub
from rotator.settings import Settings, resolve
from rotator.settings_sources import CREDENTIALS, VARIABLES
from rotator.settings_values import Listen

TEAM = "lm_team_" + "A1" * 20
PROJECT = "lm_" + "B2" * 16


def settings_of(
    environ: Mapping[str, str] | None = None,
    *,
    flags: Mapping[str, str | None] | None = None,
    config: Path | None = None,
    tty: bool = False,
    needs: Iterable[str] = (),
) -> Settings:
    return resolve(flags or {}, environ or {}, config, stderr_is_tty=tty, needs=needs)


def refusal(environ: Mapping[str, str] | None = None, **options: Any) -> str:
    """The message of the one error that lists what is wrong."""
    with pytest.raises(InvalidInput) as raised:
        settings_of(environ, **options)
    assert raised.value.exit_code == 2
    return str(raised.value)


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "etc" / "rotator.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


# --- the table ----------------------------------------------------------------------------------


def test_the_defaults() -> None:
    """With nothing said, every setting has the default of the table."""
    found = settings_of()
    assert found.policies == Path("policies")
    assert found.journal.sqlite_path == Path(".rotator/journal.db")
    assert found.journal.shown == "sqlite:///.rotator/journal.db"
    assert found.audit_log == Path(".rotator/audit.jsonl")
    assert found.api_url == "https://api.lettermint.co/v1"
    assert found.smtp_url == "smtps://smtp.lettermint.co:465"
    assert found.rotate_limit == 3
    assert (found.lease, found.call_timeout) == (15.0, 10.0)
    assert (found.log_level, found.log_format) == ("info", "json")
    assert found.listen == Listen("127.0.0.1", 8080)
    assert (found.select, found.reason) == ((), None)
    assert found.warnings == ()
    for source in (found.audit_key, found.team_token, found.api_token):
        assert not source.configured
    vault = found.vault
    assert (vault.address, vault.auth, vault.namespace, vault.cacert, vault.role) == (
        None,
        "token",
        None,
        None,
        None,
    )
    assert not any(source.configured for source in (vault.token, vault.role_id, vault.secret_id))


ROWS: list[tuple[str, str, str, object]] = [
    ("policies", "ROTATOR_POLICIES", "/etc/policies", Path("/etc/policies")),
    ("audit_log", "ROTATOR_AUDIT_LOG", "/var/audit.jsonl", Path("/var/audit.jsonl")),
    ("api_url", "LETTERMINT_API_URL", "https://api.example.com/v2/", "https://api.example.com/v2"),
    ("smtp_url", "LETTERMINT_SMTP_URL", "smtp://relay.example.com", "smtp://relay.example.com:587"),
    ("rotate_limit", "ROTATOR_ROTATE_LIMIT", "12", 12),
    ("lease", "ROTATOR_LEASE", "2m", 120.0),
    ("call_timeout", "ROTATOR_CALL_TIMEOUT", "5s", 5.0),
    ("log_level", "ROTATOR_LOG_LEVEL", "DEBUG", "debug"),
    ("log_format", "ROTATOR_LOG_FORMAT", "console", "console"),
    ("listen", "ROTATOR_LISTEN", "0.0.0.0:9000", Listen("0.0.0.0", 9000)),
    ("grace", "ROTATOR_GRACE", "1m", 60.0),
    ("select", "ROTATOR_SELECT", "billing, checkout  mail", ("billing", "checkout", "mail")),
    ("reason", "ROTATOR_REASON", "yearly audit", "yearly audit"),
    (
        "pagerduty_url",
        "ROTATOR_PAGERDUTY_URL",
        "https://events.eu.pagerduty.com/v2/enqueue",
        "https://events.eu.pagerduty.com/v2/enqueue",
    ),
    (
        "webhook_networks",
        "ROTATOR_WEBHOOK_NETWORKS",
        "10.0.0.0/8, fd00::/8",
        (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    ),
]


@pytest.mark.parametrize(("field", "variable", "text", "value"), ROWS, ids=[row[1] for row in ROWS])
def test_each_setting_is_taken_from_flag_environment_and_file_in_this_order(
    toml: Any, field: str, variable: str, text: str, value: object
) -> None:
    """A flag beats the variable, the variable beats the file, the file beats the default; empty is unset."""
    key = next(name for name, known in VARIABLES.items() if known == variable)
    default = getattr(settings_of(), field)
    config = toml(f'{key} = "{text}"\n')
    assert default != value
    assert getattr(settings_of(flags={key: text}), field) == value
    assert getattr(settings_of({variable: text}), field) == value
    assert getattr(settings_of(config=config), field) == value
    # The lower layers say something else each time, and it does not matter that it is wrong.
    wrong = "/wrong" if isinstance(value, Path) else "wrong"
    assert (
        getattr(settings_of({variable: wrong}, flags={key: text}, config=toml(f'{key} = "{wrong}"')), field)
        == value
    )
    assert (
        getattr(settings_of({variable: text}, flags={key: None}, config=toml(f'{key} = "{wrong}"')), field)
        == value
    )
    assert (
        getattr(settings_of({variable: ""}, flags={key: ""}, config=toml(f'{key} = "{text}"')), field)
        == value
    )
    assert (
        getattr(settings_of({variable: " "}, flags={key: ""}, config=toml(f'{key} = ""')), field) == default
    )


def test_no_row_is_forgotten() -> None:
    """Every setting that is no credential is among the rows above or has tests of its own."""
    assert set(VARIABLES.values()) - {row[1] for row in ROWS} == {
        "ROTATOR_JOURNAL",
        "ROTATOR_VAULT_AUTH",
        "ROTATOR_VAULT_AUTH_MOUNT",
    }


@pytest.mark.parametrize(("tty", "expected"), [(True, "console"), (False, "json")])
def test_the_log_format_follows_standard_error(tty: bool, expected: str) -> None:
    """JSON when standard error is no terminal; what somebody says beats that."""
    assert settings_of(tty=tty).log_format == expected
    assert settings_of({"ROTATOR_LOG_FORMAT": "json"}, tty=tty).log_format == "json"


BAD: list[tuple[str, str, str]] = [
    ("ROTATOR_LEASE", "15", "a duration such as 15s or 2m"),
    ("ROTATOR_LEASE", "15 s", "a duration such as 15s or 2m"),
    ("ROTATOR_LEASE", "-15s", "a duration such as 15s or 2m"),
    ("ROTATOR_LEASE", "0s", "a duration such as 15s or 2m"),
    ("ROTATOR_LEASE", "0.9s", "a duration from 1s to 1h"),
    ("ROTATOR_LEASE", "61m", "a duration from 1s to 1h"),
    ("ROTATOR_CALL_TIMEOUT", "soon", "a duration such as 15s or 2m"),
    ("ROTATOR_ROTATE_LIMIT", "0", "a whole number from 1 to 1000"),
    ("ROTATOR_ROTATE_LIMIT", "1001", "a whole number from 1 to 1000"),
    ("ROTATOR_ROTATE_LIMIT", "3.5", "a whole number from 1 to 1000"),
    ("ROTATOR_ROTATE_LIMIT", "٣", "a whole number from 1 to 1000"),
    ("ROTATOR_LOG_LEVEL", "verbose", "debug, info, warning, error"),
    ("ROTATOR_LOG_FORMAT", "xml", "json, console"),
    ("ROTATOR_LISTEN", "8080", "host:port"),
    ("ROTATOR_LISTEN", "localhost:65536", "host:port"),
    ("ROTATOR_LISTEN", "::1:8080", "host:port"),
    ("ROTATOR_LISTEN", "http://localhost:80", "host:port"),
    ("ROTATOR_VAULT_AUTH", "ldap", "token, approle, kubernetes"),
    ("LETTERMINT_API_URL", "api.lettermint.co", "https://host/path"),
    ("LETTERMINT_API_URL", "http://api.lettermint.co/v1", "unencrypted"),
    ("LETTERMINT_API_URL", "http://127.0.0.1.example.com/v1", "unencrypted"),
    ("LETTERMINT_API_URL", "http://0.0.0.0/v1", "unencrypted"),
    ("LETTERMINT_API_URL", "ftp://localhost", "https://host/path"),
    ("LETTERMINT_API_URL", "https://u:hidden@api.example.com", "credentials"),
    ("LETTERMINT_API_URL", "https://api.example.com/?a=hidden", "query"),
    ("LETTERMINT_API_URL", "https://api.example.com/#hidden", "fragment"),
    ("LETTERMINT_API_URL", "https://api.example.com:99999", "not a URL"),
    ("LETTERMINT_API_URL", "https://api.example.com:0", "not a URL"),
    ("LETTERMINT_API_URL", "https://api.example .com", "not a URL"),
    ("LETTERMINT_API_URL", "https://[::1", "not a URL"),
    ("LETTERMINT_SMTP_URL", "smtp.lettermint.co:465", "smtps://host:465"),
    ("LETTERMINT_SMTP_URL", "https://smtp.lettermint.co", "smtps://host:465"),
    ("LETTERMINT_SMTP_URL", "smtps://user:hidden@smtp.lettermint.co", "credentials"),
    ("LETTERMINT_SMTP_URL", "smtps://smtp.lettermint.co/x", "has a path"),
    ("ROTATOR_PAGERDUTY_URL", "http://events.pagerduty.com/v2/enqueue", "not a usable URL"),
    ("ROTATOR_WEBHOOK_NETWORKS", "10.0.0.0/8, private", "networks such as 10.0.0.0/8"),
    ("ROTATOR_WEBHOOK_NETWORKS", "10.0.0.1/8", "networks such as 10.0.0.0/8"),
    ("VAULT_ADDR", "vault:8200", "https://host:port"),
    ("ROTATOR_VAULT_AUTH_MOUNT", "/", "the path of an auth method"),
    ("ROTATOR_VAULT_AUTH_MOUNT", "app role", "the path of an auth method"),
    ("ROTATOR_VAULT_AUTH_MOUNT", "a/../b", "the path of an auth method"),
    ("ROTATOR_VAULT_AUTH_MOUNT", "a//b", "the path of an auth method"),
]


@pytest.mark.parametrize(("variable", "text", "accepted"), BAD)
def test_a_wrong_value_is_refused_with_what_is_accepted(variable: str, text: str, accepted: str) -> None:
    """The message names the variable and what it takes, and never repeats what may be a password."""
    message = refusal({variable: text})
    assert variable in message
    assert accepted in message
    assert "hidden" not in message


GOOD: list[tuple[str, str, str, object]] = [
    ("ROTATOR_LEASE", "1s", "lease", 1.0),
    ("ROTATOR_LEASE", "1h", "lease", 3600.0),
    ("ROTATOR_LEASE", "2.5s", "lease", 2.5),
    ("ROTATOR_ROTATE_LIMIT", "1", "rotate_limit", 1),
    ("ROTATOR_ROTATE_LIMIT", "1000", "rotate_limit", 1000),
    ("ROTATOR_LISTEN", "localhost:0", "listen", Listen("localhost", 0)),
    ("ROTATOR_LISTEN", "[::1]:65535", "listen", Listen("::1", 65535)),
    ("LETTERMINT_API_URL", "http://127.0.0.1:8025/v1", "api_url", "http://127.0.0.1:8025/v1"),
    ("LETTERMINT_API_URL", "http://127.8.9.10", "api_url", "http://127.8.9.10"),
    ("LETTERMINT_API_URL", "http://localhost:1", "api_url", "http://localhost:1"),
    ("LETTERMINT_API_URL", "http://[::1]:1/v1/", "api_url", "http://[::1]:1/v1"),
    ("LETTERMINT_SMTP_URL", "smtps://127.0.0.1", "smtp_url", "smtps://127.0.0.1:465"),
    ("LETTERMINT_SMTP_URL", "smtp://[::1]:2525/", "smtp_url", "smtp://[::1]:2525"),
]


@pytest.mark.parametrize(("variable", "text", "field", "value"), GOOD)
def test_the_edges_of_what_is_accepted(variable: str, text: str, field: str, value: object) -> None:
    """The other side of each limit."""
    assert getattr(settings_of({variable: text}), field) == value


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.1.2.3:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("myhost:1", False),
    ],
)
def test_listening_off_loopback_is_told_apart(listen: str, loopback: bool) -> None:
    """Off loopback the HTTP API asks for its token everywhere."""
    assert settings_of({"ROTATOR_LISTEN": listen}).listen.loopback is loopback


def test_a_call_ends_before_the_lease() -> None:
    """A shorter lease shortens the time-out by itself; a time-out as long as the lease is refused."""
    assert settings_of({"ROTATOR_LEASE": "15s"}).call_timeout == 10.0
    assert settings_of({"ROTATOR_LEASE": "1m"}).call_timeout == 10.0
    assert settings_of({"ROTATOR_LEASE": "3s"}).call_timeout == 2.0
    assert settings_of({"ROTATOR_LEASE": "3s", "ROTATOR_CALL_TIMEOUT": "2.9s"}).call_timeout == 2.9
    message = refusal({"ROTATOR_LEASE": "3s", "ROTATOR_CALL_TIMEOUT": "3s"})
    assert "ROTATOR_CALL_TIMEOUT must be shorter than the lease (3 s)" in message


def test_vaults_own_variables() -> None:
    """Vault is set up by the variables that its own tools use."""
    vault = settings_of(
        {
            "VAULT_ADDR": "http://127.0.0.1:8200/",
            "VAULT_NAMESPACE": "team/a",
            "VAULT_CACERT": "/etc/ca.pem",
            "VAULT_ROLE": "rotator",
            "VAULT_TOKEN": "hvs.token",
            "VAULT_ROLE_ID": "role-1234",
            "VAULT_SECRET_ID": "secret-1234",
            "ROTATOR_VAULT_AUTH": "AppRole",
        }
    ).vault
    assert (vault.address, vault.auth, vault.namespace) == ("http://127.0.0.1:8200", "approle", "team/a")
    assert (vault.cacert, vault.role) == (Path("/etc/ca.pem"), "rotator")
    assert [one.get().reveal() for one in (vault.token, vault.role_id, vault.secret_id)] == [
        "hvs.token",
        "role-1234",
        "secret-1234",
    ]


@pytest.mark.parametrize(
    ("auth", "mount", "expected"),
    [
        ("token", "", "token"),
        ("approle", "", "approle"),
        ("Kubernetes", "", "kubernetes"),
        ("approle", "team/machines", "team/machines"),
        ("kubernetes", "/auth/k8s-prod/", "k8s-prod"),
    ],
)
def test_the_auth_mount_follows_the_method(auth: str, mount: str, expected: str) -> None:
    """Where nothing is said it is Vault's default for the method; `auth/` may stand before it."""
    environ = {"ROTATOR_VAULT_AUTH": auth, "ROTATOR_VAULT_AUTH_MOUNT": mount}
    assert settings_of(environ).vault.auth_mount == expected


def test_the_service_accounts_token_is_where_kubernetes_puts_it() -> None:
    """Unless something else is said; what is said wins, and the default's mode is nobody's business here."""
    source = settings_of().vault.jwt
    assert source.file == Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    assert settings_of({"ROTATOR_VAULT_JWT_FILE": "/run/jwt"}).vault.jwt.file == Path("/run/jwt")
    given = settings_of({"ROTATOR_VAULT_JWT": "header.claims.signature"}).vault.jwt
    assert (given.file, given.get().reveal()) == (None, "header.claims.signature")


# --- the journal --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///.rotator/journal.db", ".rotator/journal.db"),
        ("sqlite:///j.db", "j.db"),
        ("sqlite:////var/lib/rotator/j.db", "/var/lib/rotator/j.db"),
        ("sqlite:///with space%20and?.db", "with space%20and?.db"),
    ],
)
def test_sqlite_journals(url: str, path: str) -> None:
    """Three slashes and a relative path, four and an absolute one; nothing in it is decoded."""
    journal = settings_of({"ROTATOR_JOURNAL": url}).journal
    assert journal.sqlite_path == Path(path)
    assert journal.shown == url


def test_postgresql_journals_are_shown_without_their_password() -> None:
    """Host, port, user and database are for people; password and options are not."""
    password = "p%40ss" + "w0rd-17"
    url = f"postgresql://rotator:{password}@db.example.com:5433/journal?sslmode=require&password=x"
    found = settings_of({"ROTATOR_JOURNAL": url})
    assert found.journal.sqlite_path is None
    assert found.journal.url.reveal() == url
    assert found.journal.shown == "postgresql://rotator@db.example.com:5433/journal"
    assert "w0rd" not in repr(found)
    assert scrub("FATAL: no such password: p@ss" + "w0rd-17") == "FATAL: no such password: [secret]"
    assert settings_of({"ROTATOR_JOURNAL": "postgres://[::1]/j"}).journal.shown == "postgresql://[::1]/j"


@pytest.mark.parametrize(
    "url",
    [
        "journal.db",
        "sqlite:journal.db",
        "sqlite://journal.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///folder/",
        "mysql://u:hidden@h/d",
        "postgresql://",
        "postgresql:///journal",
        "postgresql://host",
        "postgresql://u:hid/den@host/journal",
        "postgresql://u:hidden@host:port/journal",
    ],
)
def test_other_journals_are_refused(url: str) -> None:
    """The message tells the forms and repeats nothing of the address."""
    message = refusal({"ROTATOR_JOURNAL": url})
    assert "ROTATOR_JOURNAL is not the address of a journal" in message
    assert "sqlite:///relative" in message
    assert "hid" not in message


def test_a_journal_from_a_file(tmp_path: Path, toml: Any) -> None:
    """An address with a password lives in a file; the flag beats it, and both variables at once are an error."""
    file = tmp_path / "journal-url"
    file.write_text("sqlite:////data/j.db\n")
    environ = {"ROTATOR_JOURNAL_FILE": str(file)}
    assert settings_of(environ).journal.sqlite_path == Path("/data/j.db")
    assert settings_of(environ, flags={"journal": "sqlite:///flag.db"}).journal.sqlite_path == Path("flag.db")
    assert settings_of(environ, config=toml('journal = "sqlite:///toml.db"')).journal.sqlite_path == Path(
        "/data/j.db"
    )
    assert "ROTATOR_JOURNAL and ROTATOR_JOURNAL_FILE are both set" in refusal(
        {**environ, "ROTATOR_JOURNAL": "sqlite:///j.db"}
    )
    file.write_text("nonsense")
    assert "ROTATOR_JOURNAL_FILE is not the address of a journal" in refusal(environ)
    file.unlink()
    assert f"ROTATOR_JOURNAL_FILE: {file} cannot be read" in refusal(environ)


# --- the file -----------------------------------------------------------------------------------


def test_relative_paths_start_where_they_are_written(toml: Any) -> None:
    """In the file at its own folder; in flags and environment at the working directory."""
    config = toml('policies = "p"\naudit_log = "a.jsonl"\njournal = "sqlite:///j.db"\n')
    found = settings_of(config=config)
    folder = config.parent
    assert (found.policies, found.audit_log) == (folder / "p", folder / "a.jsonl")
    assert found.journal.sqlite_path == folder / "j.db"
    found = settings_of({"ROTATOR_POLICIES": "p"}, flags={"audit_log": "a.jsonl"}, config=config)
    assert (found.policies, found.audit_log) == (Path("p"), Path("a.jsonl"))


def test_a_number_needs_no_quotes(toml: Any) -> None:
    """rotate_limit may be written as a number; a duration without a unit is still none."""
    assert settings_of(config=toml("rotate_limit = 5")).rotate_limit == 5
    assert "lease is '15'" in refusal(config=toml("lease = 15"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('polices = "x"', "polices is not a setting; did you mean policies?"),
        ('ROTATOR_LEASE = "15s"', "ROTATOR_LEASE is not a setting; did you mean lease?"),
        ('api_url = "x"', "is not a setting; did you mean lettermint_api_url?"),
        ('zzz = "x"', "zzz is not a setting\n"),
        ("lease = true", "lease must be a text in quotes"),
        ("lease = 15.5", "lease must be a text in quotes"),
        ("rotate_limit = [3]", "rotate_limit must be a text in quotes or a number"),
        ('lease = "soon"', "rotator.toml: lease is 'soon'; accepted: a duration"),
        ("lease", "not TOML"),
        ('lease = "1s"\nlease = "2s"', "not TOML"),
        ('vault_addr = "https://v"', "vault_addr is not read from here; accepted: the variable VAULT_ADDR"),
        ("[vault]\naddr = 1", "vault is not read from here"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(toml: Any, line: str, said: str) -> None:
    """The message has the file, the key and the nearest key that exists."""
    config = toml(line)
    message = refusal(config=config)
    assert said in message
    assert str(config) in message


@pytest.mark.parametrize("spelling", ["{}", "{upper}", "rotator_{}"])
@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_no_secret_is_taken_from_the_file(toml: Any, name: str, spelling: str) -> None:
    """Whatever the spelling, the message says that secrets do not belong there, and does not repeat it."""
    key = spelling.format(name, upper=CREDENTIALS[name])
    message = refusal(config=toml(f'{key} = "hidden-value"'))
    assert "is a secret and does not belong in this file" in message
    assert f"{CREDENTIALS[name]} or {CREDENTIALS[name]}_FILE" in message
    assert "hidden" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hidden@h/d",
        "postgresql://h/d?password=hidden",
        "postgresql://u:hid@den@[h/d",
        "postgresql://u:@h/d",
    ],
)
def test_no_journal_with_a_password_is_taken_from_the_file(toml: Any, url: str) -> None:
    """Without a password it may stand there."""
    message = refusal(config=toml(f'journal = "{url}"'))
    assert "holds a password and does not belong in this file" in message
    assert "hid" not in message
    assert settings_of(config=toml('journal = "postgresql://u@h/d"')).journal.shown == "postgresql://u@h/d"


def test_the_path_of_a_secret_is_no_secret(toml: Any, tmp_path: Path) -> None:
    """The file may name the files of our own secrets; the environment beats it."""
    config = toml(
        'lettermint_team_token_file = "team"\naudit_key_file = "/k"\napi_token_file = "api"\njournal_file = "j"\n'
    )
    (config.parent / "team").write_text(TEAM)
    (config.parent / "team").chmod(0o600)
    (config.parent / "j").write_text("sqlite:///j.db")
    found = settings_of(config=config)
    assert found.team_token.get().reveal() == TEAM
    assert found.audit_key.file == Path("/k")
    assert found.journal.sqlite_path == Path("j.db")
    other = TEAM + "other"
    assert settings_of({"LETTERMINT_TEAM_TOKEN": other}, config=config).team_token.get().reveal() == other
    message = refusal(config=toml('journal = "sqlite:///j.db"\njournal_file = "j"'))
    assert "journal and journal_file are both set" in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, toml: Any) -> None:
    """Missing, a folder, or not UTF-8."""
    assert f"--config: {tmp_path / 'none.toml'} cannot be read" in refusal(config=tmp_path / "none.toml")
    assert "cannot be read" in refusal(config=tmp_path)
    config = toml("")
    config.write_bytes(b'lease = "\xff"')
    assert "not TOML: it is not UTF-8 text" in refusal(config=config)


# --- all at once --------------------------------------------------------------------------------


def test_all_problems_come_at_once(toml: Any) -> None:
    """Flags, environment, file and what the command needs: one list, each line with its own place."""
    message = refusal(
        {
            "ROTATOR_LEASE": "soon",
            "ROTATOR_AUDIT_KEY": "key-17-letters",
            "ROTATOR_AUDIT_KEY_FILE": "/k",
            "VAULT_ADDR": "nowhere",
        },
        flags={"log_level": "loud"},
        config=toml('leese = "1s"\nlisten = "here"\napi_token = "hidden-one"'),
        needs=("team_token",),
    )
    assert message.startswith("8 problems in the settings, nothing was done:\n")
    for said in (
        "ROTATOR_LEASE is 'soon'",
        "ROTATOR_AUDIT_KEY and ROTATOR_AUDIT_KEY_FILE are both set",
        "VAULT_ADDR is not a URL",
        "--log-level is 'loud'",
        "leese is not a setting; did you mean lease?",
        "rotator.toml: listen is 'here'",
        "api_token is a secret",
        "LETTERMINT_TEAM_TOKEN is not set",
    ):
        assert f"\n  {said}" in message or said in message
    assert refusal({"ROTATOR_LEASE": "soon"}).startswith("1 problem in the settings")


def test_no_secret_is_accepted_as_a_flag() -> None:
    """A flag for a credential is a mistake in the program, found when it is tried."""
    for name in (*CREDENTIALS, "journal_file", "nonsense"):
        with pytest.raises(ValueError, match="no settings, so no flags"):
            resolve({name: "x"}, {}, None, stderr_is_tty=False)
    assert not set(CREDENTIALS) & set(VARIABLES)


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    """Whoever puts the token where the lease belongs does not read it in the error."""
    message = refusal(
        {"ROTATOR_LEASE": TEAM, "ROTATOR_LISTEN": "x" * 40 + PROJECT, "LETTERMINT_TEAM_TOKEN": TEAM}
    )
    assert TEAM not in message
    assert PROJECT[:12] not in message
    assert "[secret]" in message


def test_settings_show_no_secret() -> None:
    """The repr of everything together is safe to log."""
    environ = {variable: f"hidden-{number}" for number, variable in enumerate(CREDENTIALS.values())}
    found = settings_of(environ)
    assert "hidden" not in repr(found)
    assert dataclasses.is_dataclass(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.lease = 1.0  # type: ignore[misc]  # the mistake this test is about


def test_settings_load_no_heavy_library() -> None:
    """Every command pays for this import."""
    code = "import rotator.settings, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "rotator" in loaded
    assert not {"httpx", "boto3", "botocore", "pydantic", "structlog", "ruamel", "rich", "typer"} & set(
        loaded
    )
