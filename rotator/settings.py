"""The settings: flag, then environment, then the TOML file of `--config`, then the default.

A name has one spelling in each: `--audit-log`, `ROTATOR_AUDIT_LOG`, `audit_log`; flags leave out
`lettermint`. An empty value is an unset one. Relative paths start at the working directory; those in
the TOML file at its folder.
All that is wrong is said at once. No secret is accepted as a flag or in the TOML file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rotator import settings_values as values
from rotator.credentials import CredentialSource, make_key_file
from rotator.errors import InvalidInput
from rotator.secret import Secret
from rotator.settings_sources import VARIABLES, Sources
from rotator.settings_values import Journal, Listen
from rotator.urls import Network

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
    webhook_networks: tuple[Network, ...]
    """What webhooks may reach beside public addresses."""
    pagerduty_url: str
    """Where PagerDuty takes events."""
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
    sources = Sources(flags, environ, config_file)
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
        "webhook_networks": sources.read("webhook_networks", values.networks, "") or (),
        "pagerduty_url": sources.read(
            "pagerduty_url", values.pagerduty_url, "https://events.pagerduty.com/v2/enqueue"
        ),
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
