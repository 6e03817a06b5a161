"""The settings: flag, then environment, then the TOML file of `--config`, then the default.

A name has one spelling in each: `--audit-log`, `ROTATOR_AUDIT_LOG`, `audit_log`; flags leave out
`lettermint`. An empty value is an unset one. Relative paths start at the working directory; those in
the TOML file at its folder.
All that is wrong is said at once. No secret is accepted as a flag or in the TOML file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from rotator import settings_values as values
from rotator.credentials import CredentialSource, make_key_file, read_secret_file
from rotator.errors import InvalidInput
from rotator.secret import Secret
from rotator.settings_values import Journal, Listen

T = TypeVar("T")

VARIABLES: Final[Mapping[str, str]] = {
    "policies": "ROTATOR_POLICIES",
    "journal": "ROTATOR_JOURNAL",
    "audit_log": "ROTATOR_AUDIT_LOG",
    "lettermint_api_url": "LETTERMINT_API_URL",
    "lettermint_smtp_url": "LETTERMINT_SMTP_URL",
    "rotate_limit": "ROTATOR_ROTATE_LIMIT",
    "lease": "ROTATOR_LEASE",
    "call_timeout": "ROTATOR_CALL_TIMEOUT",
    "log_level": "ROTATOR_LOG_LEVEL",
    "log_format": "ROTATOR_LOG_FORMAT",
    "listen": "ROTATOR_LISTEN",
    "grace": "ROTATOR_GRACE",
    "select": "ROTATOR_SELECT",
    "reason": "ROTATOR_REASON",
    "vault_auth": "ROTATOR_VAULT_AUTH",
    "vault_auth_mount": "ROTATOR_VAULT_AUTH_MOUNT",
}
"""Name of a setting (its key in TOML, and its flag with hyphens) and its variable."""

CREDENTIALS: Final[Mapping[str, str]] = {
    "audit_key": "ROTATOR_AUDIT_KEY",
    "lettermint_team_token": "LETTERMINT_TEAM_TOKEN",
    "api_token": "ROTATOR_API_TOKEN",
    "vault_token": "VAULT_TOKEN",
    "vault_role_id": "VAULT_ROLE_ID",
    "vault_secret_id": "VAULT_SECRET_ID",
    "vault_jwt": "ROTATOR_VAULT_JWT",
}
"""Each also as `<variable>_FILE`."""

_FILES: Final = frozenset({"journal_file", "audit_key_file", "lettermint_team_token_file", "api_token_file"})
"""Paths of secrets are no secrets, so TOML may hold them. Vault's own settings stay in the environment."""

_CALL_TIMEOUT: Final = 10.0
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes puts a pod's own token."""


@dataclass(frozen=True)
class VaultSettings:
    """How to reach Vault; looked at only when a policy has a destination there."""

    address: str | None
    auth: str
    """`token`, `approle` or `kubernetes`."""
    namespace: str | None
    cacert: Path | None
    role: str | None
    auth_mount: str
    """Where AppRole or Kubernetes authentication is mounted."""
    jwt: CredentialSource
    """The service account's token for Kubernetes authentication; a projected one is renewed in its file."""
    token: CredentialSource
    role_id: CredentialSource
    secret_id: CredentialSource


@dataclass(frozen=True)
class Settings:
    """Everything that flags, environment and file say, checked. Credentials are read when used."""

    policies: Path
    journal: Journal
    audit_log: Path
    audit_key: CredentialSource
    """See `ensure_audit_key`."""
    team_token: CredentialSource
    api_url: str
    """Without a slash at its end."""
    smtp_url: str
    """`smtps://host:port` or `smtp://host:port`; the latter means STARTTLS."""
    rotate_limit: int
    """Calls of rotate-token in any 60 seconds."""
    lease: float
    """Seconds."""
    call_timeout: float
    """Seconds that one call of the provider may take; shorter than the lease."""
    log_level: str
    log_format: str
    listen: Listen
    grace: float
    """Seconds that `serve` takes at most to stop."""
    api_token: CredentialSource
    vault: VaultSettings
    select: tuple[str, ...]
    """What ROTATOR_SELECT names, split at commas and spaces."""
    reason: str | None
    warnings: tuple[str, ...]
    """Sentences for standard error."""


