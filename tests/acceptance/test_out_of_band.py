"""Somebody else changes a token: real commands find it, say what to type, and typing that ends it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest

from rotator.secret import Secret
from tests.acceptance.site import Entry, Site, eventually
from tests.crash.harness import Ended

INVENTED = Secret("lm_" + "Q" * 32)


def regenerate(site: Site, entry: Entry) -> None:
    """In the dashboard, not within the second of our mint: the provider's times tell no more."""
    minted = int(time.time())
    eventually(lambda: int(time.time()) > minted)
    site.simulator.regenerate(entry.project)


def put_living(site: Site, entry: Entry) -> None:
    entry.seed(site.simulator.add_token(entry.project))


CHANGES: dict[str, tuple[Callable[[Site, Entry], None], str, str]] = {
    "regenerated": (regenerate, "token-dead", "rotate billing"),
    "another living token": (put_living, "out-of-band", "reconcile billing"),
    "a dead token": (lambda _, entry: entry.seed(INVENTED), "token-dead", "rotate billing"),
    "emptied": (lambda _, entry: entry.seed(""), "out-of-band", "rotate billing"),
}


def by_run(site: Site) -> None:
    ended = site.run("run")
    assert ended.code == 4
    assert "billing: " in ended.errors


def by_status(site: Site) -> None:
    assert site.run("status", "--refresh").code == 4


def by_serve(site: Site) -> None:
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    child = site.start("serve")
    eventually(lambda: site.status()["attention"])
    child.signal(15)
    ended = child.wait()
    assert ended.code == 143
    assert "billing" in ended.errors


def typed(site: Site, command: str) -> Ended:
    """As a person types it, with the answer to its question."""
    return site.run(*command.split(), "--yes", "-o", "json")


FOUND = [
    (find, name)
    for find in (by_run, by_status, by_serve)
    for name in CHANGES
    # A daemon takes the word of whoever read the project a moment ago, and would ask in a minute.
    if not (find is by_serve and name == "regenerated")
]


@pytest.mark.parametrize(("find", "name"), FOUND)
def test_it_is_found_shown_and_ended_by_what_is_offered(
    site: Site, name: str, find: Callable[[Site], None]
) -> None:
    """Exit 4 and a code while it lasts, the command to type in the words; typed, exit 0 and nothing left."""
    change, code, command = CHANGES[name]
    entry = site.add()
    assert site.rotate("billing").code == 0
    assert site.run("run").code == 0
    change(site, entry)
    mints = entry.rotate_calls
    find(site)
    assert entry.rotate_calls == mints
    (attention,) = site.status()["attention"]
    assert attention["code"] == code
    assert site.run("status").code == 4
    assert command in re.findall(r"`rotator ([^`]+)`", attention["next"])
    ended = typed(site, command)
    assert ended.code == 0, ended.errors
    assert site.run("run").code == 0
    assert site.run("status", "--refresh").code == 0
    assert entry.serves_a_living_token
    assert site.audit_holds()


def test_reconcile_says_what_is_true_before_it_asks(site: Site) -> None:
    """Without an answer nothing is written down; exit 4, facts, and the action with its reason."""
    entry = site.add()
    assert site.rotate("billing").code == 0
    put_living(site, entry)
    ended = site.run("reconcile", "billing", "-o", "json")
    assert ended.code == 4
    said = json.loads(ended.output)
    assert said["next"]["action"] == "adopt"
    assert "no rotation of ours wrote" in said["next"]["why"]
    assert any("alive and unknown to the journal" in fact for fact in said["facts"])
    assert said["unknown"] == ["to which project that token belongs"]
    assert site.run("status").code == 4
