"""Files that are always either the former or the new one: write, fsync, rename, fsync of the folder.

Everything that changes a folder happens under a lock on that folder. A process that dies between the
write and the rename leaves a temporary file with a secret in it: whoever holds the lock next removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rotator.clock import Clock
from rotator.destinations.base import DestinationRefused
from rotator.errors import RotatorError, Unreachable

MAX_BYTES: Final = 1 << 20
_LOCK_WAIT: Final = 10.0
_LOCK_PAUSE: Final = 0.02
_TRY_AGAIN: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
    }
)
_REMEDIES: Final = {
    errno.EACCES: "Give this process the right to write in the folder, not only to the file",
    errno.EPERM: "Check owner and attributes (`lsattr`) of the file and its folder",
    errno.EROFS: "Mount it writable, or name another path",
    errno.ENOSPC: "Free some space and try again",
    errno.EDQUOT: "Free some space and try again",
    errno.EBUSY: "It may be a mount point: mount its folder instead of the single file",
    errno.ELOOP: "The symbolic links go in a circle; mend them",
    errno.ENOTDIR: "A part of the path is a file; name another path",
    errno.ENAMETOOLONG: "Name a shorter path",
}


@dataclass(frozen=True)
class Snapshot:
    """A file as it was at one moment."""

    text: str = field(repr=False)
    version: str
    """Inode, ctime and size. Not a digest of the content: versions are journaled, and a plain digest of
    a file tells anybody who can guess the rest of it whether a guess is right."""
    mode: int
    uid: int
    gid: int


def version_of(status: os.stat_result) -> str:
    """Names a state of a file; every write by rename, and every write in place, makes another one."""
    return f"{status.st_ino}-{status.st_ctime_ns}-{status.st_size}"


def read(path: Path, where: str) -> Snapshot | None:
    """The file, or None where there is none. Takes no lock: a rename is never half done.

    Raises DestinationRefused for what is not a readable UTF-8 file of at most 1 MiB.
    """
    problem: RotatorError
    try:
        # O_NONBLOCK: opening a named pipe must not wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, "read", where) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no ordinary file"
            raise _refused(f"{where} is {kind}", "Name a file")
        if status.st_size > MAX_BYTES:
            raise _refused(
                f"{where} is larger than {MAX_BYTES} bytes", "A secret is never that large; name another"
            )
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            text = stream.read(MAX_BYTES + 1).decode()
        return Snapshot(text, version_of(status), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    except UnicodeDecodeError:
        # Its own error holds the bytes; it must not become our context, so ours is raised further down.
        problem = _refused(f"{where} is not UTF-8 text", "Save it as UTF-8, or name another path")
    except OSError as error:
        problem = explain(error, "read", where)
    finally:
        os.close(descriptor)
    raise problem


@contextmanager
def locked_folder(path: Path, clock: Clock, where: str) -> Iterator[Folder]:
    """Holds the lock of the file's folder; waits for another holder up to 10 s, then Unreachable."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _refused(
            f"The folder of {where} does not exist", "Make it, with the owner and mode its readers need"
        ) from None
    except OSError as error:
        raise explain(error, "open the folder of", where) from None
    try:
        _lock(descriptor, clock, where)
        folder = Folder(descriptor, path, clock, where)
        folder.remove_leftovers()
        yield folder
    finally:
        os.close(descriptor)  # and with it the lock


def _lock(descriptor: int, clock: Clock, where: str) -> None:
    give_up = clock.boot() + _LOCK_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if clock.boot() >= give_up:
                raise Unreachable(
                    f"Another process has held the lock on the folder of {where} for {_LOCK_WAIT:.0f} s",
                    then="Nothing was changed",
                    remedy="`lsof` on the folder tells which; try again",
                ) from None
        except OSError as error:
            raise explain(error, "lock the folder of", where) from None
        clock.wait(_LOCK_PAUSE)


