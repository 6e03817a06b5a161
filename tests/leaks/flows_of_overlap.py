"""Ways a command can go while old and new token live side by side."""

from __future__ import annotations

from tests.acceptance.site import PING_AND_SEND, Entry, eventually
from tests.leaks.flows import SHOWING, Flow, accident, look_around
from tests.leaks.watched import WatchedSite

FLOWS: dict[str, Flow] = {}
SOON = {"min": "1s", "quiet": "1s", "max": "1h"}


def flow(function: Flow) -> Flow:
    FLOWS[function.__name__.replace("_", " ")] = function
    return function


def pair(site: WatchedSite) -> Entry:
    """A policy with two projects of one domain."""
    standby, _ = site.simulator.add_project("standby", team=site.team_token)
    entry = site.add(
        verify=PING_AND_SEND, strategy="create-before-revoke", standby={"project": standby}, drain=SOON
    )
    site.simulator.add_domain(team=site.team_token, projects=[entry.project, standby])
    return entry


@flow
def a_rotation_without_downtime(site: WatchedSite) -> None:
    billing = pair(site)
    assert site.run("rotate", "billing", "--yes", "--canary", "5/s").code == 0
    assert billing.serves_a_living_token
    assert not site.simulator.is_alive(billing.first)
    look_around(site, len(SHOWING))
    assert site.run("doctor", "-o", "json").code == 0


@flow
def a_rotation_that_is_taken_back(site: WatchedSite) -> None:
    billing = pair(site)
    assert site.run("rotate", "billing", "--yes", "--no-wait").code == 0
    assert site.run("rollback", "billing", "--reason", "it misbehaves").code == 1
    assert billing.stored == billing.first
    assert site.run("retire", "billing", "--force").code == 1


@flow
def a_token_that_is_handed_in(site: WatchedSite) -> None:
    billing = site.add(strategy="assisted", drain=SOON)
    made = site.simulator.add_token(billing.project)
    for text, code in ((billing.first.reveal(), 1), (made.reveal(), 0)):
        given = accident("standard_input", text + "\n")
        assert site.run("stage", "billing", "--no-wait", prepare=given).code == code
    assert billing.stored == made
    eventually(lambda: site.run("run").code == 4)  # drained, and a person is asked
    look_around(site, 6)
    site.simulator.revoke(billing.first)
    assert site.run("run").code == 0
