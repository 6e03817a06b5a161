"""An authority that the tests trust, and certificates of every bad kind."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme


@dataclass(frozen=True)
class Authority:
    """`file` is for SSL_CERT_FILE."""

    ca: trustme.CA
    file: Path

    def server(self, *names: str, **dates: Any) -> ssl.SSLContext:
        """What a server shows that has a certificate for these names, 127.0.0.1 if none are given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or ("127.0.0.1", "::1")), **dates).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Authority]:
    def make() -> Authority:
        ca = trustme.CA()
        path = tmp_path_factory.mktemp("authority") / "ca.pem"
        ca.cert_pem.write_to_path(path)
        return Authority(ca, path)

    return make


@pytest.fixture(scope="session")
def known_authority(make_authority: Callable[[], Authority]) -> Authority:
    return make_authority()


@pytest.fixture
def authority(known_authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Trusted by whatever looks at SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", str(known_authority.file))
    return known_authority
