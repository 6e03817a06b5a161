"""The composition root: the one place that names concrete classes and puts them together.

Everything is made when it is first asked for, so that a command loads and opens only what it needs.
One module because no other may name a concrete class, and who is made of what is read in one place.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rotator.audit.base import Audit, AuditEvent
from rotator.clock import Clock
from rotator.consumers.base import Consumer
from rotator.destinations.base import Destination
from rotator.engine.context import Observer, Timings
from rotator.engine.leasing import Leasing
from rotator.engine.ports import Ports
from rotator.engine.runner import Runner
from rotator.errors import AuditUnavailable, InvalidInput
from rotator.interrupt import Stop
from rotator.journal.base import Holder, Journal, NoJournal
from rotator.model import DestinationSpec, Policy, VerifySpec
from rotator.notifiers.base import Notifier
from rotator.provider.base import Limiter, Preparer, Provider
from rotator.secret import Fingerprinter, Secret, key_check
from rotator.settings import Settings
from rotator.verifiers.base import Verifier

if TYPE_CHECKING:
    from rotator.consumers.kubernetes_api import KubernetesApi
    from rotator.destinations.vault_session import VaultSession
    from rotator.http_client import HttpClient
    from rotator.operations.notices import Delivery, Notifications
    from rotator.policies.load import LoadedPolicies
    from rotator.posting import EventPoster

log = logging.getLogger(__name__)


class Wiring:
    """One process's parts. Safe to use from several threads once `ports` was asked for."""

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
        urgent: bool = False,
        without_journal: bool = False,
    ) -> None:
        """`urgent`: an audit log that takes no line stops nothing. `without_journal`: a person said that it must
        go without one; what it would hold is then in memory, and ends with this process."""
        self.settings = settings
        self.clock = clock
        self.stop = stop
        self.observer = observer
        self._announce = announce
        """Tells a person something once, on standard error."""
        self._unwritten = unwritten
        self._command = command
        self._urgent = urgent or without_journal
        self.without_journal = without_journal
        self.audit_is_spoken = False
        """Once `audit` was asked for: its lines are on standard error only."""
        self.stays = False
        """This process does not end by itself, so it need not give up; set before `runner` is asked for."""
        self._begun = clock.now()
        self._lock = threading.RLock()
        self._closing = ExitStack()
        self.provider_called: Callable[[str, str, float], None] = lambda _call, _status, _seconds: None
        """Told of every call of the provider; to be set before the provider is made."""
        self.audit_failed: Callable[[], None] | None = None
        """Told of every line that the audit did not take; to be set before the audit is made."""
        self.notified: Callable[[Delivery], None] = lambda _: None
        """Told of every try to tell a notifier something; to be set before `notifications` is asked for."""
        self._destinations: dict[str, Destination] = {}
        self._verifiers: dict[VerifySpec, Verifier] = {}
        self._consumers: dict[str, Consumer] = {}

    def close(self) -> None:
        """Ends what was opened. Harmless when repeated; nothing may be used afterwards."""
        self._closing.close()

    @cached_property
    def person(self) -> str:
        """Who runs this process, for the record."""
        return f"{_user()}@{socket.gethostname()}"

    # policies

    @cached_property
    def loaded(self) -> LoadedPolicies:
        """Every policy of the settings' path. Raises InvalidPolicies."""
        from rotator.policies.load import load_policies  # noqa: PLC0415  # pydantic loads only when needed

        return load_policies([self.settings.policies])

    @property
    def policies(self) -> tuple[Policy, ...]:
        return self.loaded.policies

    # the record

    @cached_property
    def holder(self) -> Holder:
        from rotator.journal.holder import this_process  # noqa: PLC0415  # only for commands that act

        return this_process(self.clock, self._command)

    @cached_property
    def journal(self) -> Journal:
        """The journal, made if there is none. Its audit key is checked. Raises InvalidInput, JournalUnavailable."""
        with self._lock:
            if self.without_journal:
                return self._empty_journal()
            key = self.audit_key  # first: it is made beside a journal that does not exist yet
            journal = self._open_journal(create=True)
            if journal.created:
                self._announce(
                    f"A new journal was made at {self.settings.journal.shown}; what came before it is unknown to it."
                )
            self._check_key(journal, key)
            if journal.key_check() is None:
                journal.set_key_check(key_check(key))
            return journal

    @cached_property
    def journal_to_read(self) -> Journal:
        """The journal for commands that change nothing: none is made, an absent one reads as empty."""
        if self.without_journal:
            return self.journal
        try:
            return self._open_journal(create=False)
        except NoJournal:
            self._announce(f"There is no journal at {self.settings.journal.shown} yet.")
            return self._empty_journal()

    def _open_journal(self, *, create: bool) -> Journal:
        """The journal that the settings name. Raises NoJournal where there is none and none is to be made."""
        where = self.settings.journal
        journal: Journal
        if where.sqlite_path is not None:
            from rotator.journal.sqlite import SqliteJournal  # noqa: PLC0415

            if not (create or _is_there(where.sqlite_path)):
                raise NoJournal(f"There is no journal at {where.shown}", then="Nothing was done")
            journal = SqliteJournal.open(where.sqlite_path, self.clock, create=create)
        else:
            assert where.url is not None
            try:
                from rotator.journal.postgresql import PostgresqlJournal  # noqa: PLC0415  # psycopg
            except ImportError as error:
                raise InvalidInput(
                    "A journal on PostgreSQL needs the package psycopg, which does not load here",
                    then="Nothing was done",
                    remedy="Install rotator with it, in the folder of its source: `pip install '.[postgres]'`",
                ) from error
            # Each machine's audit log is a chain of its own; the same file has the same name after a restart.
            audit_log = f"{socket.gethostname()}:{self.settings.audit_log.absolute()}"
            journal = PostgresqlJournal.open(
                where.url, where.shown, self.clock, audit_log=audit_log, create=create
            )
        self._closing.callback(journal.close)
        return journal

    def _empty_journal(self) -> Journal:
        """One of this process alone."""
        from rotator.journal.sqlite import SqliteJournal  # noqa: PLC0415

        journal = SqliteJournal.in_memory(self.clock)
        self._closing.callback(journal.close)
        return journal

    def _check_key(self, journal: Journal, key: Secret) -> None:
        if journal.key_check() not in (None, key_check(key)):
            raise InvalidInput(
                f"ROTATOR_AUDIT_KEY is not the key that the journal {self.settings.journal.shown} began with",
                then="Nothing was done, because fingerprints would not match and the audit chain would break",
                remedy="Give the former key back, or move journal and audit log aside together and begin anew",
            )

    @cached_property
    def audit_key(self) -> Secret:
        from rotator.settings import ensure_audit_key  # noqa: PLC0415  # may write a file

        if self.without_journal:
            return self._key_there or self._passing_key
        key, warning = ensure_audit_key(self.settings)
        if warning:
            self._announce(warning)
        return key

    @cached_property
    def _key_there(self) -> Secret | None:
        from rotator.credentials import key_there  # noqa: PLC0415

        journal = self.settings.journal.sqlite_path
        return key_there(self.settings.audit_key, journal.parent / "audit.key" if journal else None)

    @cached_property
    def _passing_key(self) -> Secret:
        self._announce(
            "There is no audit key, so fingerprints are made with one that ends with this process: they cannot be "
            "compared with any others."
        )
        return Secret(secrets.token_hex(32))

    @cached_property
    def audit_key_to_read(self) -> Secret:
        """The audit key for commands that change nothing: none is made. Raises InvalidInput without one."""
        if self.without_journal:
            return self.audit_key
        path = self.settings.journal.sqlite_path
        if path is not None and not self._has_audit_key:
            raise InvalidInput(
                "There is no audit key: ROTATOR_AUDIT_KEY is not set, and there is none at "
                f"{path.parent / 'audit.key'}",
                then="Nothing was read, because nothing can be told without it",
                remedy="Name the journal of the rotator you mean with --journal, or set ROTATOR_AUDIT_KEY_FILE",
            )
        key = self.audit_key
        self._check_key(self.journal_to_read, key)
        return key

    @property
    def _has_audit_key(self) -> bool:
        path = self.settings.journal.sqlite_path
        begun = path is not None and (_is_there(path) or _is_there(path.parent / "audit.key"))
        return self.settings.audit_key.configured or begun

    @cached_property
    def fingerprints(self) -> Fingerprinter:
        return Fingerprinter(self.audit_key)

    @cached_property
    def fingerprints_to_read(self) -> Fingerprinter | None:
        """For commands that change nothing: None where there is no audit key yet. Raises InvalidInput."""
        if not self.without_journal and not self._has_audit_key:
            return None
        return Fingerprinter(self.audit_key_to_read)

    @cached_property
    def audit(self) -> Audit:
        with self._lock:
            from rotator.audit.counted import CountedAudit  # noqa: PLC0415
            from rotator.audit.jsonl import JsonlAudit  # noqa: PLC0415

            journal = self.journal
            if self.without_journal and self._key_there is None:
                # A chain that goes on with a passing key would be broken for good.
                return self._spoken_audit("there is no audit key to chain its lines with")
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
            if self.without_journal:
                try:
                    audit.check_writable()
                except AuditUnavailable as error:
                    return self._spoken_audit(error.happened)
            elif journal.created:
                self._record_new(audit, AuditEvent("journal.create", data={"journal": journal.id}))
            return CountedAudit(audit, self.audit_failed) if self.audit_failed is not None else audit

    def _record_new(self, audit: Audit, event: AuditEvent) -> None:
        try:
            audit.record(event)
        except AuditUnavailable:
            if not self._urgent:
                raise
            self._unwritten(event, self.clock.now())

    def _spoken_audit(self, why: str) -> Audit:
        from rotator.audit.spoken import SpokenAudit  # noqa: PLC0415

        self.audit_is_spoken = True
        self._announce(f"The audit goes to standard error, because {why}. Keep its lines (audit-event:).")
        return SpokenAudit(self._unwritten, self.clock)

    # the outside

    @cached_property
    def limiter(self) -> Limiter:
        from rotator.provider.limits import RateLimits  # noqa: PLC0415

        return RateLimits(self.journal, self.clock, rotate_limit=self.settings.rotate_limit)

    @cached_property
    def provider(self) -> Provider:
        with self._lock:
            return self._make_provider(self.limiter)

    @cached_property
    def provider_to_read(self) -> Provider:
        """The provider for commands that change nothing: asking it makes no journal."""
        from rotator.provider.limits import RateLimits  # noqa: PLC0415

        limits = RateLimits(self.journal_to_read, self.clock, rotate_limit=self.settings.rotate_limit)
        return self._make_provider(limits)

    def _make_provider(self, limiter: Limiter) -> Provider:
        from rotator.provider.credential import TeamCredential  # noqa: PLC0415
        from rotator.provider.lettermint import LettermintProvider  # noqa: PLC0415  # httpx

        provider = LettermintProvider(
            self.settings.api_url,
            TeamCredential(self.settings.team_token.get),
            limiter,
            self.clock,
            call_timeout=self.settings.call_timeout,
            observer=self.provider_called,
        )
        self._closing.callback(provider.close)
        return provider

    @cached_property
    def preparer(self) -> Preparer:
        """The provider with the calls that make a project like another. Asking it makes no journal."""
        from rotator.provider.credential import TeamCredential  # noqa: PLC0415
        from rotator.provider.limits import RateLimits  # noqa: PLC0415
        from rotator.provider.preparing import LettermintPreparer  # noqa: PLC0415  # httpx

        preparer = LettermintPreparer(
            self.settings.api_url,
            TeamCredential(self.settings.team_token.get),
            RateLimits(self.journal_to_read, self.clock, rotate_limit=self.settings.rotate_limit),
            self.clock,
            stop=self.stop,
            call_timeout=self.settings.call_timeout,
        )
        self._closing.callback(preparer.close)
        return preparer

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
        assert spec.type == "vault-kv", spec.type  # the schema knows no other
        from rotator.destinations.vault_kv import VaultKvDestination  # noqa: PLC0415

        return VaultKvDestination(spec, self.clock, self.vault)

    @cached_property
    def vault(self) -> VaultSession:
        """The one session with Vault. Making it asks for nothing: its settings are looked at by the first call."""
        from rotator.destinations.vault_login import VaultAccess  # noqa: PLC0415  # see _make_destination
        from rotator.destinations.vault_session import VaultSession  # noqa: PLC0415

        with self._lock:
            vault = self.settings.vault
            session = VaultSession(
                VaultAccess(
                    address=vault.address,
                    namespace=vault.namespace,
                    cacert=vault.cacert,
                    auth=vault.auth,
                    auth_mount=vault.auth_mount,
                    role=vault.role,
                    token=vault.token.get,
                    role_id=vault.role_id.get,
                    secret_id=vault.secret_id.get,
                    jwt=vault.jwt.get,
                ),
                self.clock,
            )
            self._closing.callback(session.close)
            return session

    def verifier(self, spec: VerifySpec) -> Verifier:
        with self._lock:
            if spec not in self._verifiers:
                self._verifiers[spec] = self._make_verifier(spec)
            return self._verifiers[spec]

    def _make_verifier(self, spec: VerifySpec) -> Verifier:
        from rotator.verifiers.ping import PingVerifier  # noqa: PLC0415
        from rotator.verifiers.send import SendVerifier  # noqa: PLC0415
        from rotator.verifiers.smtp import SmtpVerifier  # noqa: PLC0415

        if spec.type == "ping":
            return PingVerifier(self.provider)
        if spec.type == "send":
            return SendVerifier(self.provider, spec, self.clock)
        assert spec.type == "smtp", spec.type  # the schema knows no other
        return SmtpVerifier(self.settings.smtp_url, seconds=self.settings.call_timeout)

    # who is told

    @cached_property
    def notifications(self) -> Notifications:
        from rotator.operations.notices import Notifications  # noqa: PLC0415  # only for commands that act

        return Notifications(
            self.journal, self.clock, self._make_notifier, begun=self._begun, told=self.notified
        )

    @cached_property
    def _receivers(self) -> HttpClient:
        """The client for addresses that policies name."""
        from rotator.http_client import HttpClient  # noqa: PLC0415  # httpx
        from rotator.operations.notices import CALL_SECONDS  # noqa: PLC0415
        from rotator.urls import may_reach  # noqa: PLC0415

        allowed = self.settings.webhook_networks
        http = HttpClient(
            self.clock,
            call_timeout=CALL_SECONDS,
            may_reach=lambda address, host: may_reach(address, host, allowed),
        )
        self._closing.callback(http.close)
        return http

    def _make_notifier(self, entry: Mapping[str, Any]) -> Notifier:
        """The notifier of one entry of `notify`. Its secrets are read for each message."""
        if entry["type"] == "slack":
            from rotator.notifiers.slack import SlackNotifier  # noqa: PLC0415

            return SlackNotifier(self._receivers, _read_later(entry, "url_file"))
        if entry["type"] == "pagerduty":
            from rotator.notifiers.pagerduty import PagerDutyNotifier  # noqa: PLC0415

            key = _read_later(entry, "routing_key_file")
            return PagerDutyNotifier(self._receivers, self.settings.pagerduty_url, key, source=self._source())
        assert entry["type"] == "webhook", entry["type"]  # the schema knows no other
        from rotator.notifiers.webhook import WebhookNotifier  # noqa: PLC0415

        return WebhookNotifier(self._poster(entry))

    def _poster(self, entry: Mapping[str, Any]) -> EventPoster:
        from rotator.posting import EventPoster  # noqa: PLC0415

        signing_key = _read_later(entry, "signing_key_file") if entry.get("signing_key_file") else None
        return EventPoster(self._receivers, self.clock, entry["url"], signing_key, source=self._source)

    def _source(self) -> str:
        """Names this rotator in what it tells others. Asking makes a journal if there is none."""
        return f"/rotator/{self.journal.id}"

    def consumer(self, entry: Mapping[str, Any]) -> Consumer:
        """The consumer of one entry of `consumers`; one object for each, so that its client is shared."""
        key = json.dumps(entry, sort_keys=True, default=str)
        with self._lock:
            if key not in self._consumers:
                self._consumers[key] = self._make_consumer(entry)
            return self._consumers[key]

    def _make_consumer(self, entry: Mapping[str, Any]) -> Consumer:
        if entry["type"] == "kubernetes-restart":
            from rotator.consumers.kubernetes_restart import KubernetesRestart  # noqa: PLC0415

            return KubernetesRestart(self.kubernetes, entry["kind"], entry["namespace"], entry["name"])
        if entry["type"] == "external-secret":
            from rotator.consumers.external_secret import ExternalSecret  # noqa: PLC0415

            return ExternalSecret(self.kubernetes, entry["namespace"], entry["name"])
        assert entry["type"] == "webhook", entry["type"]  # the schema knows no other
        from rotator.consumers.webhook import WebhookConsumer  # noqa: PLC0415

        return WebhookConsumer(self._poster(entry))

    @cached_property
    def kubernetes(self) -> KubernetesApi:
        """The one client of the cluster. Making it asks for nothing and loads nothing: its first call does."""
        from rotator.consumers.kubernetes_api import KubernetesApi  # noqa: PLC0415

        with self._lock:
            api = KubernetesApi(call_timeout=self.settings.call_timeout)
            self._closing.callback(api.close)
            return api

    # the engine

    @cached_property
    def ports(self) -> Ports:
        from rotator.policies.load import from_snapshot  # noqa: PLC0415

        return Ports(
            provider=self.provider,
            destination=self.destination,
            verifier=self.verifier,
            consumer=self.consumer,
            limiter=self.limiter,
            journal=self.journal,
            audit=self.audit,
            fingerprints=self.fingerprints,
            clock=self.clock,
            from_snapshot=from_snapshot,
        )

    @cached_property
    def leasing(self) -> Leasing:
        """For work on a policy's projects that is no rotation."""
        return Leasing(self.journal, self.holder, self.clock, self.stop, ttl=self.settings.lease)

    @cached_property
    def runner(self) -> Runner:
        timings = Timings(call=self.settings.call_timeout, lease=self.settings.lease, publish_on=self.stays)
        return Runner(self.ports, self.holder, timings, self.stop, self.observer, self._unwritten)


def _read_later(entry: Mapping[str, Any], key: str) -> Callable[[], Secret]:
    """Reads the file that a policy names under a key, each time."""
    from rotator.credentials import read_secret_file  # noqa: PLC0415

    return lambda: read_secret_file(Path(entry[key]), f"{entry['type']}.{key}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return str(os.getuid())


def _is_there(path: Path) -> bool:
    """True also for what lies in a folder that this user may not enter: opening it says what is wrong."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
