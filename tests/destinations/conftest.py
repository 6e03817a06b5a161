"""What the destinations' tests share: servers, and places to write to."""

from __future__ import annotations

import http.client

import pytest

from tests.destinations.places import AwsPlace, FilePlace, MotoBackend, StrictBackend
from tests.destinations.strict_secrets_manager import StrictSecretsManager

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


PLACES = [
    "file-json",
    "file-env",
    "file-bare",
    "strict-json",
    "strict-bare",
    "moto-json",
    "moto-bare",
]


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """One place of each kind, in each form."""
    kind, form = request.param.split("-")
    if kind == "file":
        return FilePlace(tmp_path / "secret", None if form == "bare" else form)
    if kind == "strict":
        return AwsPlace(StrictBackend(request.getfixturevalue("aws")), form)
    return AwsPlace(MotoBackend(request.getfixturevalue("moto")), form)
