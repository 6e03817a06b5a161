"""Who we are at each store, and what a look may not do there."""

from __future__ import annotations

import os
import pwd
import socket

import pytest

from rotator.destinations.aws_secrets_manager import NO_VERSION, AwsSecretsManagerDestination
from rotator.destinations.base import Content, Reading
from rotator.destinations.file import FileDestination
from rotator.errors import Unreachable
from rotator.model import DestinationSpec
from tests.conftest import FakeClock


def at_aws() -> AwsSecretsManagerDestination:
    options = {"secret_id": "prod/billing", "region": "eu-central-1"}
    return AwsSecretsManagerDestination(
        DestinationSpec("aws-secrets-manager", "aws:prod/billing", key="token", options=options), FakeClock()
    )


def in_file(tmp_path) -> FileDestination:
    options = {"path": str(tmp_path / "token"), "format": None}
    return FileDestination(DestinationSpec("file", "file:token", create=True, options=options), FakeClock())


def test_aws_tells_an_arn(aws, aws_environment, moto_port):
    """STS is asked at the endpoint that its own variable names, with the region of the destination."""
    aws_environment.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{moto_port}")
    assert at_aws().identity().startswith("arn:aws:sts::")
    assert aws.calls == []


def test_aws_without_sts(aws, aws_environment):
    """An endpoint that is not there: says which call got no answer."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        aws_environment.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(Unreachable) as error:
            at_aws().identity()
    assert "sts:GetCallerIdentity" in error.value.happened


def test_a_file_tells_the_user(tmp_path):
    """Name and number of the user of this process; the number alone where it has no name."""
    uid = os.geteuid()
    assert in_file(tmp_path).identity() == f"{pwd.getpwuid(uid).pw_name} (uid {uid})"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user without a name")
def test_a_user_without_a_name(tmp_path):
    """A container's uid that no password file lists."""
    destination = in_file(tmp_path)
    os.seteuid(54321)
    try:
        told = destination.identity()
    finally:
        os.seteuid(0)
    assert told == "uid 54321"


@pytest.mark.parametrize(
    ("version", "shows"), [(None, True), (NO_VERSION, True), ("5f0c3a52-6d0b-4d5e-9f6e-0d3b8f1f2a11", False)]
)
def test_preflight_at_aws_shows_where_nothing_is(version, shows):
    """A secret without a version gets its first one in preflight, which readers see; any other does not."""
    assert at_aws().preflight_shows(Reading(Content.MISSING, version)) is shows


def test_preflight_of_a_file_never_shows(tmp_path):
    """A missing file is proved makeable and not made."""
    destination = in_file(tmp_path)
    assert not destination.preflight_shows(destination.read())
    destination.preflight()
    assert list(tmp_path.iterdir()) == []
