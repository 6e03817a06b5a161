"""Where a token for Vault comes from, by each way to log in, and how long it lives.

`token` takes the one that is given. `approle` and `kubernetes` log in; role_id, secret_id and the service account's
token are read again from where they live at each login, because a projected token is replaced in its file.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rotator.clock import Clock
from rotator.destinations import vault_errors
from rotator.destinations.vault_errors import READ, Call, Reply
from rotator.destinations.vault_transport import TIMEOUTS, Timeouts, Transport, certificate_problem
from rotator.errors import InvalidInput, RotatorError
from rotator.secret import Secret, scrub

log = logging.getLogger(__name__)

TOKEN: Final = "token"  # noqa: S105  # the name of a way to log in
APPROLE: Final = "approle"
KUBERNETES: Final = "kubernetes"

LOOKUP: Final = "auth/token/lookup-self"

_LEFT_WHEN_DUE: Final = 1 / 3
"""Of a token's time: a token is renewed when two thirds of it are used up."""
_WORTH: Final = 1 / 2
"""A renewal that gives less than this part of the token's first time is near the end of what renewing can do."""
_SOONEST: Final = 1.0
"""Seconds between two attempts to renew one token."""
_LONGEST: Final = 1e10
"""Seconds, some three centuries: Vault itself counts in nanoseconds with 64 bits."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_NAME: Final = re.compile(r"[\w@.:/+=\- ]{1,120}")

Loader = Callable[[], Secret]
"""Reads a credential from where it lives. Raises InvalidInput."""


@dataclass(frozen=True)
class VaultAccess:
    """Where Vault is and how we log in: the settings, as plain values."""

    address: str | None
    namespace: str | None
    cacert: Path | None
    auth: str
    auth_mount: str
    """Below `auth/`; for `approle` and `kubernetes`."""
    role: str | None
    """For `kubernetes`."""
    token: Loader
    role_id: Loader
    secret_id: Loader
    jwt: Loader
    timeouts: Timeouts = TIMEOUTS

    def open(self) -> Transport:
        """The way to Vault. Raises one InvalidInput with all that is wrong with the settings."""
        problems = self._problems()
        if problems or self.address is None:
            count = f"{len(problems)} settings for Vault are wrong: " if len(problems) > 1 else ""
            raise InvalidInput(
                count + "; ".join(problems),
                then="Nothing was done",
                remedy="Destinations of type vault-kv need this; ROTATOR_VAULT_AUTH says how to log in "
                "(token, approle or kubernetes)",
            )
        return Transport(self.address, namespace=self.namespace, cacert=self.cacert, timeouts=self.timeouts)

    def _problems(self) -> list[str]:
        problems: list[str] = []
        if self.address is None:
            problems.append("VAULT_ADDR is not set, and it is needed to reach Vault")
        if self.cacert is not None and (problem := certificate_problem(self.cacert)):
            problems.append(f"VAULT_CACERT: {self.cacert} {problem}")
        if self.auth == KUBERNETES and self.role is None:
            problems.append(
                "VAULT_ROLE is not set, and it is needed to log in to Vault with a service account"
            )
        needed: Mapping[str, tuple[Loader, ...]] = {
            TOKEN: (self.token,),
            APPROLE: (self.role_id, self.secret_id),
            KUBERNETES: (self.jwt,),
        }
        for load in needed[self.auth]:
            try:
                load()
            except InvalidInput as error:
                problems.append(error.happened)
        return problems


@dataclass(frozen=True)
class Lease:
    """A token and how long it lives, on the boot clock."""

    token: Secret
    until: float | None
    """None for one that does not end."""
    renew_at: float | None
    first_seconds: float
    """How long it was given for at first: what a renewal is measured by."""
    renewable: bool
    of_a_login: bool
    """Ours to revoke."""

    @classmethod
    def of(
        cls,
        token: Secret,
        *,
        asked: float,
        seconds: float,
        first_seconds: float,
        renewable: bool,
        of_a_login: bool,
    ) -> Lease:
        """`asked` is the moment before the request whose answer said `seconds`; 0 stands for no end."""
        until = asked + seconds if seconds > 0 else None
        renew_at = until - max(first_seconds, seconds) * _LEFT_WHEN_DUE if until is not None else None
        return cls(token, until, renew_at, max(first_seconds, seconds), renewable, of_a_login)

    def is_due(self, now: float) -> bool:
        return self.renew_at is not None and now >= self.renew_at

    def is_over(self, now: float) -> bool:
        return self.until is not None and now >= self.until

    def postponed(self, now: float) -> Lease:
        """The same, with the next attempt to renew it at a third of the time that is left."""
        left = self.until - now if self.until is not None else 0.0
        return Lease(
            self.token,
            self.until,
            now + max(left * _LEFT_WHEN_DUE, _SOONEST),
            self.first_seconds,
            self.renewable,
            self.of_a_login,
        )


class VaultLogin:
    """Gets tokens and keeps them alive. Not safe to use from several threads: the session's lock guards it."""

    def __init__(self, access: VaultAccess, transport: Transport, clock: Clock) -> None:
        self._access = access
        self._transport = transport
        self._clock = clock

    def about(self, token: Secret) -> dict[str, Any] | None:
        """What Vault tells of a token: nothing (`{}`) where it lives and may not ask, None where it seems dead. Raises
        Unreachable and DestinationRefused."""
        reply = self._transport.send("GET", LOOKUP, token=token)
        if reply.is_lack_of_policy:
            return {}
        if reply.is_denied:
            return None
        return self._data(reply, "GET", LOOKUP, "data")

    def begin(self, refused: Secret | None = None) -> Lease:
        """The given token, or that of a new login. `refused` is one that Vault does not accept (any more).

        Raises Unreachable, or CredentialRejected and InvalidInput, which repeating does not mend.
        """
        if self._access.auth != TOKEN:
            return self._log_in()
        if refused is None:
            return self._adopt(self._access.token())
        fresh = self._reread(refused)
        if fresh is None:
            raise vault_errors.dead_token()
        return self._adopt(fresh)

    def prolong(self, lease: Lease) -> Lease:
        """A token with more time, or else the same one. Raises like `begin`, but only when that has ended."""
        best = lease
        try:
            if lease.renewable:  # also when it seems over: Vault tells whole seconds
                best = self._renew(lease) or lease
                left = (best.until or 0.0) - self._clock.boot()
                if best is not lease and left >= lease.first_seconds * _WORTH:
                    return best
            if self._access.auth != TOKEN:
                return self._log_in()
            fresh = self._reread(lease.token)
            if fresh is not None:
                return self._adopt(fresh)
        except RotatorError as error:
            if best.is_over(self._clock.boot()):
                raise
            log.warning("the token for Vault was not renewed and is used while it lives: %s", error.happened)
        return best.postponed(self._clock.boot())

    def _renew(self, lease: Lease) -> Lease | None:
        """None where Vault does not renew it."""
        asked = self._clock.boot()
        path = "auth/token/renew-self"
        reply = self._transport.send("POST", path, token=lease.token, body="{}")
        if reply.is_denied or reply.status == 400:
            return None
        auth = self._data(reply, "POST", path, "auth")
        return Lease.of(
            lease.token,
            asked=asked,
            seconds=duration(auth.get("lease_duration")),
            first_seconds=lease.first_seconds,
            renewable=auth.get("renewable") is True,
            of_a_login=lease.of_a_login,
        )

    def _reread(self, refused: Secret) -> Secret | None:
        """Another token than the refused one, if there is one by now."""
        try:
            fresh = self._access.token()
        except InvalidInput as error:
            log.warning("the token for Vault could not be read again: %s", error.happened)
            return None
        return None if fresh == refused else fresh

    def _adopt(self, token: Secret) -> Lease:
        if not _is_sendable(token.reveal()):
            raise InvalidInput(
                "VAULT_TOKEN holds a character that no token has",
                then="Nothing was sent",
                remedy="Look for a quotation mark, a space or a line break that was copied along",
            )
        asked = self._clock.boot()
        # One that may not look at itself is used as it is; the calls themselves will tell.
        about = self.about(token) or {}
        return Lease.of(
            token,
            asked=asked,
            seconds=duration(about.get("ttl")),
            first_seconds=duration(about.get("creation_ttl")),
            renewable=about.get("renewable") is True,
            of_a_login=False,
        )

    def _log_in(self) -> Lease:
        access = self._access
        asked = self._clock.boot()
        path = f"auth/{access.auth_mount}/login"
        reply = self._transport.send("POST", path, body=self._proof())
        auth = reply.json().get("auth") if reply.ok else None
        given = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(auth, dict) or not isinstance(given, str) or not _is_sendable(given):
            raise vault_errors.login_refused(access.auth, access.auth_mount, reply)
        log.info("logged in to Vault by %s", access.auth)
        seconds = duration(auth.get("lease_duration"))
        return Lease.of(
            Secret(given),
            asked=asked,
            seconds=seconds,
            first_seconds=seconds,
            renewable=auth.get("renewable") is True,
            # A batch token cannot be revoked.
            of_a_login=auth.get("token_type") != "batch",
        )

    def _proof(self) -> str:
        """The body of a login."""
        access = self._access
        if access.auth == APPROLE:
            role_id, secret_id = access.role_id(), access.secret_id()
            return json.dumps({"role_id": role_id.reveal(), "secret_id": secret_id.reveal()})
        return json.dumps({"role": access.role, "jwt": access.jwt().reveal()})

    def _data(self, reply: Reply, method: str, path: str, name: str) -> dict[str, Any]:
        found = reply.json().get(name) if reply.ok else None
        if not isinstance(found, dict):
            raise vault_errors.explain(Call(method, path, "our token for Vault", READ), reply)
        return found


def who(about: Mapping[str, Any]) -> str:
    """A token in Vault's words: display name and policies."""
    if not about:
        return "which may not look itself up"
    listed = [*_names(about.get("policies")), *_names(about.get("identity_policies"))]
    return f"{_plain(about.get('display_name'))} (policies: {', '.join(map(_plain, listed)) or 'none'})"


def duration(said: object) -> float:
    """Seconds as Vault tells them; 0 for what is no number of seconds."""
    return float(said) if isinstance(said, int | float) and 0 <= said <= _LONGEST else 0.0


def _is_sendable(token: str) -> bool:
    return _TOKEN.fullmatch(token) is not None


def _names(listed: object) -> Sequence[object]:
    return listed if isinstance(listed, list) else ()


def span(seconds: float) -> str:
    """A time for people, in its largest whole unit."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plain(name: object) -> str:
    """A name that Vault told us, if it looks like one."""
    return scrub(name) if isinstance(name, str) and _NAME.fullmatch(name) else "[unprintable]"
