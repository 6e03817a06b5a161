"""What is particular to files: modes, owners, links, locks, leftovers, and errors of the operating system."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import resource
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

import pytest

from rotator.clock import SystemClock
from rotator.destinations.base import DestinationRefused
from rotator.destinations.durable_file import MAX_BYTES, Folder, explain, is_mount_point, read
from rotator.destinations.file import FileDestination
from rotator.errors import InvalidInput, RotatorError, Unreachable
from rotator.model import DestinationSpec
from rotator.secret import Secret

OLD = "lm_" + "A" * 32
NEW = "lm_" + "B" * 32
MARK = "lm_" + "C4nary" * 6
NOBODY = 65534
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may give files away and become another user"
)
needs_memory_folder = pytest.mark.skipif(
    not Path("/dev/shm").is_dir(), reason="no file system in memory here"
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make(tmp_path, clock):
    """Makes a destination for `path` (by default a bare token)."""

    def build(path=None, *, key=None, form=None, mode=None, create=True, clock=clock):
        path = path or tmp_path / "token"
        options = {"path": str(path), "format": form, "mode": mode}
        return FileDestination(DestinationSpec("file", f"file:{path}", key, create, False, options), clock)

    return build


def publish(destination, token=NEW):
    destination.publish(Secret(token), rotation="r1", base=destination.read())


@pytest.fixture
def shared_folder():
    """A folder that other users can look into, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def preflight_as_nobody(path):
    """What the refusal of a preflight says that is run without any rights."""
    program = (
        "import os, sys\n"
        "from rotator.clock import SystemClock\n"
        "from rotator.destinations.file import FileDestination\n"
        "from rotator.model import DestinationSpec\n"
        "from rotator.errors import Refused\n"
        "spec = DestinationSpec('file', 'f', options={'path': sys.argv[1], 'format': None, 'mode': None})\n"
        "destination = FileDestination(spec, SystemClock())\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n"
        "    destination.preflight()\n"
        "except Refused as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


# --- the file itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o600), (0o640, 0o640), (0o444, 0o444)])
@pytest.mark.parametrize("exists", [True, False])
def test_mode_is_0600_or_what_the_policy_says(make, tmp_path, mode, expected, exists):
    """The mode does not depend on the umask or on what the file had before."""
    path = tmp_path / "token"
    if exists:
        path.write_text(OLD)
        path.chmod(0o666)
    publish(make(mode=mode))

    assert mode_of(path) == expected
    assert not exists or mode_of(tmp_path / "token.rotator") == 0o600


@needs_root
def test_the_owner_is_kept(make, tmp_path):
    """A file that belongs to another user still does after a write."""
    path = tmp_path / "token"
    path.write_text(OLD)
    os.chown(path, NOBODY, NOBODY)
    destination = make()
    destination.preflight()
    publish(destination)

    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)


@needs_root
def test_an_owner_that_cannot_be_kept_is_refused_before_the_mint(shared_folder):
    """Preflight says that readers would lose the file; nothing is left behind."""
    shared_folder.chmod(0o777)
    path = shared_folder / "token"
    path.write_text(OLD)
    path.chmod(0o644)

    assert "belongs to 0:0" in preflight_as_nobody(path)
    assert [item.name for item in shared_folder.iterdir()] == ["token"]


@needs_root
def test_a_sticky_folder_is_refused(shared_folder):
    """In a folder like /tmp only its owner replaces a file."""
    shared_folder.chmod(0o1777)
    path = shared_folder / "token"
    path.write_text(OLD)
    path.chmod(0o644)

    assert "sticky" in preflight_as_nobody(path)


def test_a_link_stays_a_link(make, tmp_path):
    """Where the path is a symbolic link, its target is replaced and the link kept."""
    real = tmp_path / "real" / "token"
    real.parent.mkdir()
    real.write_text(OLD)
    link = tmp_path / "link"
    link.symlink_to(real)
    destination = make(link)
    destination.preflight()
    publish(destination)

    assert link.is_symlink()
    assert real.read_text() == NEW
    assert (tmp_path / "real" / "token.rotator").exists()


def test_readers_never_see_half_a_file(make, tmp_path):
    """While a file is replaced again and again, a reader gets one whole token each time."""
    path = tmp_path / "token"
    path.write_text(OLD)
    seen, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            seen.add(path.read_text())

    thread = threading.Thread(target=watch)
    thread.start()
    destination = make(clock=SystemClock())
    tokens = [f"lm_{number:032d}" for number in range(40)]
    for token in tokens:
        publish(destination, token)
    done.set()
    thread.join()

    assert seen <= {OLD, *tokens}
    assert len(seen) > 1


