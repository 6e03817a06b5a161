"""One session with one Vault, shared by all its destinations: the one door through which calls go.

A token is renewed when two thirds of its time are used up; where that gives little or nothing, the session logs in
anew. While that fails too, the token is used for as long as it lives.
A call that is refused (403) has the token looked up. If it lives, a policy is missing, and the error names it; if
not, the session logs in anew, or reads VAULT_TOKEN_FILE again, and repeats the call once.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from rotator.clock import Clock
from rotator.destinations import vault_errors
from rotator.destinations.base import DestinationRefused
from rotator.destinations.vault_errors import READ, Call, Reply
from rotator.destinations.vault_login import (
    LOOKUP,
    TOKEN,
    Lease,
    VaultAccess,
    VaultLogin,
    duration,
    span,
    who,
)
from rotator.destinations.vault_transport import Transport
from rotator.errors import RotatorError, Unreachable

log = logging.getLogger(__name__)

_GOODBYE: Final = (1.0, 2.0)
"""Time-outs in seconds of the last call of all, for whose outcome nobody waits."""


class VaultSession:
    """Nothing is looked at or sent before the first call. Safe to use from several threads."""

    def __init__(self, access: VaultAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._lock = threading.RLock()
        self._transport: Transport | None = None
        self._login: VaultLogin | None = None
        self._lease: Lease | None = None
        self._failures = 0
        """Times that Vault could not be reached for a first token."""
        self._failure: Unreachable | None = None
        self._kv2_mounts: set[str] = set()

    @property
    def namespace(self) -> str | None:
        return self._access.namespace

    def call(self, call: Call, *, body: str | None = None, version: int | None = None) -> Reply:
        """An answer that is a success, `is_cas_mismatch`, or, to a GET, `is_nothing`. Everything else is raised:
        InvalidInput, Unreachable (`Lost` where it may have been executed), CredentialRejected, DestinationRefused."""
        reply, about = self._answer(call, body, version)
        if reply.is_denied:
            if not reply.json():
                raise vault_errors.explain(call, reply)  # a page of what stands between
            if about is None and self._access.auth == TOKEN:
                raise vault_errors.dead_token()
            # The token of a login just made lives, even if it may not look itself up.
            raise vault_errors.missing_policy(call, who(about or {}))
        if reply.ok or reply.is_cas_mismatch or (reply.is_nothing and not call.changes):
            return reply
        raise vault_errors.explain(call, reply)

    def identity(self) -> str:
        """Who Vault takes us for: the token's display name, policies, and time left. Raises like `call`."""
        about = _object(self.call(Call("GET", LOOKUP, "our token for Vault", READ)).json().get("data"))
        seconds = duration(about.get("ttl"))
        return f"{who(about)}; the token {f'lives {span(seconds)} more' if seconds else 'never expires'}"

    def renew_if_due(self) -> None:
        """Renews our token, or logs in anew, when two thirds of its time are used up. Every call does this first; who
        keeps a session for long without a call does it from time to time. Raises like `call`, but only when there is no
        living token left to go on with."""
        with self._lock:
            if self._login is not None and self._lease is not None and self._lease.is_due(self._clock.boot()):
                self._lease = self._login.prolong(self._lease)

    def require_kv2(self, mount: str, where: str) -> None:
        """Raises DestinationRefused unless a KV version 2 engine is mounted there. A success is remembered.

        Version 1 would store a write of ours as it came, `cas` and all, so this is asked wherever no answer has shown
        the version yet. It takes no policy of its own: `vault kv` asks the same of every token.
        """
        if mount in self._kv2_mounts:
            return
        call = Call("GET", f"sys/internal/ui/mounts/{mount}", where, READ)
        reply, _ = self._answer(call, None, None)
        about = _object(reply.json().get("data"))
        if reply.ok and about.get("type") == "kv" and _object(about.get("options")).get("version") == "2":
            self._kv2_mounts.add(mount)
            return
        if not reply.ok and not reply.is_denied and reply.status != 404:
            raise vault_errors.explain(call, reply)
        what = "is not KV version 2" if reply.ok else "is not there, or our token may see nothing of it"
        raise DestinationRefused(
            f"{where} cannot be used: the engine at `{mount}` {what}",
            then="Nothing was changed",
            remedy="Check `mount` and VAULT_NAMESPACE; `vault kv enable-versioning` makes a version 1 a version 2",
        )

    def close(self) -> None:
        """Revokes the token of our own login, as far as Vault can be reached, and closes the connections."""
        with self._lock:
            transport, lease = self._transport, self._lease
            self._transport = self._login = self._lease = None
        if transport is None:
            return
        if lease is not None and lease.of_a_login:
            try:
                transport.send("POST", "auth/token/revoke-self", token=lease.token, timeouts=_GOODBYE)
            except RotatorError as error:
                log.debug("the token for Vault was not revoked (%s)", error.code)
        transport.close()

    def _answer(
        self, call: Call, body: str | None, version: int | None
    ) -> tuple[Reply, dict[str, Any] | None]:
        """The answer to a living token, and, where that is denied, what Vault tells of the token."""
        about: dict[str, Any] | None = None
        transport, login, lease = self._ready()
        for last in (False, True):
            reply = transport.send(call.method, call.path, token=lease.token, body=body, version=version)
            if not reply.is_denied:
                break
            about = login.about(lease.token)
            if about is not None or last:
                break
            lease = self._replaced(login, lease)
        return reply, about

    def _ready(self) -> tuple[Transport, VaultLogin, Lease]:
        failures = self._failures
        with self._lock:
            if self._transport is None or self._login is None:
                self._transport = self._access.open()
                self._login = VaultLogin(self._access, self._transport, self._clock)
            if self._lease is None:
                if self._failure is not None and self._failures != failures:
                    # Vault was away for another thread while this one waited: not one time-out after another.
                    raise _again(self._failure)
                try:
                    self._lease = self._login.begin()
                except Unreachable as error:
                    self._failures, self._failure = self._failures + 1, _again(error)
                    raise
            self.renew_if_due()
            return self._transport, self._login, self._lease

    def _replaced(self, login: VaultLogin, dead: Lease) -> Lease:
        """Another token than the dead one; the same for all threads that come with that."""
        with self._lock:
            if self._lease is None or self._lease.token == dead.token:
                self._lease = login.begin(dead.token)
            return self._lease


def _again(error: Unreachable) -> Unreachable:
    """The same for another thread, without the traceback of the first."""
    return type(error)(error.happened, then=error.then, remedy=error.remedy)


def _object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
