"""Ways to write policy files and to read what is said about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from rotator.errors import Problem
from rotator.policies.load import check_policies


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that file names in problems are short and the same everywhere."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def problems(folder: Path) -> Callable[..., list[str]]:
    """Writes texts as files a.yaml, b.yaml… and gives every problem as the line a person sees."""

    def check(*texts: str) -> list[str]:
        paths = list(_written(texts))
        return [str(problem) for problem in check_policies(paths)[0]]

    return check


@pytest.fixture
def warnings(folder: Path) -> Callable[..., tuple[Problem, ...]]:
    """Writes a file that must be right, and gives its warnings."""

    def check(text: str) -> tuple[Problem, ...]:
        found, warned = check_policies(list(_written((text,))))
        assert found == ()
        return warned

    return check


def _written(texts: tuple[str, ...]) -> Iterator[Path]:
    for name, text in zip("abcdef", texts, strict=False):
        path = Path(f"{name}.yaml")
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        yield path
