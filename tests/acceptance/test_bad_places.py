"""Stores and providers that are wrong or cannot be reached."""

from __future__ import annotations

import pytest

from tests.acceptance.refusals import Expected, refused
from tests.acceptance.site import AwsStore, Site
from tests.destinations.strict_secrets_manager import StrictSecretsManager


def test_a_secret_that_is_not_there(site: Site, moto_store: AwsStore) -> None:
    """A missing secret is refused: exit 1, says which and how to let rotator make it."""
    billing = site.add(store=moto_store)
    moto_store.client.delete_secret(SecretId=moto_store.name, ForceDeleteWithoutRecovery=True)
    refused(
        site, billing, Expected(1, (moto_store.name, "does not exist"), "Nothing was changed", "create: true")
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a bare token", ("JSON",)),
        ('["a", "list"]', ("JSON",)),
        ('{"token": "PGPASSWORD"}', ("token",)),
        ('{"token": {"nested": 1}}', ("token",)),
    ],
    ids=["not JSON", "a list", "a foreign value", "no text"],
)
@pytest.mark.parametrize("where", ["file", "aws"])
def test_a_secret_that_is_not_ours_to_write(
    site: Site, request: pytest.FixtureRequest, where: str, content: str, words: tuple[str, ...]
) -> None:
    """A secret that is no JSON object, or whose field holds something else: exit 1, left as it is."""
    store = None if where == "file" else request.getfixturevalue("moto_store")
    billing = site.add(store=store)
    billing.store.write(content)
    ended = refused(site, billing, Expected(1, words, "Nothing was changed"))
    assert "PGPASSWORD" not in ended.errors + ended.output


def test_a_store_that_cannot_be_reached(site: Site, moto_store: AwsStore, dead_port: int) -> None:
    """A dead port: exit 6, safe to repeat; it works when the store is back."""
    billing = site.add(store=moto_store)
    alive = site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"]
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = f"http://127.0.0.1:{dead_port}"
    refused(site, billing, Expected(6, ("AWS",), "Nothing was changed"))
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = alive
    assert site.rotate("billing").code == 0
    assert billing.serves_a_living_token


@pytest.mark.parametrize("command", [("rotate", "billing", "--yes", "-o", "json"), ("run", "-o", "json")])
def test_a_provider_that_cannot_be_reached(site: Site, dead_port: int, command: tuple[str, ...]) -> None:
    """A dead port: exit 6, safe to repeat."""
    billing = site.add()
    site.environment["LETTERMINT_API_URL"] = f"http://127.0.0.1:{dead_port}/v1"
    expected = Expected(6, ("127.0.0.1", "could not be reached"), "Nothing was changed", "safe to try again")
    refused(site, billing, expected, *command)


def test_a_store_that_refuses_writes(
    site: Site, strict: StrictSecretsManager, strict_store: AwsStore
) -> None:
    """Reading is allowed and writing is not: found out before the mint."""
    billing = site.add(store=strict_store)
    strict.denied = {"PutSecretValue"}
    refused(site, billing, Expected(2, ("PutSecretValue",), "Nothing was changed"))


def test_credentials_that_aws_refuses(
    site: Site, strict: StrictSecretsManager, strict_store: AwsStore
) -> None:
    """A key id that AWS does not know: exit 2."""
    billing = site.add(store=strict_store)
    site.environment["AWS_ACCESS_KEY_ID"] = "unknown"
    strict.bad_keys["unknown"] = "UnrecognizedClientException"
    refused(site, billing, Expected(2, ("AWS", "UnrecognizedClientException"), "Nothing was changed"))


def test_a_dead_token_in_the_store(site: Site) -> None:
    """`run` does not repair what it cannot explain (exit 4, then status as well); `rotate` by hand does."""
    billing = site.add(schedule={"every": "1s"})
    site.simulator.regenerate(billing.project)
    former = billing.stored
    ended = site.run("run", "-o", "json")
    # The provider's seconds are whole: due one second after the mint, at the latest in the second run.
    while not ended.rotations:
        ended = site.run("run", "-o", "json")
    assert ended.code == 4, ended.errors
    assert "401" in ended.errors
    assert "rotator rotate billing" in ended.errors
    assert (billing.rotate_calls, billing.stored) == (0, former)
    assert [one["code"] for one in site.status()["attention"]] == ["token-dead"]
    repaired = site.rotate("billing")
    assert repaired.code == 0, repaired.errors
    assert repaired.rotations[-1]["outage_seconds"] is None
    assert billing.serves_a_living_token
    assert site.status()["attention"] == []
