"""The consumer of policies/README.md, run as it stands there, through rotations of every form."""

from __future__ import annotations

import email.message
import json
import logging
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import hvac
import lettermint as sdk
import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.acceptance.conftest import VAULT_RULES
from tests.acceptance.recipe import README, Consumer, blocks, loaded, message, sending
from tests.acceptance.site import PING_AND_SEND, AwsStore, Entry, FileStore, Site, Store, VaultStore
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault

HOUR = 3600
DRAIN = {"min": "2s", "quiet": "1s", "max": "1h"}


@pytest.fixture(scope="module")
def recipe(world: tuple[Simulator, Secret]) -> Iterator[ModuleType]:
    """Everything that the section defines, with its sends going to the simulator."""
    with loaded(world[0].url) as module:
        yield module


@dataclass
class Shop:
    """A policy whose token goes to three kinds of store, and the recipe's readers of each."""

    site: Site
    recipe: Any
    entry: Entry
    aws: StrictSecretsManager
    vault: StrictVault
    stores: dict[str, Any]

    def tokens(self, kind: str, max_age: int = HOUR) -> Any:
        """What a program makes once: a reader of one store."""
        store: Any = self.stores[kind]
        if kind == "aws":
            return self.recipe.AwsToken(store.name, "token", max_age=max_age, client=store.client)
        if kind == "vault":
            return self.recipe.VaultToken(self.connect, store.path, "token", max_age=max_age)
        return self.recipe.FileToken(store.path, "token")

    def connect(self) -> hvac.Client:
        return hvac.Client(self.vault.url, token=self.site.environment["VAULT_TOKEN"])

    def consumers(self, **options: float) -> dict[str, Consumer]:
        """One consumer of each store; `max_age` is its cache's, the rest is `send`'s."""
        max_age = int(options.pop("max_age", HOUR))
        mark = f"{self.entry.project}-{max_age}-{len(options)}"
        return {
            kind: Consumer(self.recipe, f"{kind}-{mark}", self.tokens(kind, max_age), **options)
            for kind in self.stores
        }

    def close(self, kind: str) -> None:
        """The store answers nobody."""
        if kind == "aws":
            self.aws.denied |= {"DescribeSecret", "GetSecretValue"}
        else:
            self.vault.seal()

    def open(self, kind: str) -> None:
        if kind == "aws":
            self.aws.denied.clear()
        else:
            self.vault.unseal()

    def reads(self, kind: str) -> int:
        """How often anybody asked this store for the value."""
        if kind == "aws":
            return sum(1 for action, _ in self.aws.calls if action == "GetSecretValue")
        return sum(1 for seen in self.vault.requests if seen.path.startswith("secret/data/"))

    def publish(self, token: Secret) -> None:
        for store in self.stores.values():
            self.entry.seed(token, store)

    def arrived(self, *projects: str) -> Counter[str]:
        """How often each key's message was accepted, in all these projects together."""
        return Counter(
            one.idempotency_key or ""
            for project in projects or (self.entry.project,)
            for one in self.site.simulator.sends(project)
        )


@pytest.fixture
def shop(site: Site, recipe: ModuleType, strict_store: AwsStore, strict: Any, vault: StrictVault) -> Shop:
    # Consumers keep the machine busy: a call that is late is no fault here.
    site.environment |= {"ROTATOR_CALL_TIMEOUT": "5s", "ROTATOR_LEASE": "15s"}
    stores: dict[str, Store] = {
        "aws": strict_store,
        "vault": VaultStore(vault),
        "file": FileStore(site.folder / "store" / "lettermint.json"),
    }
    destinations = [store.spec for store in stores.values()]
    entry = site.add(store=strict_store, destinations=destinations, verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[entry.project])
    shop = Shop(site, recipe, entry, strict, vault, stores)
    shop.publish(entry.first)
    return shop


BOTH = pytest.mark.parametrize("kind", ["aws", "vault"])


def assert_nothing_lost(shop: Shop, consumers: dict[str, Consumer], *projects: str) -> None:
    """No caller saw a failure, and each message was accepted exactly once."""
    arrived = shop.arrived(*projects)
    for consumer in consumers.values():
        assert consumer.failures == []
        assert {arrived[key] for key in consumer.sent} == {1}


def assert_refused(shop: Shop, consumers: dict[str, Consumer]) -> None:
    """Those with a cache saw refusals and nothing else, and still hold the dead token."""
    for kind in ("aws", "vault"):
        assert {type(error) for error in consumers[kind].failures} == {sdk.AuthenticationError}
        assert consumers[kind].tokens.get() == shop.entry.first.reveal()


# in place


