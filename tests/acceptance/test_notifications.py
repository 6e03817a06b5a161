"""Notifiers of a policy, told by the commands that people and daemons run."""

from __future__ import annotations

import json
import signal

import pytest

from tests.acceptance.site import Entry, Site, eventually
from tests.notifiers.conftest import Peer, peer

__all__ = ["peer"]


@pytest.fixture
def entry(site: Site, peer: Peer) -> Entry:
    """A policy that tells a Slack channel, PagerDuty and a webhook, all of them the same peer."""
    secrets = site.folder / "secrets"
    secrets.mkdir()
    for name, text in (("slack", peer.url), ("pagerduty", "r" * 32), ("siem", "s" * 32)):
        (secrets / name).write_text(text)
    site.environment["ROTATOR_PAGERDUTY_URL"] = peer.url
    every = ["completed", "failed", "needs-attention", "emergency"]
    return site.add(
        notify=[
            {"type": "slack", "url_file": str(secrets / "slack"), "on": ["completed", "needs-attention"]},
            {"type": "pagerduty", "routing_key_file": str(secrets / "pagerduty")},
            {"type": "webhook", "url": peer.url, "signing_key_file": str(secrets / "siem"), "on": every},
        ]
    )


def told(peer: Peer) -> list[str]:
    """What the peer got, in a word or two each."""
    found = []
    for got in peer.got:
        body = json.loads(got.body)
        if "text" in body:
            found.append("slack " + body["text"].splitlines()[0])
        elif "event_action" in body:
            found.append(f"pagerduty {body['event_action']} {body['dedup_key'].rpartition('/')[2]}")
        else:
            found.append(f"webhook {body['type']}")
    return found


def test_a_rotation_is_told_when_it_has_ended(site: Site, entry: Entry, peer: Peer) -> None:
    """Once, by the command that did it; the next command has nothing to tell."""
    assert site.rotate().code == 0
    assert told(peer) == ["slack *billing was rotated*", "webhook rotator.rotation.completed.v1"]
    event = json.loads(peer.got[1].body)
    assert event["data"]["rotation"]["new_fingerprint"].startswith("fp_")
    assert site.run("run").code == 0
    assert len(peer.got) == 2


def test_a_dead_token_opens_an_incident_and_its_repair_resolves_it(
    site: Site, entry: Entry, peer: Peer
) -> None:
    """What `run` finds is told by `run`; what `rotate` mends by `rotate`."""
    site.simulator.regenerate(entry.project)
    assert site.run("run").code == 4
    assert "pagerduty trigger out-of-band" in told(peer) or "pagerduty trigger token-dead" in told(peer)
    code = next(word for word in told(peer) if word.startswith("pagerduty")).split()[-1]
    assert site.rotate().code == 0
    assert site.run("run").code == 0
    assert told(peer).count(f"pagerduty trigger {code}") == 1
    assert told(peer).count(f"pagerduty resolve {code}") == 1


def test_a_notifier_that_is_away_fails_nothing(site: Site, entry: Entry, peer: Peer) -> None:
    """The rotation succeeds with its exit code; status says what could not be told; a later command tells it."""
    peer.answers = [503, 503]
    assert site.rotate().code == 0
    waiting = {one["type"]: one for one in site.status()["untold"]}
    assert {kind: one["waiting"] for kind, one in waiting.items()} == {"slack": 1, "webhook": 1}
    assert "503" in waiting["slack"]["error"]
    table = site.run("status", "-o", "table")
    assert table.code == 0
    assert "slack was not told" in table.output
    assert peer.url not in table.output


def test_the_daemon_tells_what_it_sees(site: Site, entry: Entry, peer: Peer) -> None:
    """Attention is told while it serves, and its end, too; the tries are counted in its metrics."""
    site.environment |= {"ROTATOR_LISTEN": "127.0.0.1:0", "ROTATOR_CALL_TIMEOUT": "2s"}
    site.simulator.regenerate(entry.project)
    child = site.start("serve")
    eventually(lambda: any("pagerduty trigger" in one for one in told(peer)))
    assert site.rotate().code == 0
    eventually(lambda: any("pagerduty resolve" in one for one in told(peer)))
    child.signal(signal.SIGTERM)
    ended = child.wait()
    assert ended.code == 143, ended.errors
    assert len(set(told(peer))) == len(told(peer)), told(peer)


def test_an_emergency_is_told(site: Site, entry: Entry, peer: Peer) -> None:
    """That it began and that it ended, with the reason."""
    ended = site.run("rotate", "billing", "--emergency", "--reason", "INC-7", "--yes", "-o", "json")
    assert ended.code == 0, ended.errors
    assert site.run("run").code == 0
    words = told(peer)
    assert "webhook rotator.emergency.begun.v1" in words
    assert "webhook rotator.emergency.ended.v1" in words
    begun = next(json.loads(one.body) for one in peer.got if b"emergency.begun" in one.body)
    assert "INC-7" in begun["data"]["message"]
