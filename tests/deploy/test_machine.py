"""One machine without Kubernetes: the systemd units and the crontab, read by their own tools and really run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rotator.settings import resolve
from tests.acceptance.site import Site, eventually
from tests.deploy.tools import DEPLOY, done, need

UNITS = DEPLOY / "systemd"
SERVICES = ("rotator.service", "rotator-serve.service")
PROGRAM = "/opt/rotator/bin/rotator"
CRONTAB = (DEPLOY / "cron" / "rotator").read_text(encoding="utf-8")


# --- systemd --------------------------------------------------------------------------------------


def settings_of(*files: str) -> list[tuple[str, str]]:
    """Every `Name=value` of units, in their order."""
    text = "\n".join((UNITS / file).read_text(encoding="utf-8") for file in files)
    return re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units where the guide puts them, with a program that is there."""
    for file in UNITS.iterdir():
        shutil.copy(file, tmp_path / file.name)
    for name in SERVICES:
        unit = tmp_path / name
        unit.write_text(unit.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true"), encoding="utf-8")
        (tmp_path / f"{name}.d").mkdir()
        shutil.copy(UNITS / "hardening.conf", tmp_path / f"{name}.d" / "hardening.conf")
    return tmp_path


def test_units_are_understood(installed: Path) -> None:
    """Systemd itself has nothing to say about services and timer."""
    tool = need("systemd-analyze", "the systemd units were")
    units = [installed / name for name in (*SERVICES, "rotator.timer")]
    ended = subprocess.run(
        [tool, "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("name", SERVICES)
def test_units_are_hardened(installed: Path, name: str) -> None:
    """Systemd's own review calls the exposure OK (below 2 of 10), and the drop-in is what does it."""
    tool = need("systemd-analyze", "the systemd units were")
    review = [tool, "security", "--offline=true", "--no-pager", "--threshold=20", installed / name]
    assert subprocess.run(review, capture_output=True, timeout=60, check=False).returncode == 0
    (installed / f"{name}.d" / "hardening.conf").unlink()
    assert subprocess.run(review, capture_output=True, timeout=60, check=False).returncode != 0


def listed(text: str) -> dict[str, str]:
    """The assignments of an environment file or a crontab."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


ENVIRONMENT = listed((UNITS / "environment").read_text(encoding="utf-8"))


def environment_of_units(site: Site, name: str, state: Path, credentials: Path) -> list[str]:
    """Sets the unit's environment as systemd would, with folders of this test; the words of ExecStart."""
    given = settings_of(name, "hardening.conf")
    assert ("EnvironmentFile", "/etc/rotator/environment") in given
    (assigned,) = [value for key, value in given if key == "Environment"]
    places = {
        "%d": str(credentials),
        "/var/lib/rotator": str(state),
        "/etc/rotator/policies": site.environment["ROTATOR_POLICIES"],
    }
    del site.environment["LETTERMINT_TEAM_TOKEN"]
    # What the file says goes before what the unit says.
    for variable, written in {**listed(assigned), **ENVIRONMENT}.items():
        value = written
        for place, here in places.items():
            value = value.replace(place, here)
        site.environment[variable] = value
    (start,) = [value for key, value in given if key == "ExecStart"]
    program, *words = shlex.split(start)
    assert program == PROGRAM
    return words


@pytest.fixture
def credentials(site: Site, tmp_path: Path) -> Path:
    """What LoadCredential makes: a folder that only the service can read."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    (loaded,) = [value for key, value in settings_of("hardening.conf") if key == "LoadCredential"]
    file = folder / loaded.partition(":")[0]
    file.write_text(site.team_token.reveal(), encoding="utf-8")
    file.chmod(0o400)
    return folder


def test_timer_starts_what_rotates(site: Site, tmp_path: Path, credentials: Path) -> None:
    """With the environment of the unit, its command rotates what is due and ends with 0."""
    entry = site.add(schedule={"every": "1s"})
    words = environment_of_units(site, "rotator.service", tmp_path / "kept", credentials)
    eventually(lambda: site.run("plan", "-o", "json").output.count('"due": true'))
    ended = site.run(*words, "-o", "json")
    assert ended.code == 0, ended.errors
    assert [one["state"] for one in ended.rotations] == ["completed"]
    assert entry.serves_a_living_token
    assert (tmp_path / "kept" / "audit.jsonl").exists()


def test_daemon_stops_with_a_code_that_the_unit_calls_success(
    site: Site, tmp_path: Path, credentials: Path
) -> None:
    """SIGTERM, as `systemctl stop` sends it, right after a SIGHUP, as `systemctl reload` does."""
    site.add()
    words = environment_of_units(site, "rotator-serve.service", tmp_path / "kept", credentials)
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    child = site.start(*words)
    eventually(lambda: "serving" in child.errors)
    child.signal(1)
    child.signal(15)
    code = child.wait().code
    given = dict(settings_of("rotator-serve.service"))
    assert str(code) in given["SuccessExitStatus"].split()
    assert int(given["TimeoutStopSec"]) > 25


def test_unit_gives_up_on_what_only_a_person_can_mend(site: Site, tmp_path: Path, credentials: Path) -> None:
    """A missing team token ends the daemon with the code for which it is not started again."""
    site.add()
    (file,) = credentials.iterdir()
    file.unlink()
    words = environment_of_units(site, "rotator-serve.service", tmp_path / "kept", credentials)
    assert (
        str(site.run(*words).code) == dict(settings_of("rotator-serve.service"))["RestartPreventExitStatus"]
    )


# --- cron -----------------------------------------------------------------------------------------

ASSIGNED = listed(CRONTAB)
(LINE,) = re.findall(r"^[0-9*].*$", CRONTAB, re.MULTILINE)
WRAPPER = "/usr/local/bin/rotator"


def test_crontab_has_the_form_that_cron_reads() -> None:
    """Five fields, a user, a command without a percent sign, an end of line; no credential in sight."""
    minute, *_ = fields = LINE.split(maxsplit=6)
    assert minute != "0"
    assert fields[5] == "root"
    assert WRAPPER in fields[6]
    assert "%" not in fields[6]
    assert CRONTAB.endswith("\n")
    assert set(ASSIGNED) == {"SHELL", "PATH", "MAILTO"}


def test_settings_of_the_machine_are_settings() -> None:
    """Every variable of the environment file is one that rotator reads, and none is a credential."""
    settings = resolve({}, ENVIRONMENT, None, stderr_is_tty=False)
    assert str(settings.journal.sqlite_path) == "/var/lib/rotator/journal.db"
    assert not settings.team_token.configured
    assert set(ENVIRONMENT) == {"ROTATOR_POLICIES", "ROTATOR_JOURNAL", "ROTATOR_AUDIT_LOG"}


def crontab_says(site: Site, tmp_path: Path) -> str:
    """What cron would send by mail, with a program and folders of this test."""
    program = tmp_path / "rotator"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rotator "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    command = LINE.split(maxsplit=6)[6].replace(WRAPPER, str(program))
    environment = {
        **site.environment,
        "PYTHONPATH": str(DEPLOY.parent),
        "PATH": f"{ASSIGNED['PATH']}:{os.environ['PATH']}",
    }
    return done("env", "-i", *(f"{k}={v}" for k, v in environment.items()), ASSIGNED["SHELL"], "-c", command)


def test_cron_is_silent_when_all_is_well(site: Site, tmp_path: Path) -> None:
    """A run that rotates, one that finds nothing due and one that finds a policy held send no mail."""
    entry = site.add(schedule={"every": "1s"})
    eventually(lambda: site.run("plan", "-o", "json").output.count('"due": true'))
    assert crontab_says(site, tmp_path) == ""
    assert entry.mints == 1
    assert site.run("hold", "billing", "--reason", "a test").code == 0
    assert crontab_says(site, tmp_path) == ""


def test_cron_speaks_when_somebody_should_know(site: Site, tmp_path: Path) -> None:
    """The exit code and all that the run said are in the mail."""
    site.add()
    site.environment["LETTERMINT_TEAM_TOKEN"] = "lm_team_" + "Zy9" * 12
    said = crontab_says(site, tmp_path)
    assert said.startswith("rotator run ended with 2\n")
    assert "401" in said
