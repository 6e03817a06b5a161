"""What the destinations' tests share: servers, and places to write to."""

from __future__ import annotations

import http.client
from contextlib import closing

import pytest

from tests.destinations.places import AwsPlace, FilePlace, MotoBackend, StrictBackend, VaultPlace
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault
from tests.destinations.vault_servers import FakeServer, real_server

pytest.register_assert_rewrite("tests.destinations.contract")


@pytest.fixture(scope="session")
def moto_port():
    """The server that moto comes with, one for the whole session."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  # a second to load; file tests do without

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture(scope="session")
def strict_server():
    with StrictSecretsManager() as server:
        yield server


@pytest.fixture
def aws_environment(monkeypatch):
    """Credentials and files of nobody, so that no account of the machine is ever used."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # The same for all tests, so that they share one client; making one takes longer than a test.
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/aws-config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/aws-credentials")
    return monkeypatch


@pytest.fixture
def aws(strict_server, aws_environment):
    """The strict fake, empty, with boto3 pointed at it."""
    strict_server.reset()
    aws_environment.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", strict_server.url)
    yield strict_server
    strict_server.reset()


@pytest.fixture
def moto(moto_port, aws_environment):
    """The server of moto, empty, with boto3 pointed at it; its URL."""
    connection = http.client.HTTPConnection("127.0.0.1", moto_port)
    connection.request("POST", "/moto-api/reset")
    assert connection.getresponse().status == 200
    connection.close()
    url = f"http://127.0.0.1:{moto_port}"
    aws_environment.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
    return url


@pytest.fixture(scope="session")
def vault_server():
    with StrictVault() as server:
        yield server


@pytest.fixture
def vault(vault_server):
    """The strict fake of Vault, empty."""
    vault_server.reset()
    yield vault_server
    vault_server.reset()


@pytest.fixture
def real_vault():
    """The server that VAULT_ADDR names, with all rights; what a test makes there is removed."""
    with real_server(pytest.skip) as server:
        yield server


@pytest.fixture(params=["fake", "real"])
def any_vault(request):
    """Both kinds of servers: what the strict fake shows, a real server shows as well."""
    if request.param == "real":
        return request.getfixturevalue("real_vault")
    return FakeServer(request.getfixturevalue("vault"))


PLACES = [
    "file-json",
    "file-env",
    "file-bare",
    "strict-json",
    "strict-bare",
    "moto-json",
    "moto-bare",
    "vault-json",
    "realvault-json",
]


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """One place of each kind, in each form."""
    kind, form = request.param.split("-")
    if kind == "file":
        return FilePlace(tmp_path / "secret", None if form == "bare" else form)
    if kind == "strict":
        return AwsPlace(StrictBackend(request.getfixturevalue("aws")), form)
    if kind == "moto":
        return AwsPlace(MotoBackend(request.getfixturevalue("moto")), form)
    return request.getfixturevalue("vault_place" if kind == "vault" else "real_vault_place")


@pytest.fixture
def vault_place(vault):
    """A place at the strict fake of Vault."""
    with closing(VaultPlace(FakeServer(vault))) as place:
        yield place


@pytest.fixture
def real_vault_place(real_vault):
    """A place at the real server."""
    with closing(VaultPlace(real_vault)) as place:
        yield place
