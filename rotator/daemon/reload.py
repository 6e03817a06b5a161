"""Notices changed policy files: edited ones, and the link that a mounted ConfigMap is swapped by."""

from __future__ import annotations

import os
from pathlib import Path

from rotator.errors import InvalidPolicies
from rotator.model import Policy
from rotator.policies.files import SUFFIXES
from rotator.policies.load import load_policies

Signature = tuple[tuple[str, ...], ...]


class PolicyFiles:
    """The policies at one path, as they last were good. Used by one thread."""

    def __init__(self, path: Path, policies: tuple[Policy, ...]) -> None:
        self._path = path
        self.policies = policies
        """The last good set."""
        self.problem: InvalidPolicies | None = None
        """What is wrong with the files as they are now; the last good set stays in use."""
        self._seen = self._signature()

    def changed(self, *, look_closely: bool = False) -> bool:
        """Reads the files again if they changed since the last call, or if asked to (SIGHUP). True when that was
        done: `policies` or `problem` is new."""
        seen = self._signature()
        if seen == self._seen and not look_closely:
            return False
        # Taken before reading: what changes while it is read is noticed by the next call.
        self._seen = seen
        try:
            self.policies = load_policies([self._path]).policies
            self.problem = None
        except InvalidPolicies as error:
            self.problem = error
        return True

    def _signature(self) -> Signature:
        """What is cheap to know of every file; a swapped folder link shows as other real paths."""
        if not self._path.is_dir():
            return (_facts(self._path),)
        found = []
        for where, folders, names in os.walk(self._path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [
                _facts(Path(where, name))
                for name in sorted(names)
                if name.endswith(SUFFIXES) and not name.startswith(".")
            ]
        return tuple(found)


def _facts(path: Path) -> tuple[str, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (str(path), type(error).__name__)
    facts = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)
    return (str(path), os.path.realpath(path), *map(str, facts))
