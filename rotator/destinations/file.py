"""A file on this machine: a field of a JSON or env file, or a bare token.

Beside it, `<path>.rotator` (mode 0600) keeps the staged token and the last few former ones. A publish is:
the sidecar with old and new token, then the file, then the sidecar without the staged one; each of them
durable before the next, so wherever it stops the next look tells what was done.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rotator.clock import Clock
from rotator.destinations import document, durable_file
from rotator.destinations.base import Content, DestinationRefused, Reading, Staged
from rotator.destinations.durable_file import Folder, Snapshot
from rotator.destinations.write_id import write_id
from rotator.errors import InvalidInput, VersionConflict
from rotator.model import DestinationSpec
from rotator.secret import Secret

log = logging.getLogger(__name__)

_DEFAULT_MODE: Final = 0o600
_FORMER_KEPT: Final = 3
"""Former tokens in the sidecar: a rollback needs one; the others are dead."""


@dataclass(frozen=True)
class _Sidecar:
    """What stands in `<path>.rotator`."""

    pending: Staged | None = None
    former: tuple[Secret, ...] = ()
    """Newest first. While another one is staged, the first of them is the current one."""

    def to_text(self) -> str:
        pending = None
        if self.pending is not None and self.pending.value is not None:
            pending = {"version": self.pending.version, "token": self.pending.value.reveal()}
        former = [token.reveal() for token in self.former]
        return json.dumps({"pending": pending, "former": former}, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str) -> _Sidecar:
        """Raises ValueError, KeyError or TypeError for anything that `to_text` did not write."""
        known = json.loads(text)
        pending = known["pending"]
        return cls(
            pending=Staged(Secret(_text(pending["token"])), _text(pending["version"])) if pending else None,
            former=tuple(Secret(_text(token)) for token in known["former"]),
        )


class FileDestination:
    """One file. `options`: `path` (absolute), `format` (`json`, `env`, or None for a bare token), `mode`."""

    def __init__(self, spec: DestinationSpec, clock: Clock) -> None:
        self.spec = spec
        self._clock = clock
        self._named = Path(spec.options["path"])
        self._mode: int = spec.options.get("mode") or _DEFAULT_MODE
        form: str | None = spec.options.get("format")
        self._where = f"file {self._named}"
        self._field = document.Field(spec.key, form, self._where)
        if (spec.key is None) != (form is None):
            raise InvalidInput(
                f"{self._where} has {'a format but no key' if form else 'a key but no format'}",
                then="Nothing was changed",
                remedy="Give both `key` and `format`, or none of them for a bare token",
            )
        if form == document.ENV and not document.ENV_KEY.fullmatch(spec.key or ""):
            raise InvalidInput(
                f"The key of {self._where} cannot be the name of an environment variable",
                then="Nothing was changed",
                remedy="Use letters, digits and underscores, and begin with no digit",
            )

    def describe(self) -> str:
        """Which file and field."""
        return self._where + (f", field {self.spec.key}" if self.spec.key is not None else "")

    def identity(self) -> str:
        """The user of this process, as the kernel sees it."""
        uid = os.geteuid()
        try:
            return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
        except KeyError:  # a container's uid without a name
            return f"uid {uid}"

    def preflight_shows(self, reading: Reading) -> bool:  # noqa: ARG002  # the port's signature
        """Never: a missing file is proved makeable and not made."""
        return False

    # --- reading ----------------------------------------------------------------------------------

    def read(self) -> Reading:
        snapshot = self._snapshot()
        if snapshot is None:
            return Reading(Content.MISSING, None)
        return self._field.reading(snapshot.text, snapshot.version)

    def read_staged(self) -> Staged | None:
        pending = self._sidecar().pending
        if pending is not None and self._holds(pending.value, self._snapshot()):
            return None  # promoted already; only the note was left behind
        return pending

    def recall(self, matches: Callable[[Secret], bool]) -> Secret | None:
        current = self._snapshot()
        former = [token for token in self._sidecar().former if not self._holds(token, current)]
        return next((token for token in former if matches(token)), None)

    # --- writing ----------------------------------------------------------------------------------

    def stage(self, token: Secret, *, rotation: str, base: Reading) -> Staged:
        with durable_file.locked_folder(self._path(), self._clock, self._where) as folder:
            return self._stage(folder, token, rotation, base)

    def promote(self, staged: Staged, *, base: Reading) -> None:
        with durable_file.locked_folder(self._path(), self._clock, self._where) as folder:
            self._promote(folder, staged, base)

    def publish(self, token: Secret, *, rotation: str, base: Reading) -> None:
        with durable_file.locked_folder(self._path(), self._clock, self._where) as folder:
            self._promote(folder, self._stage(folder, token, rotation, base), base)

    def discard(self) -> None:
        if not self._path().parent.is_dir():
            return  # before the lock: a folder that is not there holds nothing staged
        # Taking the lock also removes what a writer that died left behind.
        with durable_file.locked_folder(self._path(), self._clock, self._where) as folder:
            sidecar = self._sidecar()
            if sidecar.pending is not None:
                self._note(folder, _Sidecar(former=sidecar.former))

    def _stage(self, folder: Folder, token: Secret, rotation: str, base: Reading) -> Staged:
        version = write_id(
            place=self.spec.ref, purpose="value", rotation=rotation, base=base.version or "", token=token
        )
        staged = Staged(token, version)
        current = self._snapshot()
        if self._holds(token, current):
            return staged  # a repeat, after the promote
        self._compare(current, base)
        self._merge(current, token.reveal())
        self._note(folder, _Sidecar(pending=staged, former=self._former_with(current)))
        return staged

    def _promote(self, folder: Folder, staged: Staged, base: Reading) -> None:
        noted = self._sidecar()
        token = staged.value or (noted.pending.value if noted.pending else None)
        current = self._snapshot()
        if not self._holds(token, current):
            self._compare(current, base)
            if token is None or noted.pending is None or noted.pending.version != staged.version:
                raise VersionConflict(
                    f"The staged version of {self._where} is gone",
                    then="Nothing was changed",
                    remedy="Stage it again",
                )
            former = self._former_with(current)
            if former != noted.former:  # staged on another base; the value to replace is kept all the same
                noted = _Sidecar(noted.pending, former)
                self._note(folder, noted)
            if current is not None and current.mode & ~self._mode:
                log.warning("%s had mode %04o and gets %04o", self._where, current.mode, self._mode)
            text = self._merge(current, token.reveal())
            folder.replace(folder.path.name, text, mode=self._mode, like=current)
        # Only our own note goes: another one may have been staged since a first, lost promote.
        if noted.pending is not None and noted.pending.version == staged.version:
            self._note(folder, _Sidecar(former=noted.former))

    def preflight(self) -> None:
        """Writes, renames and removes a file like the one a rotation would write, in the same folder.

        It is as large as the merged file but holds zeros; a missing file is not made, only proved makeable.
        """
        with durable_file.locked_folder(self._path(), self._clock, self._where) as folder:
            self._sidecar()
            current = self._snapshot()
            merged = self._merge(current, document.LONGEST_TOKEN)
            folder.prove_writable(len(merged.encode()), mode=self._mode, like=current)

    # --- the file and its sidecar -------------------------------------------------------------------

    def _path(self) -> Path:
        """The file itself, where the policy names a symbolic link: links stay what they are."""
        return Path(os.path.realpath(self._named))

    def _snapshot(self) -> Snapshot | None:
        snapshot = durable_file.read(self._path(), self._where)
        if snapshot is None and not self.spec.create:
            raise DestinationRefused(
                f"{self._where} does not exist",
                then="Nothing was changed",
                remedy="Check `path`, or say `create: true` at this destination",
            )
        return snapshot

    def _holds(self, token: Secret | None, snapshot: Snapshot | None) -> bool:
        if snapshot is None:
            return False
        held = self._field.reading(snapshot.text, snapshot.version).value
        return held is not None and held == token

    def _compare(self, current: Snapshot | None, base: Reading) -> None:
        if (current.version if current is not None else None) != base.version:
            raise VersionConflict(
                f"{self._where} was changed by somebody else meanwhile",
                then="Their change was left as it is",
                remedy="Read it again and write on top of it",
            )

    def _merge(self, current: Snapshot | None, token: str) -> str:
        text = self._field.put(current.text if current is not None else "", token)
        if len(text.encode()) > durable_file.MAX_BYTES:
            raise DestinationRefused(
                f"{self._where} has no room for a token: at most {durable_file.MAX_BYTES} bytes are read back",
                then="Nothing was changed",
                remedy="Take something out of it, or use a file of its own for the token",
            )
        return text

    def _former_with(self, current: Snapshot | None) -> tuple[Secret, ...]:
        former = self._sidecar().former
        held = self._field.reading(current.text, current.version).value if current is not None else None
        if held is None:
            return former
        return (held, *(token for token in former if token != held))[:_FORMER_KEPT]

    def _sidecar(self) -> _Sidecar:
        path = self._path()
        path = path.with_name(f"{path.name}.rotator")
        where = f"file {path}"
        snapshot = durable_file.read(path, where)
        if snapshot is None:
            return _Sidecar()
        problem = DestinationRefused(
            f"{where} is not what rotator wrote there",
            then="Nothing was changed",
            remedy="It keeps staged and former tokens; if nothing is being rotated it may be removed",
        )
        try:
            return _Sidecar.from_text(snapshot.text)
        except (ValueError, KeyError, TypeError):
            pass  # the decoder's error holds the text: ours is raised outside, without it
        raise problem

    def _note(self, folder: Folder, sidecar: _Sidecar) -> None:
        name = f"{folder.path.name}.rotator"
        if sidecar.pending is None and not sidecar.former:
            folder.remove(name)
        else:
            folder.replace(name, sidecar.to_text(), mode=_DEFAULT_MODE)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value