@pytest.mark.parametrize("where", [None, pytest.param("/dev/shm", marks=needs_memory_folder)])
def test_versions_never_come_again(make, where):
    """However fast and alike the writes are, each leaves another ctime than the one before it, so that a
    number of an inode that is used again cannot bring an old version back."""
    with tempfile.TemporaryDirectory(dir=where) as folder:
        path = Path(folder) / "token"
        path.write_text(OLD)
        destination = make(path, clock=SystemClock())
        versions = [destination.read().version]
        for number in range(50):
            publish(destination, f"lm_{number:032d}")
            versions.append(destination.read().version)

    assert len(set(versions)) == 51
    times = [version.split("-")[1] for version in versions]
    assert all(earlier != later for earlier, later in itertools.pairwise(times))


class CoarseFolder(Folder):
    """On a file system whose clock ticks so slowly that a write leaves the old ctime twice."""

    def __init__(self, *arguments, old):
        super().__init__(*arguments)
        self.looks = [old, old]

    def _ctime(self, name):
        return self.looks.pop(0) if self.looks else super()._ctime(name)


def test_a_write_waits_for_the_next_tick(tmp_path, clock):
    """Where ctime is coarse, a write is over only when it shows another one than before."""
    path = tmp_path / "token"
    path.write_text(OLD)
    before = read(path, "the file")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    folder = CoarseFolder(descriptor, path, clock, "the file", old=before.version.split("-")[1])
    folder.replace("token", NEW, mode=0o600, like=before)
    os.close(descriptor)

    assert clock.waits == [0.001, 0.001]
    assert read(path, "the file").version.split("-")[1] != before.version.split("-")[1]


def test_the_version_holds_no_digest_of_the_content(make, tmp_path):
    """Two files with the same content have different versions."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(OLD)

    assert make(tmp_path / "a").read().version != make(tmp_path / "b").read().version


# --- the sidecar ----------------------------------------------------------------------------------------


def test_the_sidecar_keeps_the_last_three_former_tokens(make, tmp_path):
    """Former tokens are kept for a rollback, newest first, and no more than three."""
    tokens = [f"lm_{number:032d}" for number in range(5)]
    destination = make()
    for token in tokens:
        publish(destination, token)
    kept = [token for token in tokens if destination.recall(lambda held, token=token: held == Secret(token))]

    assert kept == tokens[1:4]


def test_the_sidecar_goes_when_nothing_is_in_it(make, tmp_path):
    """A staged and discarded token leaves no file behind."""
    destination = make()
    destination.stage(Secret(NEW), rotation="r1", base=destination.read())
    assert (tmp_path / "token.rotator").exists()
    destination.discard()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"pending": {"version": 1, "token": "x"}, "former": []}',
        '{"pending": null, "former": [5]}',
    ],
)
def test_a_sidecar_that_is_not_ours_is_refused(make, tmp_path, text):
    """What we did not write is neither used nor overwritten."""
    (tmp_path / "token").write_text(OLD)
    sidecar = tmp_path / "token.rotator"
    sidecar.write_text(text)
    destination = make()
    for attempt in (destination.preflight, destination.read_staged, lambda: publish(destination)):
        with pytest.raises(DestinationRefused) as caught:
            attempt()
        assert "token.rotator" in str(caught.value)

    assert sidecar.read_text() == text
    assert (tmp_path / "token").read_text() == OLD


def test_a_crash_after_the_file_was_replaced_is_seen(make, tmp_path):
    """The file is new and the sidecar still calls it staged: that is promoted, and a repeat tidies up."""
    path = tmp_path / "token"
    path.write_text(OLD)
    destination = make()
    base = destination.read()
    staged = destination.stage(Secret(NEW), rotation="r1", base=base)
    path.write_text(NEW)

    assert destination.read_staged() is None
    destination.promote(staged, base=base)
    assert json.loads((tmp_path / "token.rotator").read_text())["pending"] is None
    assert path.read_text() == NEW


# --- locks and leftovers --------------------------------------------------------------------------------


def test_leftovers_of_a_crash_are_removed(make, tmp_path):
    """Temporary files with a secret in them do not outlive the next call; others are left alone."""
    leftover = tmp_path / ".token.rotator-tmp-1-abcd"
    leftover.write_text(MARK)
    others = [tmp_path / ".other.rotator-tmp-1-abcd", tmp_path / "token.bak"]
    for other in others:
        other.write_text("x")
    make().preflight()

    assert not leftover.exists()
    assert all(other.exists() for other in others)


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    """SIGKILL at a random moment of many writes: the file is whole, and the next call cleans up."""
    path = tmp_path / "token"
    path.write_text(OLD)
    program = (
        "import sys\n"
        "from rotator.clock import SystemClock\n"
        "from rotator.destinations.file import FileDestination\n"
        "from rotator.model import DestinationSpec\n"
        "from rotator.secret import Secret\n"
        "spec = DestinationSpec('file', 'f', create=True, options={'path': sys.argv[1], 'format': None, 'mode': None})\n"
        "destination = FileDestination(spec, SystemClock())\n"
        "print('go', flush=True)\n"
        "for number in range(1_000_000):\n"
        "    destination.publish(Secret(f'lm_{number:032d}'), rotation='r', base=destination.read())\n"
    )
    for pause in (0.0, 0.01, 0.03):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as child:
            child.stdout.readline()
            threading.Event().wait(pause)
            child.kill()
        assert Secret(path.read_text()).is_project_token
        options = {"path": str(path), "format": None, "mode": None}
        survivor = FileDestination(DestinationSpec("file", "f", create=True, options=options), SystemClock())
        survivor.read_staged()
        publish(survivor)
        assert path.read_text() == NEW
        assert not list(tmp_path.glob(".token.rotator-tmp-*"))


def test_a_lock_held_by_another_process_is_waited_for_ten_seconds(make, tmp_path, clock):
    """A writer that never lets go is reported, not waited for for ever."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(Unreachable) as caught:
            publish(make())
    finally:
        os.close(descriptor)

    assert "lock" in str(caught.value)
    assert 9.9 < sum(clock.waits) < 10.1
    publish(make())