def resolve(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    config_file: Path | None,
    *,
    stderr_is_tty: bool,
    needs: Iterable[str] = (),
) -> Settings:
    """The settings, or one InvalidInput that lists every problem.

    `flags` has the names of VARIABLES as keys. `needs` names credentials (fields of Settings) whose
    absence is a problem too, so that a command which needs them hears of everything at once.
    """
    unknown = set(flags) - set(VARIABLES)
    if unknown:
        raise ValueError(f"no settings, so no flags: {sorted(unknown)}")
    sources = _Sources(flags, environ, config_file)
    lease = sources.read("lease", values.lease, "15s")
    call_timeout = sources.read("call_timeout", values.duration, "")
    if call_timeout is None:
        # A shorter lease alone must be enough to say: the call follows it.
        call_timeout = min(_CALL_TIMEOUT, (lease or _CALL_TIMEOUT) * 2 / 3)
    elif lease is not None and call_timeout >= lease:
        sources.problems.append(
            f"{sources.where('call_timeout')} must be shorter than the lease ({lease:g} s), "
            "because a call must end while it is still fenced"
        )
    log_format = "console" if stderr_is_tty else "json"
    vault_auth = (
        sources.read("vault_auth", values.one_of("token", "approle", "kubernetes"), "token") or "token"
    )
    vault = VaultSettings(
        address=sources.variable("VAULT_ADDR", values.vault_address),
        auth=vault_auth,
        namespace=sources.variable("VAULT_NAMESPACE", str),
        cacert=sources.variable("VAULT_CACERT", Path),
        role=sources.variable("VAULT_ROLE", str),
        auth_mount=sources.read("vault_auth_mount", values.vault_mount, vault_auth) or vault_auth,
        jwt=sources.credential(
            "vault_jwt", purpose="to log in to Vault with a service account", default=_SERVICE_ACCOUNT
        ),
        token=sources.credential("vault_token", purpose="to log in to Vault with ROTATOR_VAULT_AUTH=token"),
        role_id=sources.credential("vault_role_id", purpose="to log in to Vault with an AppRole"),
        secret_id=sources.credential("vault_secret_id", purpose="to log in to Vault with an AppRole"),
    )
    found: dict[str, Any] = {
        "policies": sources.path("policies", "policies"),
        "journal": sources.journal("sqlite:///.rotator/journal.db"),
        "audit_log": sources.path("audit_log", ".rotator/audit.jsonl"),
        "audit_key": sources.credential("audit_key", purpose="for fingerprints and the audit chain"),
        "team_token": sources.credential(
            "lettermint_team_token", check=values.team_token_problem, purpose="to talk to Lettermint"
        ),
        "api_url": sources.read("lettermint_api_url", values.api_url, "https://api.lettermint.co/v1"),
        "smtp_url": sources.read("lettermint_smtp_url", values.smtp_url, "smtps://smtp.lettermint.co:465"),
        "rotate_limit": sources.read("rotate_limit", values.rotate_limit, "3"),
        "lease": lease,
        "call_timeout": call_timeout,
        "log_level": sources.read("log_level", values.one_of("debug", "info", "warning", "error"), "info"),
        "log_format": sources.read("log_format", values.one_of("json", "console"), log_format),
        "listen": sources.read("listen", Listen.parse, "127.0.0.1:8080"),
        "grace": sources.read("grace", values.duration, "25s"),
        "api_token": sources.credential("api_token", purpose="for POST requests to the HTTP API"),
        "vault": vault,
        "select": sources.read("select", values.names, "") or (),
        "reason": sources.read("reason", str, ""),
    }
    for name in needs:
        try:
            found[name].get()
        except InvalidInput as error:
            sources.problems.append(error.happened)
    if sources.problems:
        count = len(sources.problems)
        lines = "\n".join(f"  {problem}" for problem in sources.problems)
        raise InvalidInput(
            f"{count} problem{'' if count == 1 else 's'} in the settings, nothing was done:\n{lines}\n",
            remedy="`rotator --help` and the README list every setting.",
        )
    return Settings(**found, warnings=tuple(sources.warnings))