class Folder:
    """A locked folder, for the file at `path` and what belongs to it. Names are inside the folder."""

    def __init__(self, descriptor: int, path: Path, clock: Clock, where: str) -> None:
        self._descriptor = descriptor
        self.path = path
        self._clock = clock
        self._where = where
        self._prefix = f".{path.name}.rotator-tmp-"

    def remove_leftovers(self) -> None:
        """Temporary files of writers that died; nobody alive has one, for they are made under the lock."""
        try:
            for name in os.listdir(self._descriptor):  # noqa: PTH208  # a Path cannot list a descriptor
                if name.startswith(self._prefix):
                    os.unlink(name, dir_fd=self._descriptor)
        except OSError as error:
            raise explain(error, "clean the folder of", self._where) from None

    def replace(self, name: str, text: str, *, mode: int, like: Snapshot | None = None) -> None:
        """Makes `name` hold `text`, with the owner of `like` where this process may give it.

        Two writes of ours never leave the same version behind: the new ctime differs from the old one.
        """
        temporary = self._write_temporary(text, mode, like, strict=False)
        try:
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            os.fsync(self._descriptor)
            # File systems count ctime in ticks of some milliseconds, and inode numbers are used again.
            while like is not None and self._ctime(name) == like.version.split("-")[1]:
                self._clock.wait(0.001)
                os.chmod(name, mode, dir_fd=self._descriptor)
        except OSError as error:
            self._remove(temporary)
            raise explain(error, "write", self._where) from None

    def remove(self, name: str) -> None:
        """Removes `name`; nothing there is fine."""
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._descriptor)
                os.fsync(self._descriptor)
        except OSError as error:
            raise explain(error, "write", self._where) from None

    def prove_writable(self, size: int, *, mode: int, like: Snapshot | None) -> None:
        """Writes, renames and removes a file of that size beside the real one, with its owner and mode.

        Raises DestinationRefused where the file's owner could not be kept: its readers might lose it.
        """
        self._refuse_what_rename_cannot_replace(like)
        temporary = self._write_temporary("0" * size, mode, like, strict=True)
        renamed = temporary + "-renamed"
        try:
            os.rename(temporary, renamed, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            os.unlink(renamed, dir_fd=self._descriptor)
            os.fsync(self._descriptor)
        except OSError as error:
            self._remove(temporary)
            self._remove(renamed)
            raise explain(error, "write", self._where) from None

    def _refuse_what_rename_cannot_replace(self, like: Snapshot | None) -> None:
        if like is None:
            return
        folder = os.fstat(self._descriptor)
        me = os.geteuid()
        if folder.st_mode & stat.S_ISVTX and me not in (0, like.uid, folder.st_uid):
            raise _refused(
                f"{self._where} belongs to somebody else, and its folder is sticky",
                "Move it to a folder of its own",
            )
        with suppress(OSError):
            if is_mount_point(self.path, Path("/proc/self/mountinfo").read_text(encoding="utf-8")):
                raise _refused(f"{self._where} is itself a mount point", _REMEDIES[errno.EBUSY])

    def _write_temporary(self, text: str, mode: int, like: Snapshot | None, *, strict: bool) -> str:
        name = f"{self._prefix}{os.getpid()}-{secrets.token_hex(4)}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=self._descriptor)
        except OSError as error:
            raise explain(error, "write in the folder of", self._where) from None
        try:
            with os.fdopen(descriptor, "wb") as stream:
                self._keep_owner(descriptor, like, strict=strict)
                os.fchmod(descriptor, mode)
                stream.write(text.encode())
                stream.flush()
                os.fsync(descriptor)
        except OSError as error:
            self._remove(name)
            raise explain(error, "write", self._where) from None
        except RotatorError:
            self._remove(name)
            raise
        return name

    def _keep_owner(self, descriptor: int, like: Snapshot | None, *, strict: bool) -> None:
        made = os.fstat(descriptor)
        if like is None or (made.st_uid, made.st_gid) == (like.uid, like.gid):
            return
        try:
            os.fchown(descriptor, like.uid, like.gid)
        except PermissionError:
            # After a mint there is only forward; before it there is time to ask for the right set-up.
            if strict:
                raise _refused(
                    f"{self._where} belongs to {like.uid}:{like.gid}, and this process cannot give that to a new file",
                    "Run as that user, or make this user and group its owner",
                ) from None

    def _ctime(self, name: str) -> str:
        return str(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_ctime_ns)

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)


def is_mount_point(path: Path, mountinfo: str) -> bool:
    """Whether a single file is mounted at `path`, as containers do; `mountinfo` as in proc(5)."""
    escaped = (
        str(path).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")
    )
    return any(line.split(" ")[4:5] == [escaped] for line in mountinfo.split("\n"))


def explain(error: OSError, doing: str, where: str) -> RotatorError:
    """Our error for one of the operating system's, by its number; its text names no content."""
    number = error.errno or 0
    said = f"Cannot {doing} {where}: {os.strerror(number)} ({errno.errorcode.get(number, number)})"
    remedy = _REMEDIES.get(number, "")
    if number in _TRY_AGAIN:
        return Unreachable(said, then="Repeating it is safe", remedy=remedy or "Try again")
    return _refused(said, remedy or "Check the path, its owner and its mode")


def _refused(happened: str, remedy: str) -> DestinationRefused:
    return DestinationRefused(happened, then="Nothing was changed", remedy=remedy)
