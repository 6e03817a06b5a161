"""AWS Secrets Manager: staged under a private label, promoted by moving AWSCURRENT.

Moving AWSCURRENT away from a named holder is the compare-and-set; the version of a `Reading` is the
holder's id. The first version of a secret becomes current whatever labels were asked for (PutSecretValue
reference), so an empty secret first gets a version that holds nothing, and all after that is the one path.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import threading
from collections.abc import Callable
from typing import Any, Final

from rotator.clock import Clock
from rotator.destinations import aws_errors, document
from rotator.destinations.aws_secret import CURRENT, Answered, AwsSecret, Version, holder_of, region_of_arn
from rotator.destinations.base import Content, DestinationRefused, Reading, Staged
from rotator.destinations.write_id import write_id
from rotator.errors import CredentialRejected, InvalidInput, RotatorError, Unreachable, VersionConflict
from rotator.model import DestinationSpec
from rotator.secret import Secret

log = logging.getLogger(__name__)

PENDING: Final = "ROTATOR_PENDING"
"""Never AWSPENDING: a leftover of that makes AWS think that a native rotation is running."""
PROBE: Final = "ROTATOR_PROBE"

NO_VERSION: Final = "no-version"
"""The version of a reading of a secret that exists and never had a value."""

_PROBE_TEXT: Final = '{"rotator": "proves that this secret can be written; holds nothing"}'
_RECALLED: Final = 20
"""How many former versions `recall` reads at most; each is a call."""
_CONNECT_TIMEOUT: Final = 5
_READ_TIMEOUT: Final = 10
_ATTEMPTS: Final = 3
_CONNECTIONS: Final = 32
"""Kept open per client; with more threads than that, connections are made and thrown away."""


class AwsSecretsManagerDestination:
    """One secret, or one field of its JSON. `options`: `secret_id` (name or ARN) and `region` (or None)."""

    def __init__(self, spec: DestinationSpec, clock: Clock) -> None:
        self.spec = spec
        self._clock = clock
        self._name = str(spec.options["secret_id"])
        self._region: str | None = spec.options.get("region") or region_of_arn(self._name)
        self._where = f"AWS secret {self._name}" + (f" ({self._region})" if self._region else "")
        self._field = document.Field(spec.key, document.JSON if spec.key is not None else None, self._where)
        call = functools.partial(_call, "secretsmanager", self._region, self._where)
        self._secret = AwsSecret(call, clock, name=self._name, where=self._where)
        # The id of the version that holds nothing: the same for every process, so that racing is harmless.
        self._empty_id = write_id(place=spec.place, purpose="empty", rotation="", base="")

    def describe(self) -> str:
        """Which secret, region and field."""
        return self._where + (f", field {self.spec.key}" if self.spec.key is not None else "")

    def identity(self) -> str:
        """The ARN that STS tells for our credentials; asking needs no permission (STS API reference)."""
        caller = _call("sts", self._region, "the identity of this process", "GetCallerIdentity")
        return str(caller["Arn"])

    def preflight_shows(self, reading: Reading) -> bool:
        """A secret without a version gets its first one in preflight."""
        return reading.version in (None, NO_VERSION)

    # --- reading ----------------------------------------------------------------------------------

    def read(self) -> Reading:
        current, exists = self._current()
        if current is None:
            return Reading(Content.MISSING, NO_VERSION if exists else None)
        return self._field.reading(self._text(current), current.id)

    def read_staged(self) -> Staged | None:
        pending = self._secret.fetch(stage=PENDING)
        if pending is None or CURRENT in pending.labels:
            return None  # promoted already; only the label was left behind
        return Staged(self._value_or_none(pending), pending.id)

    def recall(self, matches: Callable[[Secret], bool]) -> Secret | None:
        for version_id in self._secret.former_versions()[:_RECALLED]:
            version = self._secret.fetch(version=version_id)
            value = self._value_or_none(version) if version is not None else None
            if value is not None and matches(value):
                return value
        return None

    # --- writing ----------------------------------------------------------------------------------

    def stage(self, token: Secret, *, rotation: str, base: Reading) -> Staged:
        staged = self._put_pending(token, rotation, base)
        for _ in self._secret.looks():
            if self._secret.fetch(version=staged.version) is not None:
                return staged
        raise self._secret.not_visible_yet()

    def publish(self, token: Secret, *, rotation: str, base: Reading) -> None:
        self.promote(self._put_pending(token, rotation, base), base=base)

    def promote(self, staged: Staged, *, base: Reading) -> None:
        base_id = self._base_id(base)
        if staged.version != base_id:
            self._move_current(staged.version, base_id)
            self._await_current(staged.version, base_id)
        # Promoted is promoted: a private label that stays behind is only untidy, and `read_staged` knows.
        try:
            self._secret.unlabel(PENDING, staged.version)
        except RotatorError as error:
            log.warning("the label %s stays on %s: %s", PENDING, self._where, error.code)

    def discard(self) -> None:
        for _ in self._secret.looks():
            holder = holder_of(self._secret.about(), PENDING)
            if holder is None or self._secret.unlabel(PENDING, holder):
                return
        raise self._secret.not_visible_yet()

    def _base_id(self, base: Reading) -> str:
        return self._empty_id if base.version in (None, NO_VERSION) else str(base.version)

    def _put_pending(self, token: Secret, rotation: str, base: Reading) -> Staged:
        base_id = self._base_id(base)
        version_id = write_id(
            place=self.spec.ref, purpose="value", rotation=rotation, base=base_id, token=token
        )
        staged = Staged(token, version_id)
        current = self._current_or_begin()
        if current.id == version_id:
            return staged  # a repeat, after the promote
        if current.id != base_id:
            raise self._secret.conflict()
        # The base fixes every other field, so this id stands for exactly this text: a repeat is a no-op.
        text = self._field.put(self._text(current), token.reveal())
        try:
            self._secret.put(version_id, text, PENDING, aws_errors.EXISTS)
        except Answered:
            raise DestinationRefused(
                f"{self._where} has a version {version_id} with another content",
                then="Nothing was changed",
                remedy="Somebody wrote under an id of ours; start a new rotation, which makes new ids",
            ) from None
        return staged

    def _move_current(self, version_id: str, base_id: str) -> None:
        for _ in self._secret.looks():
            unclear: Unreachable | None = None
            try:
                if self._secret.move(CURRENT, to=version_id, removed_from=base_id):
                    return
            except Unreachable as error:
                unclear = error
            # A repeat of a move that was made is refused as well: only the holder tells what happened.
            holder = holder_of(self._secret.about(), CURRENT)
            if holder == version_id:
                return
            if holder not in (base_id, None):
                raise self._secret.conflict()
            if unclear is not None:
                raise unclear
        if self._secret.fetch(version=version_id) is None:
            raise VersionConflict(
                f"The staged version of {self._where} is gone",
                then="Nothing was changed",
                remedy="Stage it again",
            )
        raise self._secret.not_visible_yet()

    def _await_current(self, version_id: str, base_id: str) -> None:
        """Until readers get the new version. One that is neither it nor the base is somebody else's."""
        for _ in self._secret.looks():
            current = self._secret.fetch(stage=CURRENT)
            if current is not None and current.id == version_id:
                return
            if current is not None and current.id != base_id:
                raise self._secret.conflict()
        raise self._secret.not_visible_yet()

    # --- preflight --------------------------------------------------------------------------------

    def preflight(self) -> None:
        """Checks the secret's state, then writes a version under a label of its own, reads and unlabels it.

        The probe holds no copy of the value: permissions and KMS do not depend on the content, and the size
        is computed. Its id changes once a day and with every new current version, because AWS keeps every
        version for 24 hours and refuses writes above its quota: a loop of preflights must not use that up.
        With `create: true` a missing secret is made here, before anything is minted: nobody reads it yet.
        """
        self._secret.refuse_what_others_manage()
        current = self._current_or_begin()
        day = self._clock.now().date().isoformat()
        probe_id = write_id(place=self.spec.place, purpose="probe", rotation=day, base=current.id)
        self._secret.check_size(self._field.put(self._text(current), document.LONGEST_TOKEN))
        self._secret.put(probe_id, _PROBE_TEXT, PROBE)
        for _ in self._secret.looks():
            probe = self._secret.fetch(version=probe_id)
            if probe is not None:
                break
        else:
            raise self._secret.not_visible_yet()
        if PROBE not in probe.labels:
            # Written earlier today already, so the write changed nothing: the label is moved here instead.
            # False only if another preflight moved it first.
            holder = holder_of(self._secret.about(), PROBE)
            self._secret.move(PROBE, to=probe_id, removed_from=holder)
        self._secret.unlabel(PROBE, probe_id)

    # --- the current version ----------------------------------------------------------------------

    def _current(self) -> tuple[Version | None, bool]:
        """The version that readers get, and whether the secret exists. None only where `create` allows it."""
        for _ in self._secret.looks():
            current = self._secret.fetch(stage=CURRENT)
            if current is not None:
                return current, True
            about = self._secret.about()
            if holder_of(about, CURRENT) is None:
                break
        else:
            raise DestinationRefused(
                f"{self._where} has a current version that holds no value",
                then="Nothing was changed",
                remedy="Give it one in AWS first; an unfinished native rotation leaves such a version",
            )
        if not self.spec.create:
            raise DestinationRefused(
                f"{self._where} {'does not exist' if about is None else 'exists, but never had a value'}",
                then="Nothing was changed",
                remedy="Check `secret_id` and `region`, or say `create: true` at this destination",
            )
        return None, about is not None

    def _current_or_begin(self) -> Version:
        """The current version; a missing or empty secret gets its first one, which holds nothing.

        Repeatable, and safe to race: id and content are the same for everybody, and the private label
        takes nothing from whoever wrote a first version before us.
        """
        current, exists = self._current()
        if current is not None:
            return current
        if not exists and not self._secret.create():
            log.info("%s was made by somebody else meanwhile", self._where)
        for _ in self._secret.looks():
            try:
                self._secret.put(
                    self._empty_id, document.empty_text(self._field.form), PENDING, aws_errors.NOT_FOUND
                )
            except Answered:
                continue  # made a moment ago, and not known everywhere yet
            current = self._secret.fetch(stage=CURRENT)
            if current is not None:
                return current
        raise self._secret.not_visible_yet()

    def _text(self, version: Version) -> str:
        if version.text is None:
            raise DestinationRefused(
                f"{self._where} holds binary data (SecretBinary)",
                then="Nothing was changed",
                remedy="Name a secret whose value is text",
            )
        return version.text

    def _value_or_none(self, version: Version) -> Secret | None:
        try:
            value = self._field.get(self._text(version))
        except DestinationRefused:
            return None
        return Secret(value) if value else None


