"""Vault KV version 2 (and OpenBao): one field of a secret, published by one write with `cas`.

A staged token stands in a secret of its own below the main one, `<path>/rotator-pending`, with the whole merged
document. Publishing and promoting are one write of the main secret on top of the version that was read; the side secret
is removed afterwards, all its versions with it.

A secret whose current version is deleted or destroyed is there, with nothing in it. It is written only with
`create: true`: a new version would make it current again without its other fields, and who deleted it may want it to
stay so, or wants `vault kv undelete`, which brings those fields back. Its versions stay whatever is written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rotator.clock import Clock, rfc3339
from rotator.destinations import document
from rotator.destinations.base import Content, DestinationRefused, Reading, Staged
from rotator.destinations.vault_secret import Moved, VaultSecret, Version
from rotator.destinations.vault_session import VaultSession
from rotator.destinations.write_id import write_id
from rotator.errors import CredentialRejected, InvalidInput, RotatorError, VersionConflict
from rotator.model import DestinationSpec
from rotator.secret import Secret

log = logging.getLogger(__name__)

PENDING: Final = "rotator-pending"
"""Last part of the side secret's path; no policy may name a path that ends so."""

_STAGED: Final = "staged"
_PROBE: Final = "probe"
_RECALLED: Final = 20
"""How many former versions `recall` reads at most; each is a call. Vault keeps 10 if nobody says otherwise."""
_STAGINGS: Final = 3
"""Attempts to replace what is staged while somebody else does so too."""


@dataclass(frozen=True)
class _Note:
    """What stands in the side secret: a staged token with its document, or the remains of a probe."""

    kind: str
    version: str
    rotation: str
    text: str = field(repr=False)
    """The merged document."""

    def to_text(self, base: str | None) -> str:
        """As fields. The base is for people; a promote looks at the secret itself."""
        said = {"rotator": self.kind, "version": self.version, "rotation": self.rotation, "base": base}
        return json.dumps(said)[:-1] + f', "document": {self.text}}}'

    @classmethod
    def from_text(cls, text: str) -> _Note | None:
        """None for anything that rotator did not write."""
        try:
            found = {
                name: document.get_field(text, name, document.JSON)
                for name in ("rotator", "version", "rotation")
            }
            merged = document.get_field(text, "document", document.JSON)
        except document.Malformed:
            return None
        kind = found["rotator"]
        if kind not in (_STAGED, _PROBE):
            return None
        return cls(kind, found["version"] or "", found["rotation"] or "", merged or "")


