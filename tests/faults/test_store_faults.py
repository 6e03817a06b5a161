"""Stores that go wrong: cut off, stale, throttled, sealed, on standby, no longer taking our credential.

File stores at every form; Secrets Manager and Vault by their strict fakes, over real HTTP, in-place and with an
overlap.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from rotator.destinations.base import Destination
from rotator.errors import Unreachable
from rotator.model import State
from rotator.secret import Secret
from rotator.settings import resolve
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault
from tests.engine.bench import Bench
from tests.engine.forms import begun, bench_of, ended
from tests.engine.test_resumption import run
from tests.faults.world import PHASES, check_afterwards, check_while_it_lasts, history_at, strike
from tests.properties.history import History

CASES = {
    "network cut between us and a store",
    "stale reads after a write",
    "throttling by AWS",
    "Vault sealed",
    "Vault on standby",
    "Vault token expired in mid-rotation",
}
METHODS = ("preflight", "read", "read_staged", "stage", "promote", "publish", "discard", "recall")


def cut_off(history: History, calls: int, *, executed: bool) -> None:
    """In the present process nothing gets through to any store from some call on, or no answer comes back."""
    left = [calls]

    def broken(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                return real(*args, **kwargs)
            if executed:
                real(*args, **kwargs)
            raise Unreachable("The store cannot be reached", then="Nothing is known of this call")

        return call

    for destination in history.destinations():
        for method in METHODS:
            setattr(destination, method, broken(getattr(destination, method)))


@pytest.mark.one_in(4, 4)
@pytest.mark.parametrize("executed", [False, True], ids=["nothing", "no-answer"])
@pytest.mark.parametrize("calls", [0, 1, 2, 4, 8])
@pytest.mark.parametrize(("form", "phase"), PHASES)
def test_cut_off_from_the_stores_after_some_calls(
    form: str, phase: int, calls: int, *, executed: bool
) -> None:
    """Wherever it strikes nobody is cut off unsaid, and another process ends it well."""
    with history_at(form, phase) as history:
        cut_off(history, calls, executed=executed)
        strike(history, phase)
        check_while_it_lasts(history)
        check_afterwards(history)


# --- Secrets Manager and Vault --------------------------------------------------------------------

SECRET = "prod/billing/lettermint"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictSecretsManager]:
    with StrictSecretsManager() as server:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/aws-config")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/aws-credentials")
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.url)
        yield server


@pytest.fixture
def vault() -> Iterator[StrictVault]:
    with StrictVault() as server:
        yield server


class Stored:
    """A bench whose authoritative place is a secret of a real protocol."""

    def __init__(self, bench: Bench, read: Callable[[], str]) -> None:
        self.bench = bench
        self._read = read

    @property
    def token(self) -> Secret:
        return Secret(json.loads(self._read())["token"])

    @property
    def served(self) -> bool:
        return self.bench.simulator.is_alive(self.token)

    def destination(self) -> Destination:
        return self.bench.wiring.destination(self.bench.policy.authoritative)

    def check_while_it_lasts(self) -> None:
        journal = self.bench.wiring.journal
        assert self.served or self.bench.attention or journal.unfinished()
        for entry in journal.attentions():
            assert entry.message
            assert entry.next

    def check_afterwards(self) -> None:
        self.bench.new_process()
        for rotation in self.bench.wiring.journal.unfinished():
            assert ended(self.bench, rotation).state is State.COMPLETED
        if not self.bench.wiring.journal.rotations("billing")[0].minted:
            assert ended(self.bench, begun(self.bench)).state is State.COMPLETED
        self.bench.clock.advance(60)
        assert run(self.bench).exit_code == 0
        assert self.bench.attention == set()
        assert self.served
        assert not self.bench.simulator.is_alive(self.bench.first)
        self.bench.assert_audit_holds()


def in_store(
    make_bench: Callable[..., Bench], form: str, spec: dict[str, Any], environ: dict[str, str]
) -> Bench:
    bench = bench_of(form, make_bench, publish_budget=60.0, follower_budget=30.0)
    bench.document["destinations"] = [spec]
    bench.policy = bench.load_policy()
    known = resolve({}, environ, None, stderr_is_tty=False)
    bench.settings = replace(bench.settings, vault=known.vault)
    bench.new_process()
    return bench


@pytest.fixture(params=["in-place", "standby"])
def in_aws(
    request: pytest.FixtureRequest, make_bench: Callable[..., Bench], aws: StrictSecretsManager
) -> Stored:
    spec = {"type": "aws-secrets-manager", "secret_id": SECRET, "region": "eu-central-1", "key": "token"}
    bench = in_store(make_bench, request.param, spec, {})
    aws.seed(SECRET, json.dumps({"token": bench.first.reveal(), "other": "kept"}))
    return Stored(bench, lambda: aws.text(SECRET))


@pytest.mark.one_in(3, 3)
@pytest.mark.parametrize("kind", ["throttle", "error-before", "error-after", "drop-before", "lost-answer"])
@pytest.mark.parametrize("times", [2, 12])
@pytest.mark.parametrize("action", ["*", "UpdateSecretVersionStage"])
def test_secrets_manager_that_goes_wrong(
    in_aws: Stored, aws: StrictSecretsManager, kind: str, times: int, action: str
) -> None:
    """Throttled or failing for some calls: waited for within the budget, or told; one token lives in the end."""
    aws.inject(kind, action, times)
    begun(in_aws.bench)
    in_aws.check_while_it_lasts()
    aws._faults.clear()
    in_aws.check_afterwards()


@pytest.mark.parametrize("reads", [1, 2, 4])
def test_secrets_manager_that_reads_stale(in_aws: Stored, aws: StrictSecretsManager, reads: int) -> None:
    """After each write some reads still see the former state: never taken for somebody else's write."""
    aws.stale_reads = reads
    rotation = begun(in_aws.bench)
    in_aws.check_while_it_lasts()
    assert rotation.state in (State.COMPLETED, State.DRAINING), rotation.message
    in_aws.check_afterwards()
    assert in_aws.bench.attention == set()