def test_in_place_rotation(shop: Shop) -> None:
    """The old token dies under sends, caches would last an hour: with the repetition 0 fail and nothing arrives
    twice; the same consumers without it, for whom a 401 is final, fail."""
    patient, impatient = shop.consumers(), shop.consumers(patience=0)
    with sending([*patient.values(), *impatient.values()]):
        ended = shop.site.rotate("billing")
    assert ended.code == 0, ended.errors
    assert_nothing_lost(shop, patient)
    assert shop.entry.stored != shop.entry.first
    assert {consumer.tokens.get() for consumer in patient.values()} == {shop.entry.stored.reveal()}
    assert_refused(shop, impatient)


@BOTH
def test_it_waits_for_a_token_that_comes_late(shop: Shop, kind: str) -> None:
    """The new token reaches the store half a second after the old one died: one call, and it is sent."""
    tokens = shop.tokens(kind)
    tokens.get()
    new = shop.site.simulator.regenerate(shop.entry.project)
    later = threading.Timer(0.5, shop.publish, [new])
    began = time.monotonic()
    later.start()
    shop.recipe.send(tokens, message(1), idempotency_key=kind)
    later.join()
    assert 0.5 <= time.monotonic() - began < 5
    assert shop.arrived() == {kind: 1}


@BOTH
def test_it_gives_up_when_its_patience_ends(shop: Shop, kind: str) -> None:
    """Nobody publishes a new token: the refusal is raised, not before `patience` and not long after."""
    tokens = shop.tokens(kind)
    shop.site.simulator.revoke(shop.entry.first)
    too_late = threading.Timer(5, shop.publish, [shop.site.simulator.add_token(shop.entry.project)])
    too_late.start()
    began = time.monotonic()
    with pytest.raises(sdk.AuthenticationError):
        shop.recipe.send(tokens, message(1), idempotency_key=kind, patience=0.4)
    too_late.cancel()
    assert 0.4 <= time.monotonic() - began < 3
    assert shop.arrived() == {}


@BOTH
def test_threads_that_are_refused_together_read_the_store_once(shop: Shop, kind: str) -> None:
    """Eight sends meet the dead token at the same moment, and one of them fetches the new one for all."""
    tokens = shop.tokens(kind)
    tokens.get()
    shop.publish(shop.site.simulator.regenerate(shop.entry.project))
    before = shop.reads(kind)
    with ThreadPoolExecutor(8) as threads:
        sends = [
            threads.submit(shop.recipe.send, tokens, message(n), idempotency_key=f"{kind}-{n}")
            for n in range(8)
        ]
    assert all(one.result()["message_id"] for one in sends)
    assert shop.reads(kind) - before == 1
    assert len(shop.arrived()) == 8