def ensure_audit_key(settings: Settings) -> tuple[Secret, str]:
    """The audit key and a warning to show ("" if there is none).

    Where no key is set, `audit.key` beside the SQLite journal is it; it is made when there is no
    journal yet. Raises InvalidInput when a journal stands there without its key, or on PostgreSQL.
    Call it before the journal is opened, which makes one.
    """
    if settings.audit_key.configured:
        return settings.audit_key.get(), ""
    journal = settings.journal.sqlite_path
    if journal is None:
        return settings.audit_key.get(), ""  # raises: nothing is kept beside a PostgreSQL journal
    path = journal.parent / "audit.key"
    try:
        # In this order: another process that begins now makes the key first and then the journal.
        begun = journal.exists() and journal.stat().st_size > 0
        has_key = path.exists()
    except OSError as error:
        raise InvalidInput(
            f"{journal.parent} cannot be looked into: {error.strerror}",
            then="Nothing was done",
            remedy="ROTATOR_JOURNAL must be in a folder that this user may read and write",
        ) from error
    if has_key:
        source = CredentialSource("ROTATOR_AUDIT_KEY", file=path)
        return source.get(), source.warning() or ""
    if begun:
        raise InvalidInput(
            f"There is a journal at {journal}, but its audit key {path} is gone and ROTATOR_AUDIT_KEY is not set",
            then="Nothing was done: with another key no token in it could be recognised, nor its audit log checked",
            remedy=(
                "Put the key back from a backup; if it is lost, move the journal and the audit log aside "
                "together, keep both, and begin anew"
            ),
        )
    return make_key_file(path), (
        f"An audit key was made at {path}. Keep a copy of it apart from this machine: without it, nobody can "
        "check the audit log or recognise a token in it."
    )


