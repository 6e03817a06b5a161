"""One policy with AWS, Vault and a file: together, with one away for a moment, for good, or restored."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import pytest

from rotator.secret import Secret
from tests.acceptance.conftest import VAULT_RULES
from tests.acceptance.moments import MINTED
from tests.acceptance.site import AwsStore, Entry, FileStore, Site, Store, VaultStore
from tests.destinations.strict_vault import StrictVault


@dataclass
class Three:
    """A policy whose token goes to three kinds of store, AWS being the authoritative one."""

    site: Site
    entry: Entry
    vault: StrictVault
    stores: dict[str, Store]

    @property
    def tokens(self) -> set[Secret]:
        """What readers hold; that nothing else of the secrets changed is checked on the way."""
        return {self.entry.stored_in(store) for store in self.stores.values()}

    def ref(self, name: str) -> str:
        spec = self.stores[name].spec
        named = {"file": "path", "vault": "path", "aws": "secret_id"}[name]
        return str(spec[named])

    def states(self, rotation: dict[str, object]) -> dict[str, str]:
        """The state of each store in a rotation, or in a sync."""
        listed = rotation["destinations"]
        assert isinstance(listed, list)
        return {
            name: one["state"] for name in self.stores for one in listed if self.ref(name) in str(one["ref"])
        }


@pytest.fixture
def three(site: Site, strict_store: AwsStore, vault: StrictVault) -> Three:
    stores: dict[str, Store] = {
        "aws": strict_store,
        "vault": VaultStore(vault),
        "file": FileStore(site.folder / "store" / "second.json"),
    }
    entry = site.add(store=strict_store, destinations=[store.spec for store in stores.values()])
    for store in stores.values():
        entry.seed(entry.first, store)
    return Three(site, entry, vault, stores)


def test_each_destination_holds_the_new_token_under_its_key(three: Three) -> None:
    """One rotation, three stores: each has the new token, and every other field as it was."""
    ended = three.site.rotate("billing")
    assert ended.code == 0, ended.errors
    assert three.states(ended.rotations[0]) == dict.fromkeys(three.stores, "current")
    assert three.tokens == {three.entry.stored}
    assert three.entry.serves_a_living_token
    assert three.entry.mints == 1
    assert three.site.audit_holds()


def test_destination_that_is_away_before_the_mint_prevents_it(three: Three) -> None:
    """Every destination is proved beforehand: one sealed Vault, and nothing is changed anywhere."""
    three.vault.seal()
    ended = three.site.rotate("billing")
    assert ended.code == 6
    assert "sealed" in ended.errors + ended.output
    three.vault.unseal()
    assert three.tokens == {three.entry.first}
    assert three.entry.rotate_calls == 0


def test_destination_that_comes_back_is_written_in_the_same_rotation(three: Three) -> None:
    """Vault is sealed right after the mint and opened again: the rotation waits for it and ends completed."""
    paused = three.site.start_until(MINTED, "rotate", "billing", "--yes")
    three.vault.seal()
    child = paused.go_on()
    # The others are not kept waiting.
    deadline = time.monotonic() + 20
    while three.entry.stored_in(three.stores["aws"]) == three.entry.first:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    three.vault.unseal()
    ended = child.wait()
    assert ended.code == 0, ended.errors
    assert three.states(ended.rotations[0]) == dict.fromkeys(three.stores, "current")
    assert len(three.tokens) == 1
    assert three.entry.mints == 1


def test_destination_that_refuses_for_good_stays_behind_until_it_is_mended(three: Three) -> None:
    """Our permission in Vault is withdrawn after the mint: the other two are written, a person is asked, each
    run tries again without a mint, and once it is granted the token is there."""
    paused = three.site.start_until(MINTED, "rotate", "billing", "--yes")
    three.vault.expire(three.site.environment["VAULT_TOKEN"])
    ended = paused.go_on().wait()
    assert ended.code == 4
    (rotation,) = ended.rotations
    assert rotation["state"] == "needs-attention"
    assert three.states(rotation) == {"aws": "current", "vault": "behind", "file": "current"}
    assert three.entry.serves_a_living_token
    again = three.site.run("run", "-o", "json")
    assert again.code == 4
    (attention,) = three.site.status()["attention"]
    assert attention["code"] == "destination-behind"
    assert "rotator reconcile billing" in attention["next"]
    three.site.environment["VAULT_TOKEN"] = three.vault.token(VAULT_RULES)
    mended = three.site.run("run", "-o", "json")
    assert mended.code == 0, mended.errors
    assert three.tokens == {three.entry.stored}
    assert three.entry.mints == 1
    assert three.site.status()["attention"] == []


def restore(three: Three, name: str) -> None:
    """As from last night's backup."""
    three.entry.seed(three.entry.first, three.stores[name])


@pytest.mark.parametrize("name", ["vault", "file"])
def test_restored_destination_is_synced_by_the_next_run(three: Three, name: str) -> None:
    """A follower restored from a backup gets the living token from the authoritative store, without a mint."""
    assert three.site.rotate("billing").code == 0
    restore(three, name)
    ended = three.site.run("run", "-o", "json")
    assert ended.code == 0, ended.errors
    (synced,) = json.loads(ended.output)["synced"]
    assert three.states(synced) == {name: "current"}
    assert three.tokens == {three.entry.stored}
    assert three.entry.mints == 1
    assert three.site.audit_holds()


def test_restored_destination_is_found_by_status_and_synced_by_reconcile(three: Three) -> None:
    """`status --refresh` says which one, exit 4; `reconcile` shows what it would do, and does it with --yes."""
    assert three.site.rotate("billing").code == 0
    restore(three, "vault")
    refreshed = three.site.run("status", "--refresh", "-o", "json")
    assert refreshed.code == 4
    (attention,) = json.loads(refreshed.output)["policies"][0]["attention"]
    assert attention["code"] == "destination-behind"
    assert three.ref("vault") in attention["message"]
    asked = three.site.run("reconcile", "billing", "-o", "json")
    assert asked.code == 4
    assert json.loads(asked.output)["next"]["action"] == "sync"
    assert three.entry.stored_in(three.stores["vault"]) == three.entry.first
    done = three.site.run("reconcile", "billing", "--yes", "-o", "json")
    assert done.code == 0, done.errors
    assert three.tokens == {three.entry.stored}
    assert three.entry.mints == 1
    assert three.site.run("status", "--refresh", "-o", "json").code == 0


def test_authoritative_store_restored_from_a_backup_is_an_alarm(three: Three) -> None:
    """Its dead token is not spread and the living copies stay; a person rotates, and all three agree again."""
    assert three.site.rotate("billing").code == 0
    living = three.entry.stored
    restore(three, "aws")
    ended = three.site.run("run", "-o", "json")
    assert ended.code == 4
    assert [entry["code"] for entry in three.site.status()["attention"]] == ["token-dead"]
    assert three.entry.stored_in(three.stores["vault"]) == living
    assert three.entry.mints == 1
    assert three.site.rotate("billing").code == 0
    assert three.tokens == {three.entry.stored}
    assert three.entry.serves_a_living_token
