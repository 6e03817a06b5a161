"""The parts of the acceptance suite in which real commands run, and a Vault that writes down who used what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import VAULT_RULES, lettermint, moto_url, site, strict, world
from tests.acceptance.site import Site
from tests.destinations.strict_vault import StrictVault
from tests.destinations.strict_vault_core import CAPABILITY
from tests.postgresql_server import postgresql

__all__ = ["lettermint", "moto_url", "postgresql", "site", "strict", "world"]


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest) -> None:
    """None of these tests is about calls that are late; on a busy machine a short time-out makes them so."""
    if "site" in request.fixturenames:
        site: Site = request.getfixturevalue("site")
        site.environment |= {"ROTATOR_CALL_TIMEOUT": "5s", "ROTATOR_LEASE": "15s"}


class RecordingVault(StrictVault):
    """The strict fake, with every right of a policy that a call made use of."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[tuple[str, str]] = set()
        """Path and capability. What every token may do to itself is not among them."""

    def _authorize(self, space: str, path: str, method: str, body: dict[str, Any], token: Any) -> None:
        super()._authorize(space, path, method, body, token)
        if token.root or not path.startswith("secret/"):
            return
        needed = CAPABILITY[method]
        found = self._find(space, path)
        if needed == "update" and found is not None and found[1].exists(path.removeprefix(found[0])) is False:
            needed = "create"
        self.used.add((path, needed))


@pytest.fixture
def vault(site: Site) -> Iterator[RecordingVault]:
    with RecordingVault() as server:
        site.environment |= {"VAULT_ADDR": server.url, "VAULT_TOKEN": server.token(VAULT_RULES)}
        yield server
