"""Policy files that change while the daemon runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rotator.daemon.reload import PolicyFiles
from rotator.policies.load import load_policies

GOOD = """policies:
  - name: {name}
    project: 0f8fad5b-d9cb-469f-a165-70867728950e
    strategy: in-place
    destinations: [{{type: file, path: ./x.json, format: json, key: token}}]
"""


def watched(path: Path) -> PolicyFiles:
    return PolicyFiles(path, load_policies([path]).policies)


def names(files: PolicyFiles) -> list[str]:
    return [policy.name for policy in files.policies]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    made.mkdir()
    (made / "a.yaml").write_text(GOOD.format(name="first"), encoding="utf-8")
    return made


def test_an_unchanged_folder_is_not_read_again(folder: Path) -> None:
    """Nothing is parsed where nothing changed, unless somebody asks."""
    files = watched(folder)
    before = files.policies
    assert not files.changed()
    assert files.policies is before
    assert files.changed(look_closely=True)


def test_an_edited_file_is_noticed(folder: Path) -> None:
    """Also when neither its size nor its time tells: another file took its place."""
    files = watched(folder)
    old = (folder / "a.yaml").stat()
    (folder / "new").write_text(GOOD.format(name="other"), encoding="utf-8")
    os.utime(folder / "new", ns=(old.st_atime_ns, old.st_mtime_ns))
    (folder / "new").rename(folder / "a.yaml")
    assert files.changed()
    assert names(files) == ["other"]
    assert not files.changed()


def test_new_and_removed_files_are_noticed(folder: Path) -> None:
    """A folder is its files."""
    files = watched(folder)
    (folder / "b.yml").write_text(
        GOOD.format(name="second").replace("0f8f", "1f8f").replace("x.json", "y.json"), encoding="utf-8"
    )
    assert files.changed()
    assert names(files) == ["first", "second"]
    (folder / "a.yaml").unlink()
    assert files.changed()
    assert names(files) == ["second"]


def test_a_bad_file_keeps_the_last_good_set(folder: Path) -> None:
    """What is wrong is told with file and line, and mending it ends that."""
    files = watched(folder)
    (folder / "a.yaml").write_text(GOOD.format(name="first") + "    colour: red\n", encoding="utf-8")
    assert files.changed()
    assert names(files) == ["first"]
    assert files.problem is not None
    assert "a.yaml:6" in str(files.problem)
    assert not files.changed()
    (folder / "a.yaml").write_text(GOOD.format(name="mended"), encoding="utf-8")
    assert files.changed()
    assert (names(files), files.problem) == (["mended"], None)


def test_the_link_of_a_mounted_config_map_is_noticed(tmp_path: Path) -> None:
    """Kubernetes swaps `..data` to another dated folder; the files that are seen stay the same links."""
    for stamp, name in (("..2026_11_01", "first"), ("..2026_11_02", "second")):
        (tmp_path / stamp).mkdir()
        (tmp_path / stamp / "a.yaml").write_text(GOOD.format(name=name), encoding="utf-8")
    (tmp_path / "..data").symlink_to("..2026_11_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    files = watched(tmp_path)
    assert names(files) == ["first"]
    (tmp_path / "..data_tmp").symlink_to("..2026_11_02")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert files.changed()
    assert names(files) == ["second"]


def test_a_folder_that_is_gone_keeps_the_last_good_set(folder: Path) -> None:
    """A volume that is being mounted anew is no reason to forget every policy."""
    files = watched(folder)
    (folder / "a.yaml").unlink()
    folder.rmdir()
    assert files.changed()
    assert names(files) == ["first"]
    assert files.problem is not None