class _Sources:
    """The layers, highest first, and what was found to be wrong with them."""

    def __init__(
        self, flags: Mapping[str, str | None], environ: Mapping[str, str], config: Path | None
    ) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._flags = flags
        self._environ = environ
        self._config = config
        self._table = self._read_table(config) if config is not None else {}

    def where(self, name: str) -> str:
        """Which flag, variable or key says it."""
        return self._find(name)[0]

    def read(self, name: str, parse: Callable[[str], T], default: str) -> T | None:
        """None where nothing says it and the default is empty, and where it is wrong."""
        where, text, _ = self._find(name)
        return self._parsed(where, text or default, parse)

    def variable(self, variable: str, parse: Callable[[str], T]) -> T | None:
        """Of another project, so it has neither flag nor key."""
        return self._parsed(variable, self._environ.get(variable, ""), parse)

    def path(self, name: str, default: str) -> Path:
        _, text, base = self._find(name)
        return base / (text or default) if text else Path(default)

    def journal(self, default: str) -> Journal | None:
        where, text, base = self._find("journal")
        from_file = self._secret_file("journal", VARIABLES["journal"])
        if from_file is not None:
            try:
                text = read_secret_file(from_file, f"{VARIABLES['journal']}_FILE").reveal()
            except InvalidInput as error:
                self.problems.append(error.happened)
                return None
            where, base = f"{VARIABLES['journal']}_FILE", Path()
        return self._parsed(where, text or default, lambda url: Journal.parse(url, base))

    def credential(
        self,
        name: str,
        *,
        check: Callable[[Secret], str | None] = lambda _: None,
        purpose: str,
        default: Path | None = None,
    ) -> CredentialSource:
        """`default` is the file where it is found when nothing says where."""
        variable = CREDENTIALS[name]
        value = self._environ.get(variable, "").rstrip("\r\n")
        file = self._secret_file(name, variable) or (None if value else default)
        source = CredentialSource(
            variable,
            value=Secret(value) if value else None,
            file=file,
            check=check,
            purpose=purpose,
        )
        # The mode of the default is Kubernetes' own business, and most who have one do not use it here.
        warning = source.warning() if file != default else None
        if warning:
            self.warnings.append(warning)
        return source

    def _secret_file(self, name: str, variable: str) -> Path | None:
        """The file that holds it, unless a higher layer says the thing itself."""
        file = self._environ.get(f"{variable}_FILE", "")
        if self._flags.get(name):
            return None
        if self._environ.get(variable):
            if file:
                self.problems.append(f"{variable} and {variable}_FILE are both set; accepted: one of them")
            return None
        if file:
            return Path(file)
        listed = self._table.get(f"{name}_file")
        if listed and self._table.get(name):
            self.problems.append(
                f"{self._config}: {name} and {name}_file are both set; accepted: one of them"
            )
        return self._folder / listed if listed else None

    def _find(self, name: str) -> tuple[str, str, Path]:
        """Where it was said, the text ("" if nowhere), and where a relative path in it starts."""
        flag = self._flags.get(name)
        if flag:
            # The provider goes without saying on the command line.
            return f"--{name.removeprefix('lettermint_').replace('_', '-')}", flag, Path()
        text = self._environ.get(VARIABLES[name], "").strip()
        if text:
            return VARIABLES[name], text, Path()
        if self._table.get(name):
            return f"{self._config}: {name}", self._table[name], self._folder
        return VARIABLES[name], "", Path()

    @property
    def _folder(self) -> Path:
        return self._config.parent if self._config is not None else Path()

    def _parsed(self, where: str, text: str, parse: Callable[[str], T]) -> T | None:
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{where} {error}")
            return None

    def _read_table(self, config: Path) -> dict[str, str]:
        try:
            with config.open("rb") as file:
                table = tomllib.load(file)
        except OSError as error:
            self.problems.append(f"--config: {config} cannot be read: {error.strerror}")
            return {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            what = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8 text"
            self.problems.append(f"{config}: not TOML: {what}")
            return {}
        return {name: text for name, value in table.items() if (text := self._entry(name, value)) is not None}

    def _entry(self, name: str, value: Any) -> str | None:
        """The value as text, or None and a problem. The value itself is never repeated."""
        where = f"{self._config}: {name}"
        bare = name.lower().removeprefix("rotator_")
        if bare in CREDENTIALS or bare in (
            "vault_addr",
            "vault_namespace",
            "vault_cacert",
            "vault_role",
            "vault",
        ):
            variable = CREDENTIALS.get(bare, bare.upper())
            also = f" or {variable}_FILE" if bare in CREDENTIALS else ""
            what = (
                "is a secret and does not belong in this file"
                if bare in CREDENTIALS
                else "is not read from here"
            )
            self.problems.append(f"{where} {what}; accepted: the variable {variable}{also}")
        elif name not in VARIABLES and name not in _FILES:
            close = get_close_matches(bare, sorted({*VARIABLES, *_FILES}), n=1, cutoff=0.5)
            self.problems.append(
                f"{where} is not a setting" + (f"; did you mean {close[0]}?" if close else "")
            )
        elif isinstance(value, bool) or not isinstance(value, str | int):
            self.problems.append(
                f"{where} must be a text in quotes" + (" or a number" if name == "rotate_limit" else "")
            )
        elif name == "journal" and values.has_password(str(value)):
            self.problems.append(
                f"{where} holds a password and does not belong in this file; "
                "accepted: the variable ROTATOR_JOURNAL or ROTATOR_JOURNAL_FILE"
            )
        else:
            return str(value)
        return None
