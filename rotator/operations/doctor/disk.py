"""Files and folders as the operating system shows them."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from rotator.operations.doctor.report import UNUSABLE, Findings

LITTLE: Final = 16 * 1024 * 1024
"""Bytes of free space below which a warning is due: some thousand rotations' worth of records."""

_NETWORK: Final = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)
_UNREACHABLE: Final = 6
_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What the disk says, as opposed to what is wrong with the path."""


def exists(path: Path) -> bool:
    """False also for what lies in a folder that this user may not enter, where `Path.exists` raises."""
    return os.path.exists(path)  # noqa: PTH110  # see above


def folder_takes_files(path: Path, found: Findings, name: str, *, variable: str) -> bool:
    """Writes a file where `path` would be made, syncs it and takes it away again; says what went wrong."""
    folder = next(one for one in path.absolute().parents if exists(one))
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".rotator-doctor-") as proof:
            proof.write(b"\0" * 4096)
            proof.flush()
            os.fsync(proof.fileno())
    except OSError as error:
        _cannot(folder, error, found, name, variable)
        return False
    return True


def file_takes_lines(path: Path, found: Findings, name: str, *, variable: str) -> bool:
    """Opens an existing file for writing and leaves it as it is; says what went wrong."""
    try:
        # Non-blocking only so that a pipe in the place of the file does not hang us.
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        os.close(descriptor)
    except OSError as error:
        _cannot(path, error, found, name, variable)
        return False
    if not regular:
        hint = f"{variable} must name a regular file that this user may write or make."
        found.failed(name, f"{path} is not a regular file.", hint, code=UNUSABLE)
    return regular


def private(path: Path, found: Findings, name: str, *, group: bool = False) -> None:
    """Warns about a file that others of this machine may read; `group` counts the file's group as well."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # what opens the file says what is wrong with it
    if mode & (stat.S_IRWXO | (stat.S_IRWXG if group else 0)):
        what = f"{path} has mode {mode:04o}: others on this machine may read or change it."
        found.warning(name, what, f"`chmod 0600 {path}`")


def room(path: Path, found: Findings, name: str) -> None:
    """Warns where the file system has little free space left, or is one that others share by network."""
    place = path if exists(path) else next(one for one in path.absolute().parents if exists(one))
    try:
        space = os.statvfs(place)
    except OSError:
        return
    free = space.f_bavail * space.f_frsize
    if space.f_blocks and free < LITTLE:
        what = f"The disk of {path} has {free // 1024} KiB left."
        found.warning(name, what, f"Free some space on the file system of {place}.")


def network_file_system(path: Path) -> str | None:
    """The type of the file system below a path, if it is one that several machines share."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return network_type(mounts, Path(os.path.realpath(path)))


def network_type(mounts: list[str], path: Path) -> str | None:
    """As above, from the lines of a mountinfo (proc(5): the mount point is the fifth field, and the type
    follows a lone hyphen)."""
    best, kind = -1, ""
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(fields[4].replace("\\040", " "))
        # A later line of the same point is mounted over an earlier one.
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind if kind in _NETWORK or kind.startswith("fuse.") else None


def _cannot(place: Path, error: OSError, found: Findings, name: str, variable: str) -> None:
    reason = error.strerror or type(error).__name__
    if error.errno in _ROOM:
        hint = f"Make room on the disk, mount it writable, or name another place in {variable}."
        code = _UNREACHABLE
    else:
        hint = f"Give this user the right to write there (`ls -ld {place}`), or change {variable}."
        code = UNUSABLE
    found.failed(name, f"{place} cannot be written: {reason}.", hint, code=code)