class VaultKvDestination:
    """One field of one secret. `options`: `mount` and `path` (below the mount, as `vault kv get` takes it)."""

    def __init__(self, spec: DestinationSpec, clock: Clock, session: VaultSession) -> None:
        self.spec = spec
        self._clock = clock
        self._session = session
        mount, path = str(spec.options["mount"]), str(spec.options["path"])
        within = f" (namespace {session.namespace})" if session.namespace else ""
        self._where = f"Vault secret {mount}/{path}{within}"
        if spec.key is None:
            raise InvalidInput(
                f"{self._where} is named without a `key`, and a secret of Vault always has fields",
                then="Nothing was changed",
                remedy="Say `key`, the field for the token",
            )
        self._field = document.Field(spec.key, document.JSON, self._where)
        self._secret = VaultSecret(session, clock, mount=mount, path=path, where=self._where)
        aside = f"Vault secret {mount}/{path}/{PENDING}{within}"
        self._side = VaultSecret(session, clock, mount=mount, path=f"{path}/{PENDING}", where=aside)
        self._annotates = True

    def describe(self) -> str:
        """Which secret and field."""
        return f"{self._where}, field {self.spec.key}"

    def identity(self) -> str:
        """The token's display name, policies and time left, as Vault tells them."""
        return self._session.identity()

    def preflight_shows(self, reading: Reading) -> bool:  # noqa: ARG002  # the port's signature
        """Never: a missing secret is not made, and the side secret is gone again."""
        return False

    # --- reading ----------------------------------------------------------------------------------

    def read(self) -> Reading:
        current = self._current()
        if current is None or current.text is None:
            return Reading(Content.MISSING, current.name if current is not None else None)
        return self._field.reading(current.text, current.name)

    def read_staged(self) -> Staged | None:
        _, note = self._note()
        if note is None or note.kind != _STAGED:
            return None
        value = self._value(note.text)
        if value is None or value == self._held(self._secret.fetch()):
            return None  # promoted already; only the note was left behind
        return Staged(value, note.version)

    def recall(self, matches: Callable[[Secret], bool]) -> Secret | None:
        current = self._secret.fetch()
        if current is None:
            return None
        held = self._held(current)
        for number in range(current.number - 1, max(0, current.number - 1 - _RECALLED), -1):
            former = self._secret.fetch(number)
            if former is None:
                break  # Vault forgets the oldest ones first
            value = self._held(former)
            if value is not None and value != held and matches(value):
                return value
        return None

    # --- writing ----------------------------------------------------------------------------------

    def stage(self, token: Secret, *, rotation: str, base: Reading) -> Staged:
        version = write_id(
            place=self.spec.ref, purpose="value", rotation=rotation, base=base.version or "", token=token
        )
        current = self._current()
        if self._held(current) != token:
            self._compare(current, base)
            note = _Note(_STAGED, version, rotation, self._merge(current, token.reveal()))
            self._put_note(note, base)
        return Staged(token, version)  # else a repeat, after the promote

    def promote(self, staged: Staged, *, base: Reading) -> None:
        current = self._current()
        _, note = self._note()
        ours = note is not None and note.kind == _STAGED and note.version == staged.version
        token = staged.value or (self._value(note.text) if note is not None and ours else None)
        if token is None or self._held(current) != token:
            self._compare(current, base)
            if note is None or token is None or not ours:
                raise VersionConflict(
                    f"The staged version of {self._where} is gone",
                    then="Nothing was changed",
                    remedy="Stage it again",
                )
            self._put(current, token)
            self._annotate(note.rotation)
        if ours:  # only our own note goes: another one may have been staged since a first, lost promote
            self._tidy()

    def publish(self, token: Secret, *, rotation: str, base: Reading) -> None:
        current = self._current()
        if self._held(current) != token:
            self._compare(current, base)
            self._put(current, token)
            self._annotate(rotation)
        self._tidy()

    def discard(self) -> None:
        side, _ = self._note()
        if side is not None:
            self._side.purge()

    def preflight(self) -> None:
        """Writes to both paths as a rotation will: the side secret for real, if nothing is staged there, with a
        document of the size of the merged one; the main one at a version that cannot be."""
        current = self._current()
        merged = self._merge(current, document.LONGEST_TOKEN)
        side, note = self._note()
        if note is not None and note.kind == _STAGED:
            self._side.prove_writable("{}")
        else:
            probe = _Note(_PROBE, "", "", json.dumps({"padding": "0" * len(merged.encode())}))
            try:
                self._side.put(probe.to_text(None), base=side, ours=lambda _: True)
                self._side.purge()
            except Moved:
                pass  # another one's probe at the same moment: it would have been allowed
        self._secret.prove_writable((current.text if current is not None else None) or "{}")

    # --- the secret and the one beside it ------------------------------------------------------------

    def _current(self) -> Version | None:
        """What readers get. None, or a version without a text, only where `create` allows it."""
        current = self._secret.fetch()
        if self.spec.create or (current is not None and current.text is not None):
            return current
        remedy = "Check `mount` and `path`, or say `create: true` at this destination"
        what = "does not exist"
        if current is not None:
            what = f"has a current version, {current.number}, that was deleted or destroyed"
            remedy = (
                f"Bring it back (`vault kv undelete -versions={current.number}`), write a new one, or say "
                "`create: true` at this destination to begin without its former fields"
            )
        raise DestinationRefused(f"{self._where} {what}", then="Nothing was changed", remedy=remedy)

    def _compare(self, current: Version | None, base: Reading) -> None:
        if (current.name if current is not None else None) != base.version:
            raise self._secret.conflict()

    def _merge(self, current: Version | None, token: str) -> str:
        return self._field.put((current.text if current is not None else None) or "", token)

    def _put(self, current: Version | None, token: Secret) -> None:
        merged = self._merge(current, token.reveal())
        try:
            self._secret.put(merged, base=current, ours=lambda version: self._held(version) == token)
        except Moved:
            raise self._secret.conflict() from None

    def _held(self, version: Version | None) -> Secret | None:
        return self._value(version.text) if version is not None and version.text is not None else None

    def _value(self, text: str) -> Secret | None:
        try:
            value = self._field.get(text)
        except DestinationRefused:
            return None
        return Secret(value) if value else None

    def _note(self) -> tuple[Version | None, _Note | None]:
        """What stands beside. Refuses what rotator did not write."""
        side = self._side.fetch()
        if side is None or side.text is None:
            return side, None
        note = _Note.from_text(side.text)
        if note is None:
            raise DestinationRefused(
                f"{self._side.where} is not what rotator wrote there",
                then="Nothing was changed",
                remedy="It is for staged tokens: move what is there to another path",
            )
        return side, note

    def _put_note(self, note: _Note, base: Reading) -> None:
        for _ in range(_STAGINGS):
            side, there = self._note()
            if there is not None and there.version == note.version:
                return
            try:
                self._side.put(note.to_text(base.version), base=side, ours=lambda side: self._is(side, note))
            except Moved:
                continue
            return
        raise VersionConflict(
            f"Somebody else stages in {self._side.where} all the time",
            then="Nothing that readers see was changed",
            remedy="Look for another rotator that has this destination, with a journal of its own",
        )

    def _is(self, side: Version, note: _Note) -> bool:
        there = _Note.from_text(side.text or "")
        return there is not None and there.version == note.version

    def _tidy(self) -> None:
        """Promoted is promoted: a note that stays behind is only untidy, and `read_staged` knows."""
        try:
            self.discard()
        except RotatorError as error:
            log.warning("%s stays behind: %s", self._side.where, error.happened)

    def _annotate(self, rotation: str) -> None:
        """Tells people who look at the secret where its version is from. Nothing relies on it."""
        if not self._annotates:
            return
        try:
            self._secret.annotate(
                {"rotator-rotation": rotation, "rotator-published-at": rfc3339(self._clock.now())}
            )
        except RotatorError as error:
            # Not allowed, or not known to this server: not asked for again by this process.
            self._annotates = not isinstance(error, CredentialRejected | DestinationRefused)
            log.info("%s got no custom metadata: %s", self._where, error.happened)
