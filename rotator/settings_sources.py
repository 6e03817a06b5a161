"""Where a setting is said: flag, environment, TOML file; and everything that is wrong with how it is said."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from rotator import settings_values as values
from rotator.credentials import CredentialSource, read_secret_file
from rotator.errors import InvalidInput
from rotator.secret import Secret
from rotator.settings_values import Journal

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
    "webhook_networks": "ROTATOR_WEBHOOK_NETWORKS",
    "pagerduty_url": "ROTATOR_PAGERDUTY_URL",
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


class Sources:
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