@pytest.fixture(params=["in-place", "standby"])
def in_vault(request: pytest.FixtureRequest, make_bench: Callable[..., Bench], vault: StrictVault) -> Stored:
    token = vault.token({"secret/*": {"create", "read", "update", "delete", "list"}}, ttl=3600)
    spec = {"type": "vault-kv", "mount": "secret", "path": SECRET, "key": "token"}
    bench = in_store(make_bench, request.param, spec, {"VAULT_ADDR": vault.url, "VAULT_TOKEN": token})
    write_vault(vault, {"token": bench.first.reveal(), "other": "kept"})
    return Stored(bench, lambda: json.dumps(read_vault(vault)))


def ask_vault(vault: StrictVault, method: str, body: object = None) -> Any:
    """As somebody with all rights."""
    import httpx  # noqa: PLC0415

    answer = httpx.request(
        method, f"{vault.url}/v1/secret/data/{SECRET}", json=body, headers={"X-Vault-Token": vault.root}
    )
    return answer.raise_for_status().json()


def write_vault(vault: StrictVault, data: dict[str, str]) -> None:
    ask_vault(vault, "POST", {"data": data})


def read_vault(vault: StrictVault) -> Any:
    return ask_vault(vault, "GET")["data"]["data"]


BREAKS: dict[str, tuple[Callable[[StrictVault], object], Callable[[StrictVault], object]]] = {
    "Vault sealed": (lambda vault: vault.seal(), lambda vault: vault.unseal()),
    "Vault on standby": (lambda vault: vault.standby(None), lambda vault: vault.active()),
}


@pytest.mark.one_in(3, 1)
@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("request_number", [0, 2, 4, 6, 8])
def test_vault_that_cannot_serve(
    in_vault: Stored, vault: StrictVault, name: str, request_number: int
) -> None:
    """From some request on, before or after the mint: nothing begun, or the token minted again once it serves."""
    broken, mended = BREAKS[name]
    vault.faults.add("call", "secret/*", skip=request_number, action=lambda: broken(vault))
    begun(in_vault.bench)
    mended(vault)
    vault.faults.clear()
    in_vault.check_while_it_lasts()
    in_vault.check_afterwards()


@pytest.mark.parametrize("request_number", [0, 2, 4, 6, 8])
def test_vault_token_that_expires_in_mid_rotation(
    in_vault: Stored, vault: StrictVault, request_number: int
) -> None:
    """Refused from some request on (403): told, with what to renew; with a new token another process ends it."""
    vault.faults.add("call", "secret/*", skip=request_number, action=lambda: vault.advance(7200))
    begun(in_vault.bench)
    in_vault.check_while_it_lasts()
    vault.faults.clear()
    token = vault.token({"secret/*": {"create", "read", "update", "delete", "list"}}, ttl=999_999)
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": token}
    known = resolve({}, environ, None, stderr_is_tty=False)
    in_vault.bench.settings = replace(in_vault.bench.settings, vault=known.vault)
    in_vault.check_afterwards()
