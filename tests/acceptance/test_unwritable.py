"""A journal or an audit log that takes no write: before the mint nothing is begun, after it nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.disks import Disk, small_disk
from tests.acceptance.moments import MINTED
from tests.acceptance.refusals import Expected, assert_says, refused, unchanged
from tests.acceptance.site import Site

VARIABLE = {"journal": "ROTATOR_JOURNAL", "audit": "ROTATOR_AUDIT_LOG"}
WHICH = pytest.mark.parametrize("which", list(VARIABLE))


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with small_disk(tmp_path_factory.mktemp("mounted") / "disk") as made:
        yield made


def put(site: Site, which: str, path: Path) -> None:
    """Points the journal or the audit log at a place; an audit key elsewhere keeps that out of the way."""
    key = site.folder / "audit.key"
    key.write_text("5f" * 32, encoding="utf-8")
    key.chmod(0o600)
    site.environment["ROTATOR_AUDIT_KEY_FILE"] = str(key)
    site.environment[VARIABLE[which]] = f"sqlite:///{path}" if which == "journal" else str(path)


@WHICH
@pytest.mark.parametrize("how", ["a folder in its place", "below a file"])
def test_a_place_that_cannot_be(site: Site, which: str, how: str) -> None:
    """The settings are wrong: exit 2, naming the variable that says where."""
    billing = site.add()
    blocked = site.folder / "blocked"
    if how == "below a file":
        blocked.write_text("x", encoding="utf-8")
        place = blocked / "deep" / "file"
    else:
        blocked.mkdir()
        place = blocked
    put(site, which, place)
    refused(site, billing, Expected(2, (str(place),), "Nothing was", VARIABLE[which]))


@WHICH
def test_a_read_only_file_system(site: Site, disk: Disk, which: str) -> None:
    """Nothing is begun, and the next attempt after mending it succeeds."""
    billing = site.add()
    put(site, which, disk.path / "file")
    disk.read_only()
    with unchanged(billing):
        ended = site.rotate("billing")
    assert_says(ended, Expected(6, ("ead-only file system",), "Nothing was"))
    put(site, which, site.folder / "elsewhere")
    assert site.rotate("billing").code == 0


@WHICH
def test_a_full_disk(site: Site, disk: Disk, which: str) -> None:
    """Exit 6 and nothing begun; with space again the same command succeeds."""
    billing = site.add()
    put(site, which, disk.path / "file")
    disk.fill()
    ended = refused(site, billing, Expected(6, (str(disk.path / "file"),), "Nothing was"))
    assert "full" in ended.errors or "No space left" in ended.errors
    disk.empty()
    assert site.rotate("billing").code == 0
    assert billing.serves_a_living_token
    assert site.audit_holds()


@WHICH
def test_a_disk_that_fills_up_later(site: Site, disk: Disk, which: str) -> None:
    """After a first rotation the disk is full: the next one is not begun, the store is left alone."""
    billing = site.add()
    put(site, which, disk.path / "file")
    assert site.rotate("billing").code == 0
    stored = billing.stored
    disk.fill()
    ended = site.rotate("billing")
    assert_says(ended, Expected(6, ("disk",) if which == "journal" else ("audit log",)))
    assert (billing.mints, billing.stored) == (1, stored)
    disk.empty()
    assert site.rotate("billing").code == 0
    assert site.audit_holds()


def test_files_that_may_not_grow(site: Site) -> None:
    """A limit on file sizes does what a full disk does, also where none can be mounted."""
    billing = site.add()
    prepare = {"call": "tests.acceptance.disks:no_file_above", "with": [8192]}
    with unchanged(billing):
        ended = site.run("rotate", "billing", "--yes", prepare=prepare)
    assert_says(ended, Expected(6, ("journal.db",), "Nothing was"))
    assert site.rotate("billing").code == 0


@pytest.mark.parametrize("broken", [("journal",), ("audit",), ("journal", "audit")], ids="-".join)
def test_disks_that_give_up_during_the_mint(
    site: Site, disk: Disk, tmp_path_factory: pytest.TempPathFactory, broken: tuple[str, ...]
) -> None:
    """After the call nothing may delay the publish: the token is stored, and what could not be written is said."""
    billing = site.add()
    with small_disk(tmp_path_factory.mktemp("mounted") / "audit") as other:
        put(site, "journal", disk.path / "journal")
        put(site, "audit", other.path / "audit")
        paused = site.start_until(MINTED, "rotate", "billing", "--yes")
        if "journal" in broken:
            disk.fill()
        if "audit" in broken:
            other.read_only()  # a full disk would still take what fits into the log's last block
        ended = paused.go_on().wait()
        assert ended.code == 4, ended.errors
        assert billing.serves_a_living_token
        assert billing.mints == 1
        assert f"The {' and the '.join(broken)} could not be written" in ended.errors
        events = [line for line in ended.errors.splitlines() if line.startswith("audit-event: ")]
        if "audit" in broken:
            names = {json.loads(line.partition(" ")[2])["event"] for line in events}
            assert {"mint.token.outcome", "publish.destination.outcome", "rotation.close"} <= names
            other.writable()
        if "journal" in broken:
            disk.empty()
        recovered = site.run("run", "-o", "json")
        assert recovered.code == 0, recovered.errors
        assert billing.serves_a_living_token
        assert site.status()["state"] == "ok"
        assert site.audit_holds()
