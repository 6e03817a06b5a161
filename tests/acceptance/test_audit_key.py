"""The audit key and the audit log: without them nothing is rotated."""

from __future__ import annotations

import pytest

from tests.acceptance.refusals import Expected, refused
from tests.acceptance.site import Entry, Site


@pytest.fixture
def billing(site: Site) -> Entry:
    """A policy that was rotated once, so that journal, key and log have begun."""
    entry = site.add()
    assert site.rotate("billing").code == 0
    entry.seq = len(site.simulator.events)
    return entry


def test_a_wrong_audit_key(site: Site, billing: Entry) -> None:
    """Another key than the journal began with: exit 2, for commands that act and those that look."""
    site.environment["ROTATOR_AUDIT_KEY"] = "7a" * 32
    expected = Expected(2, ("ROTATOR_AUDIT_KEY is not the key",), "Nothing was done", "former key")
    refused(site, billing, expected)
    refused(site, billing, expected, "run")
    refused(site, billing, expected, "audit", "verify")


def test_a_deleted_audit_key(site: Site, billing: Entry) -> None:
    """A journal without its key: exit 2, and no new key is made in its place."""
    key = site.folder / "state" / "audit.key"
    text = key.read_text(encoding="utf-8")
    key.unlink()
    refused(site, billing, Expected(2, ("audit key", "is gone"), "Nothing was done", "backup"))
    assert not key.exists()
    key.write_text(text, encoding="utf-8")
    key.chmod(0o600)
    assert site.rotate("billing").code == 0


def test_a_deleted_audit_log(site: Site, billing: Entry) -> None:
    """The journal remembers a log that is gone: exit 4, and no new chain begins without a word."""
    log = site.folder / "state" / "audit.jsonl"
    kept = log.read_bytes()
    log.unlink()
    refused(
        site, billing, Expected(4, ("audit log", "missing"), "Nothing is recorded", "rotator audit verify")
    )
    assert not site.audit_holds()
    assert not log.exists()
    assert [one["code"] for one in site.status()["attention"]] == ["audit"]
    log.write_bytes(kept)
    assert site.rotate("billing").code == 0
    assert site.audit_holds()
    assert site.status()["state"] == "ok"


def test_a_cut_audit_log(site: Site, billing: Entry) -> None:
    """A log whose last line was taken out is no longer the one the journal remembers: exit 4."""
    log = site.folder / "state" / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    refused(
        site, billing, Expected(4, ("audit log", "cut off"), "Nothing is appended", "rotator audit verify")
    )
    assert log.read_bytes() == b"".join(lines[:-1])
