"""An emergency beside a real process that has a minted token in memory."""

from __future__ import annotations

import json

from rotator.clock import Instant, SystemClock
from rotator.interrupt import Stop
from rotator.model import Emergency, Order, State, Trigger
from rotator.policies.load import load_policies
from rotator.settings import resolve
from rotator.wiring import Wiring
from tests.acceptance.moments import MINTED, VERIFIED, Moment
from tests.acceptance.site import PING_AND_SEND, Site


def emergency(site: Site) -> State:
    """Kill-first, by another process's means: nothing is shared but what is on disk."""
    settings = resolve({}, site.environment, None, stderr_is_tty=False)
    clock = SystemClock()
    wiring = Wiring(
        settings,
        clock,
        stop=Stop(),
        observer=lambda _: None,
        announce=lambda _: None,
        unwritten=lambda _event, _at: None,
        command="emergency",
    )
    policy = load_policies([site.folder / "policies"]).policies[0]
    leaked = Emergency(reported=Instant.read(clock), order=Order.KILL_FIRST, drain=1.0)
    try:
        last = wiring.runner.rotate(policy, Trigger.EMERGENCY, "leaked", emergency=leaked)[-1]
    finally:
        wiring.close()
    assert last.exposure is not None, last.message
    return last.state


def takes_over(site: Site, moment: Moment) -> None:
    billing = site.add(verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[billing.project])
    paused = site.start_until(moment, "rotate", "billing", "--yes")
    assert emergency(site) is State.COMPLETED
    served = billing.stored
    lost = paused.go_on().wait()
    assert lost.code == 5, lost.errors
    (told,) = json.loads(lost.output)["rotations"]
    assert "emergency" in told["message"]
    assert billing.stored == served
    assert billing.serves_a_living_token
    assert not site.simulator.is_alive(billing.first)
    assert site.run("run").code == 0
    assert billing.serves_a_living_token
    assert site.audit_holds()


def test_process_that_holds_a_minted_token_loses_it(site: Site) -> None:
    """The heartbeat goes on while the process stands still: after the deadline the lease is taken, the token that
    nobody published is replaced, and the loser writes nothing over it."""
    takes_over(site, MINTED)


def test_process_that_verifies_loses_its_lease(site: Site) -> None:
    """Its token is published: that one leaked, so another is minted, and the loser's next write is refused."""
    takes_over(site, VERIFIED)
