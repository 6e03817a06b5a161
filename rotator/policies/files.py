"""Finds policy files and reads them. Knows nothing of what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rotator.errors import Problem

SUFFIXES: Final = (".yaml", ".yml")

LARGEST: Final = 1024 * 1024
"""Bytes. A file of this size holds some thousand policies; a larger one is a mistake or an attack."""


@dataclass(frozen=True)
class PolicyFile:
    """One file and its text."""

    path: Path
    """As the reader wrote it, or as found below the folder the reader wrote; shown in problems."""
    text: str

    @property
    def folder(self) -> Path:
        """Where relative paths in it start: the folder it is listed in, whatever it may link to."""
        return Path(os.path.abspath(self.path)).parent  # noqa: PTH100  # resolve() would follow links

    @property
    def location(self) -> str:
        """The absolute path, which means the same wherever the process runs."""
        return str(self.folder / self.path.name)


def read_all(paths: Sequence[Path]) -> tuple[list[PolicyFile], list[Problem]]:
    """Every policy file at these paths, each once, in the order of the paths and then sorted."""
    files: list[PolicyFile] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for path in paths:
        found = list(_below(path, problems)) if os.path.isdir(path) else [path]  # noqa: PTH112  # is_dir() raises for a name that is too long
        if not found:
            problems.append(
                Problem(str(path), 0, "", "holds no policy file; accepted: names that end in .yaml or .yml")
            )
        for file in found:
            real = os.path.realpath(file)
            if real in seen:
                continue
            seen.add(real)
            text = _read(file, problems)
            if text is not None:
                files.append(PolicyFile(file, text))
    if not paths:
        problems.append(Problem("policies", 0, "", "no path was given; accepted: a file or a folder"))
    return files, problems


def _below(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        problems.append(Problem(str(error.filename), 0, "", f"cannot be read: {_reason(error)}"))

    found: list[Path] = []
    # Folder links are not followed and dot-names are skipped: a mounted ConfigMap keeps its files in a
    # dated dot-folder, behind the folder link `..data`, and shows each as a file link beside them.
    for where, folders, names in os.walk(folder, onerror=unreadable, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
    yield from sorted(found)


def _read(file: Path, problems: list[Problem]) -> str | None:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            # Opening a pipe that nobody writes to would wait for ever.
            problems.append(Problem(str(file), 0, "", "is not a regular file"))
            return None
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        problems.append(
            Problem(str(file), 0, "", "does not exist; accepted: a policy file or a folder of them")
        )
        return None
    except OSError as error:
        problems.append(Problem(str(file), 0, "", f"cannot be read: {_reason(error)}"))
        return None
    if len(data) > LARGEST:
        problems.append(Problem(str(file), 0, "", f"is larger than {LARGEST // 1024} KiB; split it"))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(Problem(str(file), line, "", "is not UTF-8 text; save it as UTF-8"))
        return None


def _reason(error: OSError) -> str:
    return error.strerror or "the system gives no reason"
