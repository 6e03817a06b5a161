"""A file that several processes append to: locked, durable, and rolled back when the disk says no."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rotator.audit.base import AuditMisconfigured
from rotator.clock import Clock
from rotator.errors import AuditUnavailable

_MISPLACED: Final = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,
    }
)
"""What the operating system says about a path that cannot work, as opposed to a disk in trouble."""


class AppendFile:
    """Every method raises AuditMisconfigured for a path that cannot work, else AuditUnavailable.

    `lock_wait` is in seconds; `min_free` is in bytes of the file system.
    """

    def __init__(self, path: Path, clock: Clock, *, lock_wait: float, min_free: int) -> None:
        self._path = path
        self._clock = clock
        self._lock_wait = lock_wait
        self._min_free = min_free

    @contextlib.contextmanager
    def open(self, before_making: Callable[[], None]) -> Iterator[int]:
        """The file that has the name now (not one moved away), open and locked. `before_making` is
        asked before a missing one is made, and raises if it must not be."""
        with self._errors():
            while True:
                fd = self._open(before_making)
                try:
                    if not stat.S_ISREG(os.fstat(fd).st_mode):
                        raise OSError(errno.ENXIO, "not a regular file, and it must be read back")
                    self._lock(fd)
                    if self._has_the_name(fd):
                        yield fd
                        return
                finally:
                    os.close(fd)

    def append(self, fd: int, data: bytes, *, at: int) -> None:
        """Puts the data durably at offset `at`, in place of whatever stands there; all of it or nothing."""
        written = False
        try:
            os.ftruncate(fd, at)
            view = memoryview(data)
            while view:
                # A full disk first shows as a short write; the next one says why.
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            if at == 0:
                _sync_folder(self._path.parent)
            written = True
        finally:
            if not written:
                # If even this fails, what stays behind was never acknowledged.
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, at)

    def check(self, *, before_making: Callable[[], None], existing: Callable[[int], object]) -> None:
        """Whether `append` would work now, as far as that shows without writing."""
        with self._errors():
            place = self._path
            if self._exists():
                with self.open(before_making) as fd:
                    existing(fd)
            else:
                before_making()
                place = next(folder for folder in place.absolute().parents if folder.exists())
                if not place.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            space = os.statvfs(place)
            if space.f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            # Some network file systems report no sizes at all.
            if space.f_blocks and space.f_bavail * space.f_frsize < self._min_free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open(self, before_making: Callable[[], None]) -> int:
        # Non-blocking only so that a pipe in the place of the file does not hang us.
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(self._path, flags)
        except FileNotFoundError:
            before_making()
        folder = self._path.parent
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sync_folder(folder.parent)
        return os.open(self._path, flags | os.O_CREAT, 0o600)

    def _exists(self) -> bool:
        # Not `Path.exists`, which takes a link to itself for a missing file.
        try:
            self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _has_the_name(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _lock(self, fd: int) -> None:
        give_up_at = self._clock.boot() + self._lock_wait
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._clock.boot() >= give_up_at:
                    raise AuditUnavailable(
                        f"Another process has held the lock of {self._path} for {self._lock_wait:g} s",
                        then="Nothing was recorded",
                        remedy="`lsof` on the file names it; if it was stopped, continue or end it",
                    ) from None
                self._clock.wait(0.005)
            else:
                return

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            happened = f"The audit log {self._path} cannot be written: {error.strerror}"
            if error.errno in _MISPLACED:
                raise AuditMisconfigured(
                    happened,
                    then="Nothing was recorded",
                    remedy="ROTATOR_AUDIT_LOG must name a regular file that this user may write or make",
                ) from error
            raise AuditUnavailable(
                happened, then="Nothing was recorded", remedy="Make room or mend the disk, then try again"
            ) from error


def _sync_folder(folder: Path) -> None:
    """Makes a new name in it durable. A folder that we may write to but not list cannot be synced."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
