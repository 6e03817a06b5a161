"""Which files are policy files, and what happens to those that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

from rotator.policies.files import LARGEST, read_all
from rotator.policies.load import check_policies, load_policies

TEXT = """policies:
  - name: {name}
    project: {project}
    strategy: in-place
    destinations:
      - {{type: file, path: ./secrets/{name}}}
"""


def write(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    project = f"{sum(map(ord, name)):08d}-0000-4000-8000-000000000000"
    path.write_text(TEXT.format(name=name, project=project), encoding="utf-8")


def names(*paths: str) -> list[str]:
    return [policy.name for policy in load_policies([Path(path) for path in paths]).policies]


def said(*paths: str) -> list[str]:
    return [str(problem) for problem in check_policies([Path(path) for path in paths])[0]]


def test_a_folder_is_read_recursively_and_sorted(folder) -> None:
    """Both suffixes count, at any depth, in sorted order; other files and dot-names do not."""
    for file, name in (("b.yml", "b"), ("a/z.yaml", "z"), ("a/c/d.yaml", "d"), ("c.yaml", "c")):
        write(folder / "p" / file, name)
    for file in (".hidden.yaml", ".git/x.yaml", "notes.txt", "x.yaml.bak", "x.YAML"):
        write(folder / "p" / file, "never")
    assert names("p") == ["d", "z", "b", "c"]


def test_a_mounted_config_map_shows_each_file_once(folder) -> None:
    """File links into the dated dot-folder are followed; neither it nor the folder link `..data` is read."""
    dated = folder / "p" / "..2026_11_21"
    write(dated / "a.yaml", "a")
    write(dated / "b.yaml", "b")
    (folder / "p" / "..data").symlink_to("..2026_11_21")
    for name in ("a.yaml", "b.yaml"):
        (folder / "p" / name).symlink_to(f"..data/{name}")
    assert names("p") == ["a", "b"]
    # Relative paths start where the file is seen, not in the dated folder that the next update removes.
    [first, _] = load_policies([Path("p")]).policies
    assert first.destinations[0].place == f"file:{folder}/p/secrets/a"
    assert first.file == f"{folder}/p/a.yaml"


def test_folder_links_are_not_followed(folder) -> None:
    """A link to a folder is passed over, even one that leads back up."""
    write(folder / "p" / "a.yaml", "a")
    write(folder / "elsewhere" / "b.yaml", "b")
    (folder / "p" / "link").symlink_to(folder / "elsewhere")
    (folder / "p" / "loop.yaml").symlink_to(folder / "p")
    assert names("p") == ["a"]


def test_a_path_given_by_name_is_read_whatever_it_is_called(folder) -> None:
    """Dot-names, other suffixes and folder links count when they are named themselves."""
    write(folder / ".policies" / "x.conf", "x")
    write(folder / "q" / "y.yaml", "y")
    (folder / "link").symlink_to("q")
    assert names(".policies/x.conf", "link") == ["x", "y"]


def test_a_file_reached_twice_is_read_once(folder) -> None:
    """Naming a folder and a file in it, or a file twice, makes no duplicate."""
    write(folder / "p" / "a.yaml", "a")
    assert names("p", "p/a.yaml", f"{folder}/p") == ["a"]


def test_what_cannot_be_read_is_a_problem(folder) -> None:
    """A missing path, an empty folder, a broken link and a pipe are each told, and none stops the others."""
    write(folder / "p" / "a.yaml", "a")
    (folder / "empty").mkdir()
    (folder / "p" / "broken.yaml").symlink_to("nowhere")
    os.mkfifo(folder / "p" / "pipe.yaml")
    assert said("empty", "missing.yaml", "p") == [
        "empty: holds no policy file; accepted: names that end in .yaml or .yml",
        "missing.yaml: does not exist; accepted: a policy file or a folder of them",
        "p/broken.yaml: does not exist; accepted: a policy file or a folder of them",
        "p/pipe.yaml: is not a regular file",
    ]
    assert said() == ["policies: no path was given; accepted: a file or a folder"]


def test_a_file_without_permission_is_a_problem(folder) -> None:
    """A file and a folder that may not be read are told with the system's reason."""
    write(folder / "p" / "a.yaml", "a")
    (folder / "p" / "a.yaml").chmod(0)
    (folder / "p" / "closed").mkdir(mode=0)
    folder.chmod(0o755)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root may read everything
    try:
        told = said("p")
    finally:
        os.seteuid(me)
    assert told == [
        "p/a.yaml: cannot be read: Permission denied",
        "p/closed: cannot be read: Permission denied",
    ]


def test_a_name_that_no_system_takes_is_a_problem(folder) -> None:
    """A path that the system refuses to look at is told, not raised."""
    assert said("x" * 300) == [f"{'x' * 300}: cannot be read: File name too long"]


def test_only_utf_8_is_read(folder) -> None:
    """Other encodings are refused at the line of the first wrong byte; a byte order mark is fine."""
    write(folder / "a.yaml", "a")
    good = (folder / "a.yaml").read_bytes()
    (folder / "latin.yaml").write_bytes(good + "    owner: Zoë\n".encode("latin-1"))
    assert said("latin.yaml") == ["latin.yaml:7: is not UTF-8 text; save it as UTF-8"]
    (folder / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + good)
    assert names("bom.yaml") == ["a"]


def test_the_size_of_a_file_is_bounded(folder) -> None:
    """A file of the largest size is read, one byte more is refused."""
    text = "# " + "x" * (LARGEST - 2)
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    assert read_all([Path("a.yaml")])[1] == []
    (folder / "a.yaml").write_text(text + "x", encoding="utf-8")
    assert said("a.yaml") == ["a.yaml: is larger than 1024 KiB; split it"]
