"""What the engine needs of a secret store, and the rule of what we may write there.

One contract suite (`tests/destinations/contract.py`) runs over every implementation and every fake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rotator.errors import Refused, RotatorError
from rotator.model import DestinationSpec
from rotator.secret import Secret


class DestinationRefused(Refused):
    """The place exists in a state we must not write to, or may not: missing, scheduled for deletion,
    natively rotated, not JSON where a field is asked for, permission denied."""

    code = "destination-refused"


class Content(StrEnum):
    """What stands at the place."""

    MISSING = "missing"
    """No secret, no file, or no such field in it."""
    EMPTY = "empty"
    """Null or an empty text."""
    TOKEN = "token"  # noqa: S105  # the name of a kind, no credential
    """Something with the shape of a project token."""
    FOREIGN = "foreign"
    """Anything else."""


@dataclass(frozen=True)
class Reading:
    """What readers of a destination get now.

    `version` names the state that was read; it is what `publish`, `stage` and `promote` compare
    against, and it changes with every write by anybody to any field of the same secret.
    `None` means that the secret itself does not exist.
    """

    content: Content
    version: str | None
    value: Secret | None = None
    """Set for TOKEN and FOREIGN."""

    @property
    def value_if_token(self) -> Secret | None:
        """The value where it has the shape of a project token."""
        return self.value if self.content is Content.TOKEN else None


@dataclass(frozen=True)
class Staged:
    """A version that readers of the current one do not see."""

    value: Secret | None
    version: str
    """The staged version's own name in the store."""


class Destination(Protocol):
    """One place in one secret store. Safe to use from several threads.

    Every method raises Unreachable (could not be reached, throttled, sealed: try again),
    CredentialRejected (our own credential at the store is refused) or DestinationRefused.
    Writes raise VersionConflict when the place is no longer at `base`.
    An answer to a write that got lost is retried or looked up inside: a write is repeatable.
    """

    spec: DestinationSpec

    def describe(self) -> str:
        """For people: which store, which place, which field."""
        ...

    def identity(self) -> str:
        """For people: who we are to the store, in the store's own words (an ARN, a Vault token's display
        name and policies, a user of this machine). Never a secret."""
        ...

    def preflight_shows(self, reading: Reading) -> bool:
        """Whether `preflight` would do something at this reading that readers see, such as making a missing
        secret where the policy says `create: true`: then who only looks leaves it out."""
        ...

    def preflight(self) -> None:
        """Proves that a write would succeed, by a real write through the real path that no reader of
        the current version can see and that leaves staged versions alone."""
        ...

    def read(self) -> Reading:
        """What readers get now. Reads the named current version, never a default."""
        ...

    def read_staged(self) -> Staged | None:
        """The version that an unfinished `stage` or `publish` of ours left behind, if any."""
        ...

    def stage(self, token: Secret, *, rotation: str, base: Reading) -> Staged:
        """Writes a version with the token and every other field as in the current one; readers of the
        current version do not see it. Repeatable with the same arguments; replaces an earlier staged one."""
        ...

    def promote(self, staged: Staged, *, base: Reading) -> None:
        """Makes a staged version the current one, if the place is still at `base`. Repeatable: done
        already is done."""
        ...

    def publish(self, token: Secret, *, rotation: str, base: Reading) -> None:
        """Makes the token the current one by whatever the store does best."""
        ...

    def discard(self) -> None:
        """Removes a staged version; nothing staged is fine."""
        ...

    def recall(self, matches: Callable[[Secret], bool]) -> Secret | None:
        """Finds a former value among the versions the store still keeps; None if none matches."""
        ...


class DestinationFactory(Protocol):
    """Makes the destination of a spec; the composition root knows the types."""

    def __call__(self, spec: DestinationSpec) -> Destination: ...


@dataclass(frozen=True)
class Ownership:
    """The answer to "may we write there?", with the reason in words."""

    ours: bool
    reason: str
    adopted: bool = False
    """A token we did not write but take over; adopting never rotates by itself."""


def classify(value: str | None) -> Content:
    """What a field's text is. `None` is a field that is not there or null."""
    if value is None:
        return Content.MISSING
    if not value.strip():
        return Content.EMPTY
    return Content.TOKEN if Secret(value).is_project_token else Content.FOREIGN


def may_write(
    reading: Reading,
    *,
    overwrite: bool,
    known_project: str | None,
    project_ids: tuple[str, ...],
    alive: Callable[[], bool],
    authoritative: Secret | None,
) -> Ownership:
    """Decides whether a destination is ours to write (design: "May we write there?").

    `known_project` is the project for which the journal knows this value, if it does; `alive` pings
    it, and is asked only where the answer matters; `authoritative` is what the authoritative
    destination holds, or None where this *is* the authoritative one.
    """
    if reading.content in (Content.MISSING, Content.EMPTY):
        return Ownership(True, "nothing is there yet")
    if reading.content is Content.TOKEN and reading.value is not None:
        if known_project in project_ids:
            return Ownership(True, "the journal knows this token as ours")
        if known_project is not None:
            if overwrite:
                return Ownership(True, "overwrite: true", adopted=True)
            return Ownership(False, f"it holds a token of another project, {known_project}")
        if authoritative is None or reading.value == authoritative or not alive():
            return Ownership(True, "it holds a project token, which is adopted", adopted=True)
        if overwrite:
            return Ownership(True, "overwrite: true", adopted=True)
        return Ownership(False, "it holds a living token that differs from the authoritative destination's")
    if overwrite:
        return Ownership(True, "overwrite: true", adopted=True)
    return Ownership(False, "it holds something that is not a Lettermint project token")


def foreign(where: str, ownership: Ownership) -> RotatorError:
    """The refusal for a place that is not ours."""
    return DestinationRefused(
        f"{where} is not ours to write: {ownership.reason}",
        then="Nothing was changed",
        remedy="Check `key` and the place in the policy; if it may be replaced, say `overwrite: true` there",
    )
