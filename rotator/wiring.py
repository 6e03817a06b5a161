"""The composition root: the one place that names concrete classes and puts them together.

Everything is made when it is first asked for, so that a command loads and opens only what it needs.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rotator.audit.base import Audit, AuditEvent
from rotator.clock import Clock
from rotator.destinations.base import Destination
from rotator.engine.context import Observer, Timings
from rotator.engine.runner import Ports, Runner
from rotator.errors import InvalidInput, Refused
from rotator.interrupt import Stop
from rotator.journal.base import Holder, Journal
from rotator.model import Decision, DestinationSpec, Policy, ProjectFacts, VerifySpec
from rotator.provider.base import Limiter, Provider
from rotator.secret import Fingerprinter, Secret, key_check
from rotator.settings import Settings
from rotator.verifiers.base import Verifier

if TYPE_CHECKING:
    from rotator.policies.load import LoadedPolicies

log = logging.getLogger(__name__)


class Wiring:
    """One process's parts. Safe to use from several threads once `prepare` was called."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        stop: Stop,
        observer: Observer,
        announce: Callable[[str], None],
        unwritten: Callable[[AuditEvent, datetime], None],
        command: str,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.stop = stop
        self.observer = observer
        self._announce = announce
        """Tells a person something once, on standard error."""
        self._unwritten = unwritten
        self._command = command
        self._lock = threading.RLock()
        self._destinations: dict[str, Destination] = {}
        self._verifiers: dict[VerifySpec, Verifier] = {}

    # policies

    @cached_property
    def loaded(self) -> LoadedPolicies:
        """Every policy of the settings' path. Raises InvalidPolicies."""
        from rotator.policies.load import load_policies  # noqa: PLC0415  # pydantic loads only when needed

        return load_policies([self.settings.policies])

    @property
    def policies(self) -> tuple[Policy, ...]:
        return self.loaded.policies

    def decide(self, policy: Policy, facts: ProjectFacts) -> Decision:
        """Whether a policy is due, from what the provider last said."""
        from rotator.planner import decide  # noqa: PLC0415  # with the policies
        from rotator.policies.cron import next_after  # noqa: PLC0415

        return decide(policy, facts.token_generated_at, self.clock.now(), next_after)

    # the record

    @cached_property
    def holder(self) -> Holder:
        from rotator.journal.holder import this_process  # noqa: PLC0415  # only for commands that act

        return this_process(self._command)

    @cached_property
    def journal(self) -> Journal:
        """The journal, made if there is none. Its audit key is checked. Raises InvalidInput, JournalUnavailable."""
        with self._lock:
            from rotator.journal.sqlite import SqliteJournal  # noqa: PLC0415

            key = self.audit_key  # first: it is made beside a journal that does not exist yet
            journal = SqliteJournal.open(self._sqlite_path(), self.clock, create=True)
            if journal.created:
                self._announce(
                    f"A new journal was made at {self.settings.journal.shown}; what came before it is unknown to it."
                )
            known = journal.key_check()
            if known is None:
                journal.set_key_check(key_check(key))
            elif known != key_check(key):
                raise InvalidInput(
                    f"ROTATOR_AUDIT_KEY is not the key that the journal {self.settings.journal.shown} began with",
                    then="Nothing was done, because fingerprints would not match and the audit chain would break",
                    remedy="Give the former key back, or move journal and audit log aside together and begin anew",
                )
            return journal

    @cached_property
    def journal_to_read(self) -> Journal:
        """The journal for commands that change nothing: none is made, an absent one reads as empty."""
        from rotator.journal.sqlite import SqliteJournal  # noqa: PLC0415

        path = self._sqlite_path()
        if not path.exists():
            self._announce(f"There is no journal at {self.settings.journal.shown} yet.")
            return SqliteJournal.in_memory(self.clock)
        return SqliteJournal.open(path, self.clock, create=False)

    def _sqlite_path(self) -> Path:
        path = self.settings.journal.sqlite_path
        if path is None:
            raise InvalidInput(
                "This version of rotator keeps its journal in SQLite only",
                then="Nothing was done",
                remedy="Set ROTATOR_JOURNAL to sqlite:///path",
            )
        return path

    @cached_property
    def audit_key(self) -> Secret:
        from rotator.settings import ensure_audit_key  # noqa: PLC0415  # may write a file

        key, warning = ensure_audit_key(self.settings)
        if warning:
            self._announce(warning)
        return key

    @cached_property
    def fingerprints(self) -> Fingerprinter:
        return Fingerprinter(self.audit_key)

    @cached_property
    def audit(self) -> Audit:
        with self._lock:
            from rotator.audit.jsonl import JsonlAudit  # noqa: PLC0415

            journal = self.journal
            audit = JsonlAudit(
                self.settings.audit_log,
                self.audit_key,
                journal,
                self.clock,
                {
                    "host": socket.gethostname(),
                    "user": _user(),
                    "pid": str(os.getpid()),
                    "command": self._command,
                },
            )
            if journal.created:
                audit.record(AuditEvent("journal.create", data={"journal": journal.id}))
            return audit

    # the outside

    @cached_property
    def limiter(self) -> Limiter:
        from rotator.provider.limits import JournalLimiter  # noqa: PLC0415

        return JournalLimiter(self.journal, self.clock, rotate_limit=self.settings.rotate_limit)

    @cached_property
    def provider(self) -> Provider:
        with self._lock:
            from rotator.provider.lettermint import LettermintProvider  # noqa: PLC0415  # httpx

            return LettermintProvider(
                self.settings.api_url,
                self.settings.team_token,
                self.limiter,
                self.clock,
                call_timeout=self.settings.call_timeout,
            )

    def destination(self, spec: DestinationSpec) -> Destination:
        """The destination of a spec; one object per place, so that its client is shared."""
        with self._lock:
            if spec.ref not in self._destinations:
                self._destinations[spec.ref] = self._make_destination(spec)
            return self._destinations[spec.ref]

    def _make_destination(self, spec: DestinationSpec) -> Destination:
        if spec.type == "aws-secrets-manager":
            from rotator.destinations.aws_secrets_manager import (  # noqa: PLC0415  # boto3
                AwsSecretsManagerDestination,
            )

            return AwsSecretsManagerDestination(spec, self.clock)
        if spec.type == "file":
            from rotator.destinations.file import FileDestination  # noqa: PLC0415

            return FileDestination(spec, self.clock)
        raise Refused(
            f"This version of rotator does not write to destinations of type {spec.type}",
            then="Nothing was changed",
            remedy="Types it writes to: aws-secrets-manager, file",
        )

    def verifier(self, spec: VerifySpec) -> Verifier:
        with self._lock:
            if spec not in self._verifiers:
                self._verifiers[spec] = self._make_verifier(spec)
            return self._verifiers[spec]

    def _make_verifier(self, spec: VerifySpec) -> Verifier:
        from rotator.verifiers.ping import PingVerifier  # noqa: PLC0415
        from rotator.verifiers.send import SendVerifier  # noqa: PLC0415

        if spec.type == "ping":
            return PingVerifier(self.provider)
        if spec.type == "send":
            return SendVerifier(self.provider, spec, self.clock)
        raise Refused(
            f"This version of rotator does not verify by {spec.type}",
            then="Nothing was changed",
            remedy="Verifiers it has: ping, send",
        )

    # the engine

    @cached_property
    def ports(self) -> Ports:
        from rotator.policies.load import from_snapshot  # noqa: PLC0415

        return Ports(
            provider=self.provider,
            destination=self.destination,
            verifier=self.verifier,
            limiter=self.limiter,
            journal=self.journal,
            audit=self.audit,
            fingerprints=self.fingerprints,
            clock=self.clock,
            from_snapshot=from_snapshot,
        )

    @cached_property
    def runner(self) -> Runner:
        timings = Timings(call=self.settings.call_timeout, lease=self.settings.lease)
        return Runner(self.ports, self.holder, timings, self.stop, self.observer, self._unwritten)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return str(os.getuid())
