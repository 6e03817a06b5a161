"""The relay that an SMTP verification uses cannot be reached, before the mint and after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rotator.model import State
from tests.engine.bench import Bench
from tests.engine.forms import begun, bench_of, ended
from tests.engine.test_resumption import run
from tests.engine.test_smtp_preflight import SMTP
from tests.simulator.support import Api

CASES = {"network cut between us and the relay"}


@pytest.fixture(params=["in-place", "bridge"])
def by_smtp(
    request: pytest.FixtureRequest,
    make_bench: Callable[..., Bench],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    bench = bench_of(request.param, make_bench, verify=SMTP)
    bench.simulator.open_relay(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(bench.simulator.ca_file))
    team = Api(bench.simulator, bench.simulator.add_team_token())
    assert team("PUT", f"/projects/{bench.project}", {"smtp_enabled": True}).status == 200
    bench.settings = replace(bench.settings, smtp_url=bench.simulator.smtps_url)
    bench.new_process()
    return bench


@pytest.mark.parametrize("kind", ["dropped", "lost-answer"])
@pytest.mark.parametrize("log_ins", [0, 1])
def test_cut_off_from_the_relay(by_smtp: Bench, kind: str, log_ins: int) -> None:
    """Before the first log-in nothing is begun; after the mint it is told, and verified once the relay is back."""
    by_smtp.simulator.faults.add("smtp-auth", kind, times=None, skip=log_ins)
    rotation = begun(by_smtp)
    assert by_smtp.simulator.is_alive(by_smtp.stored())
    if not log_ins:
        assert by_smtp.rotate_calls == 0
        assert by_smtp.stored() == by_smtp.first
    else:
        assert rotation.state is not State.COMPLETED
    assert len(rotation.message.split(". ")) > 1 or by_smtp.attention
    by_smtp.simulator.faults.clear()
    by_smtp.new_process()
    again = rotation if rotation.unfinished else begun(by_smtp)
    assert ended(by_smtp, again).state is State.COMPLETED
    by_smtp.clock.advance(60)
    assert run(by_smtp).exit_code == 0
    assert by_smtp.attention == set()
    by_smtp.assert_served()
