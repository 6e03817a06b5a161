"""Credentials: from variables and files, read when used; and the audit key that is made."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rotator.credentials import CredentialSource, make_key_file, read_secret_file
from rotator.errors import InvalidInput
from rotator.secret import Secret
from rotator.settings import Settings, ensure_audit_key, resolve
from rotator.settings_sources import CREDENTIALS

TEAM = "lm_team_" + "A1" * 20
OTHER = "lm_team_" + "Z9" * 20
PROJECT = "lm_" + "B2" * 16
FIELDS = {
    "audit_key": lambda s: s.audit_key,
    "lettermint_team_token": lambda s: s.team_token,
    "api_token": lambda s: s.api_token,
    "vault_token": lambda s: s.vault.token,
    "vault_role_id": lambda s: s.vault.role_id,
    "vault_secret_id": lambda s: s.vault.secret_id,
    "vault_jwt": lambda s: s.vault.jwt,
}
HAS_A_DEFAULT = {"vault_jwt"}


def settings_of(**environ: str) -> Settings:
    return resolve({}, environ, None, stderr_is_tty=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "credential"
    path.write_text(TEAM + "\n")
    path.chmod(0o600)
    return path


# --- where they come from -----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_each_credential_from_variable_or_file(name: str, file: Path) -> None:
    """Either will do, both at once will not, neither is an error only when it is needed."""
    variable = CREDENTIALS[name]
    source = FIELDS[name](settings_of(**{variable: TEAM}))
    assert source.configured
    assert source.get() == Secret(TEAM)
    source = FIELDS[name](settings_of(**{f"{variable}_FILE": str(file)}))
    assert source.configured
    assert source.get() == Secret(TEAM)
    with pytest.raises(InvalidInput, match=f"{variable} and {variable}_FILE are both set"):
        settings_of(**{variable: TEAM, f"{variable}_FILE": str(file)})
    if name in HAS_A_DEFAULT:
        return
    source = FIELDS[name](settings_of(**{variable: "", f"{variable}_FILE": ""}))
    assert not source.configured
    with pytest.raises(InvalidInput) as raised:
        source.get()
    assert f"{variable} is not set, and it is needed" in str(raised.value)
    assert f"Set {variable}, or {variable}_FILE" in str(raised.value)


def test_an_empty_file_variable_leaves_the_other_one_valid(file: Path) -> None:
    """Empty is unset, so it does not count as both."""
    assert settings_of(LETTERMINT_TEAM_TOKEN=TEAM, LETTERMINT_TEAM_TOKEN_FILE="").team_token.get() == Secret(
        TEAM
    )
    assert settings_of(
        LETTERMINT_TEAM_TOKEN="", LETTERMINT_TEAM_TOKEN_FILE=str(file)
    ).team_token.get() == Secret(TEAM)


def test_a_replaced_file_is_read_again(file: Path) -> None:
    """Under a running daemon the new credential is found as soon as it is asked for."""
    source = settings_of(LETTERMINT_TEAM_TOKEN_FILE=str(file)).team_token
    assert source.get() == Secret(TEAM)
    file.write_text(OTHER)
    assert source.get() == Secret(OTHER)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_line_ends_at_the_end_are_no_part_of_it(file: Path, end: str) -> None:
    """Editors and `echo` add them, to files and to variables."""
    file.write_bytes((TEAM + end).encode())
    assert settings_of(LETTERMINT_TEAM_TOKEN_FILE=str(file)).team_token.get() == Secret(TEAM)
    assert settings_of(LETTERMINT_TEAM_TOKEN=TEAM + end).team_token.get() == Secret(TEAM)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \r\n", "is empty"),
        (b"\xff\xfe" + b"hidden" * 3, "holds no text"),
        (b"hidden" * 20_000, "holds no text"),
        (b" hidden-value", "begins or ends with a space"),
        (b"hidden\nvalue", "holds a line end"),
        (b"hidden\x00value", "invisible character"),
    ],
)
def test_a_file_that_holds_no_credential(file: Path, content: bytes, said: str) -> None:
    """Empty, not text, far too long, or with characters that no credential has; never repeated."""
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as raised:
        settings_of(ROTATOR_API_TOKEN_FILE=str(file)).api_token.get()
    assert said in str(raised.value)
    assert "ROTATOR_API_TOKEN_FILE" in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """An error when the credential is needed, with file and variable; no error before."""
    source = settings_of(LETTERMINT_TEAM_TOKEN_FILE=str(tmp_path / "gone")).team_token
    with pytest.raises(
        InvalidInput, match=r"LETTERMINT_TEAM_TOKEN_FILE: .*gone cannot be read: No such file"
    ):
        source.get()


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o604, True), (0o644, True)])
def test_a_file_that_everybody_may_read_is_warned_of(file: Path, mode: int, warned: bool) -> None:
    """A warning and no error, because mounted secrets often are like that."""
    file.chmod(mode)
    warnings = settings_of(LETTERMINT_TEAM_TOKEN_FILE=str(file)).warnings
    assert bool(warnings) is warned
    assert all("LETTERMINT_TEAM_TOKEN_FILE" in one and str(file) in one for one in warnings)


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(
    ("token", "said"),
    [
        (PROJECT, "holds a project token; accepted: the team token, which begins with lm_team_"),
        ("lm_sso_" + "a" * 32, "is not a Lettermint team token"),
        ("Bearer " + TEAM, "is not a Lettermint team token"),
        (TEAM + "é", "is not a Lettermint team token"),
    ],
)
def test_the_shape_of_the_team_token(file: Path, token: str, said: str, from_file: bool) -> None:
    """A project token pasted in its place has a message of its own; no message repeats it."""
    file.write_text(token)
    environ = {"LETTERMINT_TEAM_TOKEN_FILE": str(file)} if from_file else {"LETTERMINT_TEAM_TOKEN": token}
    with pytest.raises(InvalidInput) as raised:
        settings_of(**environ).team_token.get()
    assert said in str(raised.value)
    assert next(iter(environ)) in str(raised.value)
    assert token not in str(raised.value)


def test_a_needed_credential_is_a_problem_of_the_settings(file: Path) -> None:
    """A command that needs it hears of it with everything else, and of nothing when it is fine."""
    with pytest.raises(InvalidInput, match="1 problem in the settings") as raised:
        resolve({}, {"LETTERMINT_TEAM_TOKEN": PROJECT}, None, stderr_is_tty=False, needs=("team_token",))
    assert "holds a project token" in str(raised.value)
    environ = {"LETTERMINT_TEAM_TOKEN_FILE": str(file)}
    assert resolve({}, environ, None, stderr_is_tty=False, needs=("team_token",)).team_token.configured


def test_a_source_shows_no_secret() -> None:
    """Its repr has the name only."""
    source = CredentialSource("X_TOKEN", value=Secret("hidden-value"))
    assert repr(source) == "CredentialSource('X_TOKEN', configured=True)"


# --- the audit key ------------------------------------------------------------------------------


def at(folder: Path, **environ: str) -> Settings:
    return settings_of(ROTATOR_JOURNAL=f"sqlite:///{folder}/journal.db", **environ)


def test_a_key_is_made_where_there_is_no_journal(tmp_path: Path) -> None:
    """32 random bytes in hex, mode 0600, with a warning the first time and the same key ever after."""
    folder = tmp_path / "deep" / ".rotator"
    key, warning = ensure_audit_key(at(folder))
    path = folder / "audit.key"
    assert str(path) in warning
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(bytes.fromhex(path.read_text())) == 32
    assert key == Secret(path.read_text().strip())
    assert sorted(one.name for one in folder.iterdir()) == ["audit.key"]
    assert ensure_audit_key(at(folder)) == (key, "")
    assert ensure_audit_key(at(tmp_path / "elsewhere"))[0] != key


def test_an_empty_journal_file_counts_as_none(tmp_path: Path) -> None:
    """A journal that somebody began to make and never wrote to has no history."""
    (tmp_path / "journal.db").touch()
    key, warning = ensure_audit_key(at(tmp_path))
    assert key
    assert warning


def test_a_journal_without_its_key_is_refused(tmp_path: Path) -> None:
    """A new key would break fingerprints and chain without a word; the message tells what to do."""
    (tmp_path / "journal.db").write_bytes(b"x")
    with pytest.raises(InvalidInput) as raised:
        ensure_audit_key(at(tmp_path))
    assert raised.value.exit_code == 2
    assert f"its audit key {tmp_path / 'audit.key'} is gone" in str(raised.value)
    assert "Put the key back" in str(raised.value)
    assert not (tmp_path / "audit.key").exists()


def test_a_journal_with_its_key_goes_on(tmp_path: Path) -> None:
    """The key that stands beside the journal is used."""
    (tmp_path / "journal.db").write_bytes(b"x")
    (tmp_path / "audit.key").write_text("a key from a backup\n")
    (tmp_path / "audit.key").chmod(0o600)
    assert ensure_audit_key(at(tmp_path)) == (Secret("a key from a backup"), "")
    (tmp_path / "audit.key").chmod(0o644)
    assert "every user of this machine may read" in ensure_audit_key(at(tmp_path))[1]
    (tmp_path / "audit.key").write_text("")
    with pytest.raises(InvalidInput, match="is empty"):
        ensure_audit_key(at(tmp_path))


def test_a_key_that_is_set_needs_no_file(tmp_path: Path, file: Path) -> None:
    """Variable or file: nothing is made, and a key beside the journal does not matter."""
    file.write_text("a key in a file\n")
    assert ensure_audit_key(at(tmp_path / "j", ROTATOR_AUDIT_KEY="a key")) == (Secret("a key"), "")
    assert ensure_audit_key(at(tmp_path / "j", ROTATOR_AUDIT_KEY_FILE=str(file)))[0] == Secret(
        "a key in a file"
    )
    assert not (tmp_path / "j").exists()


def test_postgresql_needs_a_key_that_is_set() -> None:
    """No folder stands beside it in which one could be kept."""
    with pytest.raises(InvalidInput, match="ROTATOR_AUDIT_KEY is not set"):
        ensure_audit_key(settings_of(ROTATOR_JOURNAL="postgresql://h/d"))
    key, _ = ensure_audit_key(settings_of(ROTATOR_JOURNAL="postgresql://h/d", ROTATOR_AUDIT_KEY="a key"))
    assert key == Secret("a key")


KEY_OF = """
import sys
from rotator.settings import ensure_audit_key, resolve
settings = resolve({}, {"ROTATOR_JOURNAL": sys.argv[1]}, None, stderr_is_tty=False)
print("ready", flush=True)
print(ensure_audit_key(settings)[0].reveal())
"""


def key_of(folder: Path) -> subprocess.Popen[str]:
    url = f"sqlite:///{folder}/journal.db"
    return subprocess.Popen([sys.executable, "-c", KEY_OF, url], stdout=subprocess.PIPE, text=True)


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    """The first run of a daemon and of a cron job may fall into the same second."""
    started = [key_of(tmp_path / "j") for _ in range(6)]
    keys = {one.communicate()[0] for one in started}
    assert len(keys) == 1
    assert len(keys.pop()) == len("ready\n") + 65


def test_a_process_waits_for_the_one_that_makes_the_key(tmp_path: Path) -> None:
    """While another holds the folder nothing is made, and then its key is taken."""
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    late = key_of(tmp_path)
    assert late.stdout is not None
    assert late.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        late.wait(timeout=0.5)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "audit.key").write_text("made by the other\n")
    os.close(held)
    assert late.communicate()[0] == "made by the other\n"


def test_what_a_dead_process_left_behind_is_no_key(tmp_path: Path) -> None:
    """Half a key under the temporary name is thrown away."""
    (tmp_path / "audit.key.new").write_text("half")
    key = make_key_file(tmp_path / "audit.key")
    assert len(key.reveal()) == 64
    assert [one.name for one in tmp_path.iterdir()] == ["audit.key"]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """A file in the folder's place: exit code 2, with the remedy."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput) as raised:
        ensure_audit_key(at(tmp_path / "file"))
    assert raised.value.exit_code == 2
    assert str(tmp_path / "file") in str(raised.value)
    assert "ROTATOR_AUDIT_KEY" in str(raised.value)


def test_a_folder_that_this_user_may_not_enter() -> None:
    """Looking beside the journal fails: said as a mistake of the settings; asked as a user that is not root."""
    script = """
import os, sys
from rotator.errors import InvalidInput
from rotator.settings import ensure_audit_key, resolve
if os.geteuid() == 0:
    os.setegid(65534), os.seteuid(65534)
try:
    ensure_audit_key(resolve({}, {"ROTATOR_JOURNAL": sys.argv[1]}, None, stderr_is_tty=False))
except InvalidInput as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        inner = Path(folder) / "locked"
        inner.mkdir(mode=0o000)
        done = subprocess.run(
            [sys.executable, "-c", script, f"sqlite:///{inner}/journal.db"],
            capture_output=True,
            text=True,
            check=False,
        )
        inner.chmod(0o700)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{inner} cannot be looked into: Permission denied.")


def test_reading_a_secret_file_closes_it(file: Path) -> None:
    """A daemon reads it many times."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        read_secret_file(file, "X_FILE")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