# --- boto3 ----------------------------------------------------------------------------------------


class _Clients:
    """Clients shared by all threads: boto3 clients may be, sessions may not, so each is made under a lock.

    The key holds a digest of AWS's environment variables: a process that changes its credentials or
    endpoint gets clients that know.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str | None, int], Any] = {}

    def get(self, service: str, region: str | None) -> Any:
        # At DEBUG these log whole requests and answers, values included (measured with boto3 1.44.5).
        # Looked at before each call, because a later `logging` set-up may have opened them again.
        for name in ("boto3", "botocore", "urllib3"):
            logger = logging.getLogger(name)
            if logger.level < logging.WARNING:
                logger.setLevel(logging.WARNING)
        key = self._key(service, region)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = _new_client(service, region)
            return self._clients[key]

    def forget(self, service: str, region: str | None) -> None:
        """The next call goes through the credential chain again, which may find another credential by then."""
        with self._lock:
            self._clients.pop(self._key(service, region), None)

    def _key(self, service: str, region: str | None) -> tuple[str, str | None, int]:
        environment = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
        return service, region, hash(tuple(environment))


_clients = _Clients()


def _new_client(service: str, region: str | None) -> Any:
    import boto3  # noqa: PLC0415  # heavy: loaded by the first call, not by `rotator --help`
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
        user_agent_extra="rotator",
    )
    # AWS_REGION is what containers and the other SDKs set; boto3 itself reads AWS_DEFAULT_REGION.
    chosen = region or os.environ.get("AWS_REGION") or None
    session: Any = boto3.session.Session()  # the stubs know `client` only for service names written out
    return session.client(service, region_name=chosen, config=config)


def _call(
    service: str, region: str | None, where: str, operation: str, *expected: str, **parameters: Any
) -> dict[str, Any]:
    """One call; boto3 sends it up to three times. Raises `Answered` for the error codes in `expected`.

    Errors are raised outside of the `except` blocks: boto3's own ones may quote the request, and must not
    live on as the context of ours.
    """
    from botocore import exceptions as aws  # noqa: PLC0415  # see _new_client
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    action = f"{service}:{operation}"
    problem: Exception
    try:
        method = getattr(_clients.get(service, region), re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower())
        return dict(method(**parameters))
    except aws.ClientError as error:
        details = error.response.get("Error", {})
        code = str(details.get("Code", "unknown"))[:80]
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if error.operation_name != operation:
            action = f"sts:{error.operation_name}"  # boto3 was still fetching credentials
        if code in expected:
            problem = Answered(code)
        else:
            message = str(details.get("Message", ""))
            problem = aws_errors.explain(
                action=action, where=where, code=code, status=status, message=message
            )
            if aws_errors.is_credential_problem(code, status):
                _clients.forget(service, region)
    except aws.NoRegionError:
        problem = InvalidInput(
            f"No AWS region is known for {where}",
            then="Nothing was changed",
            remedy="Say `region:` at this destination, or set AWS_REGION",
        )
    except (aws.HTTPClientError, aws.ConnectionError, aws.IncompleteReadError, ResponseParserError) as error:
        problem = aws_errors.no_answer(action=action, where=where, kind=type(error).__name__)
    except (
        aws.NoCredentialsError,
        aws.PartialCredentialsError,
        aws.CredentialRetrievalError,
        aws.TokenRetrievalError,
        aws.MetadataRetrievalError,
        aws.SSOError,
    ) as error:
        _clients.forget(service, region)
        problem = CredentialRejected(
            f"No usable AWS credentials were found for {where} ({type(error).__name__})",
            then="Nothing was sent",
            remedy="Set them where boto3 looks for them: variables, profile, web identity, instance role",
        )
    except (aws.BotoCoreError, ValueError) as error:
        problem = InvalidInput(
            f"boto3 refuses to call {action} on {where} ({type(error).__name__})",
            then="Nothing was sent",
            remedy="Check `secret_id`, `region`, and the AWS_ variables of this process",
        )
    # Also what boto3 never promised: a traceback would show the whole secret, other fields included.
    except Exception as error:  # noqa: BLE001
        problem = aws_errors.no_answer(action=action, where=where, kind=type(error).__name__)
    raise problem
