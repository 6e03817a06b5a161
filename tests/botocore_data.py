"""What botocore knows of AWS, read once in a process: each session of its own reads two megabytes of JSON anew."""

from __future__ import annotations

import functools
from typing import Any

from botocore.loaders import JSONFileLoader


def read_once() -> None:
    """From now on every session is given what the first one has read."""
    real = JSONFileLoader.load_file

    @functools.cache
    def load(path: str) -> Any:
        return real(JSONFileLoader(), path)

    JSONFileLoader.load_file = lambda _, path: load(path)  # type: ignore[method-assign]