@BOTH
def test_it_outlives_a_store_that_is_away(shop: Shop, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """An aged cache goes on with its token while the store is away; a dead one is replaced once it is back."""
    tokens = shop.tokens(kind, max_age=1)
    tokens.get()
    shop.close(kind)
    time.sleep(1.1)
    shop.recipe.send(tokens, message(1), idempotency_key="aged")
    shop.publish(shop.site.simulator.regenerate(shop.entry.project))
    back = threading.Timer(0.5, shop.open, [kind])
    back.start()
    with caplog.at_level(logging.WARNING):
        shop.recipe.send(tokens, message(2), idempotency_key="dead")
    back.join()
    assert "cannot be read now" in caplog.text
    assert shop.arrived() == {"aged": 1, "dead": 1}


@BOTH
def test_the_first_read_says_what_is_wrong(shop: Shop, kind: str) -> None:
    """A program that starts while the store is away gets the store's own error, and starts later."""
    tokens = shop.tokens(kind)
    shop.close(kind)
    with pytest.raises(Exception, match=r"denied|sealed|authorized"):
        tokens.get()
    shop.open(kind)
    if kind == "aws":
        time.sleep(1.1)  # AWS's cache tries again after a second
    assert tokens.get() == shop.entry.first.reveal()


# zero downtime


def standby(shop: Shop) -> tuple[str, ...]:
    """Gives the policy a second project with the same domain; both projects."""
    other, _ = shop.site.simulator.add_project("Standby", team=shop.site.team_token)
    shop.site.simulator.add_domain(team=shop.site.team_token, projects=[other])
    shop.entry.document["standby"] = {"project": other}
    return shop.entry.project, other


def bridge(shop: Shop) -> tuple[str, ...]:
    """Gives the policy a token made by hand; its one project."""
    place = FileStore(shop.site.folder / "store" / "bridge.json")
    shop.entry.seed(shop.site.simulator.add_token(shop.entry.project), place)
    shop.entry.document["standby"] = {"token": place.spec}
    return (shop.entry.project,)


def rotate_to_its_end(shop: Shop) -> None:
    """`rotator rotate`, then `rotator run` as cron would, until the rotation is completed."""
    shop.entry.document |= {"strategy": "create-before-revoke", "drain": DRAIN}
    shop.site.write_policies()
    ended = shop.site.run("rotate", "billing", "--yes", "--no-wait", "-o", "json")
    give_up_at = time.monotonic() + 60
    while True:
        assert ended.code == 0, ended.errors
        (rotation,) = ended.rotations
        if rotation["state"] == "completed":
            break
        assert rotation["state"] == "draining"
        assert time.monotonic() < give_up_at, ended.errors
        time.sleep(0.5)
        ended = shop.site.run("run", "-o", "json")
    assert not shop.site.simulator.is_alive(shop.entry.first)
    assert shop.entry.stored != shop.entry.first


def test_standby_project(shop: Shop) -> None:
    """Caches of at most a second, a drain of two, a 401 is final: 0 failed of all sends."""
    projects = standby(shop)
    consumers = shop.consumers(patience=0, max_age=1)
    with sending([*consumers.values()]):
        rotate_to_its_end(shop)
    assert_nothing_lost(shop, consumers, *projects)


def test_bridge_token(shop: Shop) -> None:
    """The same with a bridge; and where the cache outlasts the drain, only the repetition saves the sends."""
    bridge(shop)
    short = shop.consumers(patience=0, max_age=1)
    patient, impatient = shop.consumers(), shop.consumers(patience=0)
    with sending([*short.values(), *patient.values(), *impatient.values()]):
        rotate_to_its_end(shop)
    assert_nothing_lost(shop, short)
    assert_nothing_lost(shop, patient)
    assert_refused(shop, impatient)


# as it stands there


def test_every_block_of_the_section_is_run_here() -> None:
    """Each block of Python in policies/README.md has a name, and the names are these."""
    assert list(blocks()) == ["send", "aws", "aws-use", "vault", "vault-use", "file", "smtp"]
    assert README.read_text(encoding="utf-8").count("```python\n") == len(blocks())


@pytest.mark.parametrize("kind", ["aws", "vault"])
def test_copied_into_a_program_it_sends(kind: str, shop: Shop, tmp_path: Path) -> None:
    """The blocks for one store, one below the other in one file, are a whole program."""
    code = blocks()
    program = tmp_path / "program.py"
    program.write_text(code["send"] + code[kind] + code[f"{kind}-use"], encoding="utf-8")
    name = "prod/billing/lettermint"
    field = {"aws": "LETTERMINT_PROJECT_TOKEN", "vault": "token"}[kind]
    document = {field: shop.entry.first.reveal(), "other": "kept"}
    shop.aws.seed(name, json.dumps(document))
    shop.vault.write("secret", name, document)
    role, secret = shop.vault.approle("billing", VAULT_RULES)
    environment = {**shop.site.environment, "VAULT_ROLE_ID": role, "VAULT_SECRET_ID": secret}
    environment["AWS_DEFAULT_REGION"] = environment.pop("AWS_REGION")
    del environment["VAULT_TOKEN"]
    command = [sys.executable, "-W", "error::DeprecationWarning", str(program)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert shop.arrived() == {"invoice-117": 1}


def test_smtp_reconnects_with_the_new_token(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay refuses the dead token at log-in; the message goes out on a connection with the new one."""
    with Simulator() as lettermint:
        lettermint.open_relay(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(lettermint.ca_file))
        project, first = lettermint.furnish(1, smtp_enabled=True).projects[0]
        port = int(lettermint.smtps_url.rpartition(":")[2])
        secret = tmp_path / "secret.json"
        secret.write_text(json.dumps({"token": first.reveal()}), encoding="utf-8")
        mail = email.message.EmailMessage()
        mail["From"], mail["To"] = "billing@example.com", "ok@testing.lettermint.co"
        mail["Subject"], mail["Idempotency-Key"] = "Invoice 117", "invoice-117"
        mail.set_content("Thank you for your order.")
        new = lettermint.regenerate(project)
        later = threading.Timer(
            0.3, secret.write_text, [json.dumps({"token": new.reveal()})], {"encoding": "utf-8"}
        )
        later.start()
        tokens = recipe.FileToken(secret, "token")
        recipe.send_by_smtp(tokens, mail, host="127.0.0.1", port=port)
        later.join()
        log_ins = [event.answered for event in lettermint.events if event.call == "smtp-auth"]
        assert (log_ins[0], log_ins[-1]) == (535, 235)
        assert [one.idempotency_key for one in lettermint.sends(project)] == ["invoice-117"]


def test_smtp_trusts_no_stranger(recipe: Any, tmp_path: Path) -> None:
    """A relay whose certificate nobody vouches for never sees the token."""
    with Simulator() as lettermint:
        lettermint.open_relay(tmp_path / "ca.pem")
        secret = tmp_path / "secret.json"
        secret.write_text(json.dumps({"token": "never shown"}), encoding="utf-8")
        port = int(lettermint.smtps_url.rpartition(":")[2])
        with pytest.raises(ssl.SSLCertVerificationError):
            recipe.send_by_smtp(
                recipe.FileToken(secret, "token"), email.message.EmailMessage(), host="127.0.0.1", port=port
            )
        assert lettermint.events == ()