def test_a_lock_that_is_let_go_is_taken(make, tmp_path):
    """A short wait is not noticed."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    timer = threading.Timer(0.1, os.close, [descriptor])
    timer.start()
    publish(make(clock=SystemClock()))
    timer.join()

    assert (tmp_path / "token").read_text() == NEW


# --- what is refused ------------------------------------------------------------------------------------


def test_a_missing_folder_is_refused(make, tmp_path):
    """`create` makes the file, not its folder: whose it is and who may enter is not ours to guess."""
    destination = make(tmp_path / "no" / "token")
    assert destination.read().version is None
    for attempt in (destination.preflight, lambda: publish(destination)):
        with pytest.raises(DestinationRefused) as caught:
            attempt()
        assert "folder" in str(caught.value)


def test_a_folder_in_place_of_the_file_is_refused(make, tmp_path):
    """A path that is a folder is said to be one."""
    with pytest.raises(DestinationRefused) as caught:
        make(tmp_path).read()
    assert "is a folder" in str(caught.value)


def test_a_named_pipe_is_refused_without_waiting(make, tmp_path):
    """What is no ordinary file is neither read nor replaced."""
    os.mkfifo(tmp_path / "token")
    with pytest.raises(DestinationRefused) as caught:
        make().preflight()
    assert "no ordinary file" in str(caught.value)


def test_a_circle_of_links_is_refused(make, tmp_path):
    """Links that go in a circle have no file at their end."""
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DestinationRefused) as caught:
        make(tmp_path / "a").read()
    assert "circle" in str(caught.value)


def test_text_that_is_not_utf8_is_refused_without_being_quoted(make, tmp_path):
    """The bytes stay out of the error and of everything chained to it."""
    (tmp_path / "token").write_bytes(MARK.encode() + b"\xff")
    with pytest.raises(DestinationRefused) as caught:
        make().read()
    error: BaseException | None = caught.value
    assert "not UTF-8" in str(error)
    while error is not None:
        assert MARK not in f"{error!r}{vars(error)}{error.args}"
        error = error.__context__


@pytest.mark.parametrize(("size", "fits"), [(MAX_BYTES, True), (MAX_BYTES + 1, False)])
def test_size_limit(make, tmp_path, size, fits):
    """A file has at most one MiB."""
    (tmp_path / "token").write_text("x" * size)
    if fits:
        assert make().read().version
    else:
        with pytest.raises(DestinationRefused) as caught:
            make().read()
        assert "larger than" in str(caught.value)


def test_preflight_finds_a_file_without_room_for_a_token(make, tmp_path):
    """What would be too large after the merge could not be read back."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"x": "y" * (MAX_BYTES - 20)}))
    with pytest.raises(DestinationRefused) as caught:
        make(path, key="k", form="json").preflight()
    assert "no room" in str(caught.value)


