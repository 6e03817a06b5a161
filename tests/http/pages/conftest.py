"""A real browser for the pages, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.http.pages.browser import Browser, browsing, find


def missing(what: str) -> None:
    """Skips aloud; where every change is checked nothing may be skipped."""
    if os.environ.get("ROTATOR_TEST_EVERYTHING"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory, long: bool) -> Browser:
    """One browser for all tests of a process: it takes a second to start."""
    if not long:
        pytest.skip("takes a minute and a browser; --long runs it")
    if find() is None:
        missing("the pages were not looked at in a browser: there is no Chromium (Debian: chromium)")
    with browsing(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, which finds what people with disabilities would trip over."""
    path = os.environ.get("AXE_CORE")
    if path is None:
        missing("axe did not check the pages: AXE_CORE names no axe.min.js (npm: axe-core)")
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def site(serve) -> str:
    """The address of a server over the small board."""
    return f"http://127.0.0.1:{serve().address.port}"
