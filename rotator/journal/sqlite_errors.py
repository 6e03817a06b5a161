"""What SQLite and the file system say, in words that tell what to do.

Only codes are quoted, never SQLite's own text. While opening, what the settings can mend is
JournalMisconfigured (exit 2); everything else, and everything later, is JournalUnavailable (exit 6).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from rotator.errors import JournalUnavailable
from rotator.journal.base import JournalMisconfigured

_PRIMARY: Final = 0xFF
"""SQLite's extended result codes carry the primary one in the low byte."""

_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DENIED: Final = (errno.EACCES, errno.EPERM)
_WRONG_PATH: Final = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT)
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


def explain(
    error: sqlite3.Error | OSError, where: str, path: Path | None, *, opening: bool
) -> JournalUnavailable:
    """The error to raise instead. `where` names the journal for people, `path` is its file if it has one."""
    then = "Nothing was changed" if opening else "Nothing of this step was written to the journal"
    happened, remedy, settings = (
        _of_system(error, where) if isinstance(error, OSError) else _of_sqlite(error, where, path)
    )
    kind = JournalMisconfigured if opening and settings else JournalUnavailable
    return kind(happened, then=then, remedy=remedy)


_Finding = tuple[str, str, bool]
"""What happened, what to do, and whether the settings are what is wrong."""


def _of_sqlite(error: sqlite3.Error, where: str, path: Path | None) -> _Finding:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code in _LOCKED:
        return (
            f"{where} is locked by another process",
            "Try again; if it stays locked, find the process that holds the file open (`fuser`)",
            False,
        )
    if code == sqlite3.SQLITE_FULL:
        return _full(where)
    if code == sqlite3.SQLITE_NOTADB:
        return (f"{where} is not an SQLite database", _NAME_ANOTHER, True)
    if code == sqlite3.SQLITE_CORRUPT:
        return (
            f"{where} is damaged ({name})",
            "Keep a copy of it, put back a backup or move it away, and run `rotator reconcile`",
            False,
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _not_writable(where, path, name)
    return (f"{where} failed ({name})", "Check the disk and the system's log, then try again", False)


def _of_system(error: OSError, where: str) -> _Finding:
    if error.errno in _NO_SPACE:
        return _full(where)
    if error.errno == errno.EROFS:
        return _read_only_system(where)
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _DENIED:
        return (f"{where} cannot be opened: {reason}", _PERMIT, True)
    if error.errno in _WRONG_PATH:
        return (f"{where} cannot be opened: {reason}", _NAME_ANOTHER, True)
    return (f"{where} failed: {reason}", "Check the disk and the system's log, then try again", False)


_PERMIT: Final = (
    "Give this user read and write permission for the file and its folder, or name another one in "
    "ROTATOR_JOURNAL"
)
_NAME_ANOTHER: Final = "Name the journal's file in ROTATOR_JOURNAL"


def _not_writable(where: str, path: Path | None, name: str) -> _Finding:
    """SQLite says only that it could not; the file system knows why."""
    if path is not None and is_read_only_system(path):
        return _read_only_system(where)
    for place in (path, path.parent) if path is not None else ():
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            return (f"{where} may not be written: permission denied for {place}", _PERMIT, True)
    return (f"{where} cannot be opened or written ({name})", _PERMIT, False)


def is_read_only_system(path: Path) -> bool:
    """Whether the file system of the file, or of its folder, is mounted read-only."""
    for place in (path, path.parent):
        try:
            return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
        except OSError:
            continue
    return False


def _full(where: str) -> _Finding:
    return (f"{where} cannot grow: the disk is full", "Free some space, then try again", False)


def _read_only_system(where: str) -> _Finding:
    return (
        f"{where} is on a read-only file system",
        "Mount it writable, or name another place in ROTATOR_JOURNAL",
        False,
    )