@needs_root
def test_a_folder_that_may_not_be_written_is_refused(shared_folder):
    """The right to write the file is not enough, and the error says so."""
    path = shared_folder / "token"
    path.write_text(OLD)
    os.chown(path, NOBODY, NOBODY)
    said = preflight_as_nobody(path)

    assert "EACCES" in said
    assert "write in the folder" in said


@needs_root
def test_a_file_that_may_not_be_read_is_refused(shared_folder):
    """A missing right to read is said as such."""
    path = shared_folder / "token"
    path.write_text(OLD)
    path.chmod(0o600)
    said = preflight_as_nobody(path)

    assert "Cannot read" in said
    assert "EACCES" in said


def test_a_write_that_stops_halfway_leaves_the_old_file(make, tmp_path):
    """A write that the system cuts short leaves the old file whole and nothing else behind."""
    path = tmp_path / "x.json"
    text = json.dumps({"x": "y" * 50_000})
    path.write_text(text)
    destination = make(path, key="k", form="json")
    base = destination.read()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(RotatorError) as preflight:
            destination.preflight()
        with pytest.raises(RotatorError) as write:
            destination.publish(Secret(NEW), rotation="r1", base=base)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "EFBIG" in str(preflight.value)
    assert "EFBIG" in str(write.value)
    assert path.read_text() == text
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, Unreachable),
        (errno.EDQUOT, Unreachable),
        (errno.EIO, Unreachable),
        (errno.EROFS, DestinationRefused),
        (errno.EACCES, DestinationRefused),
        (errno.EPERM, DestinationRefused),
        (errno.EBUSY, DestinationRefused),
        (errno.ENAMETOOLONG, DestinationRefused),
    ],
)
def test_errors_of_the_system_are_sorted(number, kind):
    """What may pass is worth another try; what a person must change is refused with what to change."""
    error = explain(OSError(number, "x"), "write", "file /x")

    assert isinstance(error, kind)
    assert errno.errorcode[number] in str(error)
    assert error.remedy


def test_a_name_that_is_too_long_is_refused(make, tmp_path):
    """The system's own limits come out as refusals."""
    with pytest.raises(DestinationRefused) as caught:
        make(tmp_path / ("x" * 300)).read()
    assert "ENAMETOOLONG" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/secrets/token", True), ("/secrets/my token", True), ("/secrets", False), ("/x", False)],
)
def test_a_single_mounted_file_is_recognised(path, expected):
    """A file that is itself a mount point cannot be replaced by rename."""
    mountinfo = (
        "36 35 98:0 / / rw - ext4 /dev/sda rw\n"
        "40 36 98:0 /v/token /secrets/token rw - ext4 /dev/sda rw\n"
        "41 36 98:0 /v/t2 /secrets/my\\040token rw - ext4 /dev/sda rw\n"
    )

    assert is_mount_point(Path(path), mountinfo) is expected


@pytest.mark.parametrize(
    ("key", "form"), [("k", None), (None, "json"), (None, "env"), ("a-b", "env"), ("1a", "env"), ("", "env")]
)
def test_key_and_format_must_fit(make, key, form):
    """A key needs a format and the other way round, and an env key is a name."""
    with pytest.raises(InvalidInput):
        make(key=key, form=form)


def test_preflight_leaves_no_trace(make, tmp_path):
    """After a preflight of a missing file the folder is as empty as before."""
    make().preflight()

    assert list(tmp_path.iterdir()) == []


def test_errors_and_reprs_hold_no_token(make, tmp_path, caplog):
    """Tracebacks of refusals, and everything that can be printed, are free of the value."""
    caplog.set_level("DEBUG")
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"k": MARK}))
    destination = make(path, key="k", form="json")
    reading = destination.read()
    staged = destination.stage(Secret(MARK + "2"), rotation="r1", base=reading)
    shown = repr((reading, staged, destination, vars(destination)))
    path.write_text(f'{{"k": "{MARK}"')
    for attempt in (
        destination.read,
        destination.preflight,
        lambda: destination.promote(staged, base=reading),
    ):
        with pytest.raises(RotatorError) as caught:
            attempt()
        shown += "".join(traceback.format_exception(caught.value))

    assert MARK not in shown + caplog.text
