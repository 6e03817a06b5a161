"""A warm nursery, a Lettermint, and stores for commands that run as real processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.acceptance.site import AWS_CREDENTIALS, REGION, AwsStore, Site
from tests.crash.harness import Nursery, running_lettermint
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault

VAULT_RULES = {
    "secret/data/prod/*": {"create", "read", "update"},
    "secret/metadata/prod/*": {"create", "read", "update", "delete"},
}
"""What a Vault policy has to allow for destinations below secret/prod."""

world = pytest.fixture(scope="session", name="world")(running_lettermint)


@pytest.fixture
def lettermint(world: tuple[Simulator, Secret]) -> Iterator[Simulator]:
    """The simulator of all tests, without faults."""
    yield world[0]
    world[0].faults.clear()


@pytest.fixture
def site(tmp_path: Path, lettermint: Simulator, world: tuple[Simulator, Secret], nursery: Nursery) -> Site:
    """Empty: `site.add()` makes a policy."""
    return Site(tmp_path, lettermint, world[1], nursery)


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port of this machine that refuses connections for as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and given to nobody else
        yield taken.getsockname()[1]


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The server that moto comes with, at a loopback address."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  # a second to load; most tests do without

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()


@pytest.fixture
def moto_store(site: Site, moto_url: str) -> AwsStore:
    """A secret in moto, where the site's commands find it."""
    return aws_store(site, moto_url)


@pytest.fixture
def strict(site: Site) -> Iterator[StrictSecretsManager]:
    with StrictSecretsManager() as server:
        yield server


@pytest.fixture
def strict_store(site: Site, strict: StrictSecretsManager) -> AwsStore:
    """A secret in the strict fake, where the site's commands find it."""
    return aws_store(site, strict.url)


@pytest.fixture
def vault(site: Site) -> Iterator[StrictVault]:
    """The strict fake of Vault, which the site's commands log in to with a token that may do what it must."""
    with StrictVault() as server:
        site.environment |= {"VAULT_ADDR": server.url, "VAULT_TOKEN": server.token(VAULT_RULES)}
        yield server


def aws_store(site: Site, url: str) -> AwsStore:
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = url
    return AwsStore(aws_client(url))


def aws_client(url: str) -> Any:
    return boto3.client(
        "secretsmanager",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=AWS_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
