"""Where a credential comes from: a variable, or a file that may be replaced under a running daemon.

A credential is read when it is used, not when the process starts, so that commands which need none
work without any.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rotator.errors import InvalidInput
from rotator.secret import Secret

_MAX_BYTES: Final = 64 * 1024
"""Of a credential's file; no credential is near that long."""

Check = Callable[[Secret], str | None]
"""Says what is wrong with a credential, in words that do not hold it; None if nothing is."""


class CredentialSource:
    """One credential of the settings, by the name of its variable (`X`, or `X_FILE` for a file).

    Its parts: `value` from the variable, or `file`; `check` looks at the shape; `purpose` ends the
    sentence "X is not set, and it is needed …".
    """

    def __init__(
        self,
        name: str,
        *,
        value: Secret | None = None,
        file: Path | None = None,
        check: Check = lambda _: None,
        purpose: str = "here",
    ) -> None:
        self.name = name
        self.file = file
        self._value = value
        self._check = check
        self._purpose = purpose

    @property
    def configured(self) -> bool:
        """Whether the variable or its `_FILE` is set; says nothing about the file."""
        return self._value is not None or self.file is not None

    def get(self) -> Secret:
        """The credential as it is now: a file is read at every call.

        Raises InvalidInput when it is not set, cannot be read, or has the wrong shape.
        """
        if self.file is not None:
            where, found = f"{self.name}_FILE", read_secret_file(self.file, f"{self.name}_FILE")
        elif self._value is not None:
            where, found = self.name, self._value
        else:
            raise InvalidInput(
                f"{self.name} is not set, and it is needed {self._purpose}",
                then="Nothing was done",
                remedy=f"Set {self.name}, or {self.name}_FILE to the path of a file that holds it",
            )
        problem = _unprintable(found) or self._check(found)
        if problem:
            raise InvalidInput(f"{where} {problem}", then="Nothing was done", remedy=f"Correct {where}")
        return found

    def warning(self) -> str | None:
        """A sentence when everybody on this machine may read the file."""
        if self.file is None:
            return None
        try:
            mode = self.file.stat().st_mode
        except OSError:
            return None  # `get` says what is wrong with it, if it is needed
        if not mode & stat.S_IROTH:
            return None
        return f"{self.name}_FILE: every user of this machine may read {self.file}; `chmod 0600` it."

    def __repr__(self) -> str:
        return f"CredentialSource({self.name!r}, configured={self.configured})"


def key_there(source: CredentialSource, beside: Path | None) -> Secret | None:
    """The key that is set, or else lies at a path; None where neither can be read. Makes none."""
    if not source.configured:
        if beside is None:
            return None
        source = CredentialSource(source.name, file=beside)
    try:
        return source.get()
    except InvalidInput:
        return None


def read_secret_file(path: Path, where: str) -> Secret:
    """The text of the file without line ends at its end. Raises InvalidInput, which names `where`."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            f"{where}: {path} cannot be read: {error.strerror}",
            then="Nothing was done",
            remedy=f"{where} must name a file that this user may read",
        ) from error
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""  # the error would hold the bytes
    if not text.strip() or len(raw) > _MAX_BYTES:
        what = "is empty" if not raw.strip() else "holds no text that could be a credential"
        raise InvalidInput(
            f"{where}: {path} {what}",
            then="Nothing was done",
            remedy="Put the credential, and nothing else, into it",
        )
    return Secret(text)


def make_key_file(path: Path) -> Secret:
    """Makes a file with 32 random bytes in hex (mode 0600), durably, or reads the one that is there.

    Of several processes one makes it and all get the same key. Raises InvalidInput when the folder
    cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not path.exists():
                _write_durably(path, f"{secrets.token_hex(32)}\n".encode())
                os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        reason = error.strerror or errno.errorcode.get(error.errno or 0, "unknown error")
        raise InvalidInput(
            f"No audit key can be made at {path}: {reason}",
            then="Nothing was done",
            remedy="Make the folder writable, or set ROTATOR_AUDIT_KEY or ROTATOR_AUDIT_KEY_FILE",
        ) from error
    return read_secret_file(path, "the audit key")


def _write_durably(path: Path, data: bytes) -> None:
    """The file appears with all of its content or not at all; the caller syncs the folder."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # left behind by a process that died here
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123  # a descriptor, opened with its mode
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _unprintable(value: Secret) -> str | None:
    text = value.reveal()
    if text != text.strip():
        return "begins or ends with a space or a line end; accepted: the credential and nothing else"
    if not text.isprintable():
        return "holds a line end or another invisible character; accepted: the credential and nothing else"
    return None
