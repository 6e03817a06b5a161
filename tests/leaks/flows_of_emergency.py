"""Ways an emergency can go, most of them with the leaked token itself on standard input."""

from __future__ import annotations

import json

from rotator.secret import Secret
from tests.crash.harness import Ended
from tests.leaks.flows import Flow, accident, look_around, sender
from tests.leaks.flows_of_overlap import pair
from tests.leaks.watched import PASSWORD, WatchedSite

FLOWS: dict[str, Flow] = {}


def flow(function: Flow) -> Flow:
    FLOWS[function.__name__.replace("_", " ")] = function
    return function


def form(site: WatchedSite) -> str:
    """For programs where the log is, else for people."""
    return "json" if site.environment["ROTATOR_LOG_FORMAT"] == "json" else "table"


def by_name(site: WatchedSite, *more: str) -> Ended:
    reason = ("--emergency", "--reason", "in a public repository", "--drain", "1s", "--yes")
    return site.run("rotate", *more, *reason, "-o", form(site))


def by_token(
    site: WatchedSite, token: Secret | str, *more: str, end: str = "\n", how: str = "standard_input"
) -> Ended:
    text = token.reveal() if isinstance(token, Secret) else token
    return site.run(
        *("rotate", "--leaked-stdin", "--emergency", "--reason", "in a public repository", "--yes"),
        *(*more, "-o", form(site)),
        prepare=accident(how, text + end),
    )


@flow
def an_emergency_by_name(site: WatchedSite) -> None:
    billing, checkout = sender(site), site.add("checkout")
    assert by_name(site, "--all", "--dry-run").code == 2  # --drain goes with replace-first
    ended = site.run("rotate", "--all", "--emergency", "--reason", "leaked", "--yes", "-o", form(site))
    assert ended.code == 0, ended.errors
    for entry in (billing, checkout):
        assert not site.simulator.is_alive(entry.first)
        assert entry.serves_a_living_token
    look_around(site, 7)


@flow
def a_leaked_token_that_is_found(site: WatchedSite) -> None:
    billing = site.add()
    assert by_token(site, billing.first, "--dry-run").code == 0
    assert site.simulator.is_alive(billing.first)
    assert by_token(site, billing.first, end="\r\n").code == 0
    assert not site.simulator.is_alive(billing.first)
    assert billing.serves_a_living_token
    look_around(site, 4)
    assert by_token(site, billing.first).code == 0  # dead already, and known since when


@flow
def a_leaked_token_that_was_dead_and_is_stored(site: WatchedSite) -> None:
    billing = site.add()
    site.simulator.regenerate(billing.project)
    assert by_token(site, billing.first).code == 0
    assert billing.serves_a_living_token
    look_around(site, 3)


@flow
def a_leaked_token_of_a_pair(site: WatchedSite) -> None:
    billing = pair(site)
    assert by_token(site, billing.first, "--drain", "1s").code == 0
    assert not site.simulator.is_alive(billing.first)
    assert billing.serves_a_living_token
    look_around(site, 4)


@flow
def a_leaked_token_that_nobody_knows(site: WatchedSite) -> None:
    site.add()
    stranger, _ = site.simulator.add_project("elsewhere", team=site.team_token)
    invented = "lm_LeakMarker" + "Zz9" * 8
    site.more_secrets.append(invented)
    for token in (site.simulator.add_token(stranger), invented):
        assert by_token(site, token).code == 1
    assert site.run("history", "-o", "json").rotations == []


@flow
def something_else_than_a_leaked_token(site: WatchedSite) -> None:
    site.add()
    quoted = f'LETTERMINT_PROJECT_TOKEN="{PASSWORD}"'
    assert by_token(site, site.team_token).code == 1
    for text in (PASSWORD, quoted, f"{PASSWORD}\n{PASSWORD}"):
        assert by_token(site, text).code == 2, text
    assert site.run("history", "-o", "json").rotations == []


@flow
def a_leaked_token_that_two_policies_hold(site: WatchedSite) -> None:
    billing, checkout = site.add("billing"), site.add("checkout")
    checkout.seed(billing.first)
    assert by_token(site, billing.first).code == 1
    assert site.simulator.is_alive(billing.first)
    assert by_token(site, billing.first, "billing").code == 0


@flow
def an_order_that_is_not_possible(site: WatchedSite) -> None:
    billing = site.add()
    assert by_token(site, billing.first, "--order", "replace-first").code == 2
    assert site.simulator.is_alive(billing.first)


@flow
def a_leaked_token_that_rotate_token_does_not_reach(site: WatchedSite) -> None:
    billing = site.add()
    made = site.simulator.add_token(billing.project)
    billing.seed(made)
    assert by_token(site, made, how="impatient").code == 4
    assert site.simulator.is_alive(made)
    look_around(site, 2)
    site.simulator.revoke(made)
    assert site.run("run").code == 0


@flow
def a_leaked_token_that_is_only_killed(site: WatchedSite) -> None:
    billing = site.add()
    assert by_token(site, billing.first, "--kill-only").code == 4
    assert not site.simulator.is_alive(billing.first)
    look_around(site, 2)
    assert site.run("run").code == 0
    assert billing.serves_a_living_token


@flow
def an_emergency_without_a_journal(site: WatchedSite) -> None:
    billing = site.add()
    site.environment["ROTATOR_JOURNAL"] = f"sqlite:///{site.folder}/policies/billing.yaml"
    assert by_token(site, billing.first).code == 2
    assert by_token(site, billing.first, "--no-journal").code in (0, 4)
    assert not site.simulator.is_alive(billing.first)
    assert billing.serves_a_living_token


@flow
def an_emergency_without_an_audit_log(site: WatchedSite) -> None:
    billing = site.add()
    site.environment["ROTATOR_AUDIT_LOG"] = str(site.folder / "policies")
    ended = by_token(site, billing.first)
    assert ended.code == 4, ended.errors
    spoken = [line for line in ended.errors.splitlines() if line.startswith("audit-event: ")]
    assert "mint.token.intent" in {json.loads(line.partition(" ")[2])["event"] for line in spoken}


@flow
def an_emergency_that_explodes(site: WatchedSite) -> None:
    billing = site.add()
    ended = site.run(
        *("rotate", "billing", "--emergency", "--reason", "leaked", "--yes"),
        prepare=accident("engine_explodes"),
    )
    assert ended.code == 4, ended.errors
    look_around(site, 2)
    assert billing.serves_a_living_token


@flow
def a_provider_that_quotes_the_leaked_token(site: WatchedSite) -> None:
    """It is presented in a header, which the provider repeats in everything it says."""
    billing = site.add()
    ended = site.run(
        *("rotate", "billing", "--emergency", "--reason", "leaked", "--yes", "-o", form(site)),
        prepare=accident("provider_quotes", 403),
    )
    assert ended.code != 0
    assert site.simulator.is_alive(billing.first)
