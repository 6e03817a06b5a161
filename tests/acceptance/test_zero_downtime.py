"""Rotations under load: real commands, and consumers in processes of their own that know nothing of rotator.

Four of them, two for each store, send with the vendor's SDK and read the token every two seconds, through
boto3 and hvac. None reads anew on 401.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lettermint
import pytest

from rotator.secret import Secret
from tests.acceptance.conftest import aws_client
from tests.acceptance.crowd import Crowd, Seen, death_of, digest, served_since
from tests.acceptance.site import PING_AND_SEND, AwsStore, Entry, Site, VaultStore, eventually
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault

log = logging.getLogger(__name__)

CACHE = 2.0
LATE = 0.5
"""Seconds by which a consumer on a busy machine may read later than its cache says."""
LOOK = 1.0
"""Seconds between two runs of a cron job in a hurry."""


@dataclass(frozen=True)
class Load:
    """How many of each; the default is small because it happens in real time."""

    rotations: int
    sends: int
    interval: float
    """Seconds between two sends of one consumer."""


@pytest.fixture
def load(long: bool) -> Load:
    if long:
        return Load(rotations=10, sends=10_000, interval=0.02)
    return Load(rotations=2, sends=800, interval=0.06)


@dataclass
class Shop:
    """A policy with a secret in AWS and one in Vault, and consumers of both."""

    site: Site
    entry: Entry
    stores: tuple[AwsStore, VaultStore]
    standby: str | None = None

    def crowd(self, interval: float, *, each: int = 2, cache: float = CACHE) -> Crowd:
        specs = [store.spec for store in self.stores for _ in range(each)]
        return Crowd(self.site, specs, cache=cache, interval=interval)

    @property
    def token(self) -> Secret:
        """What readers of both stores get."""
        first, second = (self.entry.stored_in(store) for store in self.stores)
        assert first == second
        return first

    def policy(self, **more: Any) -> None:
        self.entry.document |= more
        self.site.write_policies()

    def sends_since(self, seq: int) -> list[int]:
        """The answers to every send by anybody, in order."""
        events = self.site.simulator.events_since(seq)
        return [event.answered or 0 for event in events if event.call == "send"]

    @property
    def mail(self) -> int:
        """Messages accepted from consumers. Those that rotator verifies with have an idempotency key."""
        projects = filter(None, (self.entry.project, self.standby))
        accepted = [message for one in projects for message in self.site.simulator.sends(one)]
        return sum(1 for message in accepted if message.idempotency_key is None)

    def begin(self) -> dict[str, Any]:
        """`rotator rotate`, until it rests."""
        ended = self.site.run("rotate", self.entry.name, "--yes", "--no-wait", "-o", "json")
        assert ended.code == 0, ended.errors
        (rotation,) = ended.rotations
        return rotation

    def rotated(self) -> dict[str, Any]:
        """`rotator rotate`, then `rotator run` until its drains are over."""
        rotation = self.begin()
        while rotation["state"] == "draining":
            time.sleep(LOOK)
            ended = self.site.run("run", "-o", "json")
            assert ended.code == 0, ended.errors
            (rotation,) = ended.rotations
        assert rotation["state"] == "completed", rotation
        return rotation


@pytest.fixture
def shop(site: Site, strict_store: AwsStore, vault: StrictVault) -> Shop:
    # Consumers keep the machine busy: a call that is late is no fault here.
    site.environment |= {"ROTATOR_CALL_TIMEOUT": "5s", "ROTATOR_LEASE": "15s"}
    stores = (strict_store, VaultStore(vault))
    entry = site.add(
        "shop", store=strict_store, destinations=[store.spec for store in stores], verify=PING_AND_SEND
    )
    entry.seed(entry.first, stores[1])
    site.simulator.add_domain(projects=[entry.project], team=site.team_token)
    return Shop(site, entry, stores)


@pytest.fixture
def pair(shop: Shop) -> Shop:
    """Two projects of one domain, alternated."""
    standby, _ = shop.site.simulator.add_project("standby", team=shop.site.team_token)
    shop.site.simulator.add_domain(projects=[shop.entry.project, standby], team=shop.site.team_token)
    shop.standby = standby
    shop.policy(
        strategy="create-before-revoke",
        standby={"project": standby},
        drain={"min": "3s", "quiet": "2s", "max": "5m"},
    )
    return shop


@pytest.fixture
def bridged(shop: Shop, strict: StrictSecretsManager) -> Shop:
    """One project, and a token made by hand in a secret of its own."""
    bridge = AwsStore(aws_client(strict.url))
    shop.entry.seed(shop.site.simulator.add_token(shop.entry.project), bridge)
    shop.policy(
        strategy="create-before-revoke",
        standby={"token": bridge.spec},
        drain={"min": "4s", "quiet": "1s", "max": "5m"},
    )
    return shop


def refused(shop: Shop, token: Secret) -> bool:
    """Whether the API says 401 to it."""
    with lettermint.Lettermint(sending_token=token.reveal(), base_url=shop.site.simulator.url) as client:
        try:
            client.emails.ping()
        except lettermint.AuthenticationError:
            return True
        return False


def report(what: str, crowd: list[Seen], began: float) -> None:
    """What was measured, for whoever runs this with --log-cli-level=info."""
    log.info(
        "%s: %d sends in %.1f s, %d failed, longest gap of one consumer %.3f s",
        what,
        sum(len(seen.sends) for seen in crowd),
        time.monotonic() - began,
        sum(len(seen.failures) for seen in crowd),
        max(seen.longest_gap for seen in crowd),
    )


@pytest.mark.parametrize("form", ["pair", "bridged"])
def test_not_one_send_fails(request: pytest.FixtureRequest, form: str, load: Load) -> None:
    """Rotation after rotation under load: every send is accepted, every outgoing token is refused afterwards."""
    shop: Shop = request.getfixturevalue(form)
    began, seq = time.monotonic(), len(shop.site.simulator.events)
    tokens = [shop.token]
    with shop.crowd(load.interval) as crowd:
        for _ in range(load.rotations):
            rotation = shop.rotated()
            tokens.append(shop.token)
            assert rotation["old_token_dead"] is True
            assert rotation["outage_seconds"] == {"min": 0.0, "max": 0.0}
            assert rotation["drain"]["result"] == "quiet"
        during = shop.mail
        eventually(lambda: shop.mail >= load.sends, patience=120)
    report(form, crowd.seen, began)
    log.info("%s: %d of them until the last of %d rotations had ended", form, during, load.rotations)
    assert [(seen.store, failure) for seen in crowd.seen for failure in seen.failures] == []
    assert sum(len(seen.sends) for seen in crowd.seen) == shop.mail >= load.sends
    assert set(shop.sends_since(seq)) == {202}
    # Every consumer went through every token, so none was spared by chance.
    assert all(
        {digest(token) for token in tokens} <= {send.token for send in seen.sends} for seen in crowd.seen
    )
    assert len(set(tokens)) == load.rotations + 1
    assert [refused(shop, token) for token in tokens] == [True] * load.rotations + [False]
    assert shop.site.audit_holds()


def test_the_same_load_feels_a_rotation_in_place(shop: Shop, load: Load) -> None:
    """The control: sends fail, for the outage the rotation states and then for as long as a consumer's cache.

    Beside the four that keep a token for two seconds there are two that read it for each message; of these
    nothing has to be taken off. Nobody sees the death of the token or the store's change itself, only a moment
    before and one after: so the stated bounds must meet the span that was seen, and may not lie beside it.
    """
    began = time.monotonic()
    told: list[tuple[Secret, Secret, dict[str, float]]] = []
    with shop.crowd(load.interval) as crowd, shop.crowd(0.02, each=1, cache=0.0) as close:
        for _ in range(load.rotations // 2):
            time.sleep(CACHE)  # every consumer has come to use the present token
            old = shop.token
            rotation = shop.rotated()
            told.append((old, shop.token, rotation["outage_seconds"]))
            time.sleep(CACHE + 1)
    report("in-place", crowd.seen, began)
    everybody = [*crowd.seen, *close.seen]
    assert any(seen.failures for seen in crowd.seen)
    assert {failure.failure for seen in everybody for failure in seen.failures} == {"AuthenticationError"}
    for old_token, new_token, outage in told:
        old, new = digest(old_token), digest(new_token)
        died, served = death_of(old, everybody), served_since(new, old, everybody)
        log.info(
            "in-place: stated %.3f to %.3f s; seen from outside: %.3f to %.3f s",
            outage["min"],
            outage["max"],
            served.earliest - died.latest,
            served.latest - died.earliest,
        )
        assert outage["min"] <= served.latest - died.earliest
        assert outage["max"] >= served.earliest - died.latest
        for seen in everybody:
            failing = [send for send in seen.failures if send.token == old]
            if failing:
                certain = failing[-1].began - failing[0].answered
                assert certain <= outage["max"] + seen.cache + LATE


def test_way_back_costs_no_send_either(pair: Shop, load: Load) -> None:
    """Taken back in mid-drain, again and again: those that have kept the new token go on with it until they read anew,
    and only then it dies. The control: killed at a word at once, it takes sends with it."""
    pair.policy(drain={"min": "4s", "quiet": "2s", "max": "5m"})
    old, given_up, began = pair.token, [], time.monotonic()
    with pair.crowd(load.interval) as crowd:
        for _ in range(load.rotations // 2):
            assert pair.begin()["state"] == "draining"
            given_up.append(pair.token)
            time.sleep(CACHE + 1)  # every consumer has come to use the new token
            back = pair.site.run("rollback", "shop", "--reason", "it was the wrong day", "-o", "json")
            assert (back.code, back.rotations[0]["state"]) == (1, "draining"), back.errors
            assert pair.token == old
            ended, code = looked_until(pair, lambda rotation, _: rotation["state"] != "draining")
            assert (code, ended["state"], ended["drain"]["result"]) == (1, "failed", "quiet")
    report("back", crowd.seen, began)
    assert [(seen.store, failure) for seen in crowd.seen for failure in seen.failures] == []
    assert all(
        {digest(token) for token in (old, *given_up)} <= {send.token for send in seen.sends}
        for seen in crowd.seen
    )
    assert [refused(pair, token) for token in (*given_up, old)] == [True] * len(given_up) + [False]
    pair.begin()
    seq = len(pair.site.simulator.events)
    with stay_on_the_token(pair) as hurried:
        assert pair.site.run("rollback", "shop", "-o", "json").code == 1
        assert pair.site.run("retire", "shop", "--force", "-o", "json").code == 1
        eventually(lambda: 401 in pair.sends_since(seq))
    assert {failure.failure for failure in hurried.seen[0].failures} == {"AuthenticationError"}
    assert not refused(pair, old)
    assert pair.site.audit_holds()


def looked_until(shop: Shop, done: Callable[[dict[str, Any], int], bool]) -> tuple[dict[str, Any], int]:
    """Runs again and again, as a cron job would."""
    for _ in range(60):
        ended = shop.site.run("run", "-o", "json")
        (rotation,) = ended.rotations
        if done(rotation, ended.code):
            return rotation, ended.code
        assert (rotation["state"], ended.code) == ("draining", 0), rotation
        time.sleep(LOOK)
    raise AssertionError("it drains for ever")


def stay_on_the_token(shop: Shop) -> Crowd:
    """One consumer that read its token once, when it started."""
    return Crowd(shop.site, [shop.stores[0].spec], cache=3600.0, interval=0.05)


def test_drain_holds_for_a_consumer_that_stays_on_the_old_token(pair: Shop) -> None:
    """It waits past `min`, names the address, and at `max` asks for a person; no send fails; once that consumer
    is gone it ends by itself."""
    pair.policy(drain={"min": "1s", "quiet": "2s", "max": "6s", "on_max": "hold"})
    old = pair.token
    with stay_on_the_token(pair) as crowd:
        begun = pair.begin()
        assert begun["state"] == "draining"
        held, code = looked_until(pair, lambda _, code: code != 0)
        assert (code, held["state"]) == (4, "needs-attention")
        assert held["drain"]["last_used_ip"] == "127.0.0.1"
        assert held["drain"]["result"] == "max"
        assert held["drain"]["since"] == begun["drain"]["since"]
        assert held["drain"]["max_until"] > held["drain"]["min_until"] > held["drain"]["since"]
        (attention,) = pair.site.status("shop")["attention"]
        assert attention["code"] == "drain-stuck"
        assert "127.0.0.1" in attention["message"]
        assert "rotator retire shop --force" in attention["next"]
        # While it stays there, another look changes nothing.
        again = pair.site.run("run", "-o", "json")
        assert (again.code, pair.site.simulator.is_alive(old)) == (4, True)
    (consumer,) = crowd.seen
    assert consumer.failures == []
    assert {send.token for send in consumer.sends} == {digest(old)}
    eventually(
        lambda: json.loads(pair.site.run("run", "-o", "json").output)["rotations"][0]["state"] == "completed"
    )
    assert pair.site.status("shop")["attention"] == []
    assert refused(pair, old)
    assert not refused(pair, pair.token)


def test_drain_retires_at_max_where_the_policy_says_so(pair: Shop) -> None:
    """With `on_max: retire` the token dies although it is in use; the record says so, and who used it."""
    pair.policy(drain={"min": "1s", "quiet": "2s", "max": "4s", "on_max": "retire"})
    old, seq = pair.token, len(pair.site.simulator.events)
    with stay_on_the_token(pair) as crowd:
        assert pair.begin()["state"] == "draining"
        rotation, code = looked_until(pair, lambda rotation, _: rotation["state"] != "draining")
        assert (code, rotation["state"]) == (0, "completed")
        eventually(lambda: 401 in pair.sends_since(seq))
    assert rotation["drain"]["result"] == "max"
    assert rotation["drain"]["last_used_ip"] == "127.0.0.1"
    (drained,) = [step["detail"] for step in rotation["steps"] if step["name"] == "drain"]
    assert "still used from 127.0.0.1" in drained
    assert rotation["old_token_dead"] is True
    assert refused(pair, old)
    assert not refused(pair, pair.token)
    assert {failure.failure for failure in crowd.seen[0].failures} == {"AuthenticationError"}
