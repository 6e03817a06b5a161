"""The chapter of deploy/README.md for one machine, typed as root on a machine whose changes vanish.

It installs rotator as an operator does and takes a minute or two: --long runs it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.acceptance.test_guides import blocks
from tests.deploy.test_guides import section
from tests.deploy.tools import DEPLOY, ROOT, need, run

PRIVATE = """
# The blocks change /etc, /opt, /usr/local/bin and /var/lib: here a layer that ends with this process takes it all.
mount -t tmpfs tmpfs {layers}
for place in etc opt usr/local/bin var/lib; do
  mkdir -p {layers}/$place.upper {layers}/$place.work
  mount -t overlay overlay -o lowerdir=/$place,upperdir={layers}/$place.upper,workdir={layers}/$place.work /$place
done
ip link set lo up 2>/dev/null || true
systemctl() {{ echo "systemctl $*" >> {layers}/systemctl; }}
mkdir -p /etc/sysusers.d /etc/cron.d
cd {root}
cp {policy} billing.yaml
"""


@pytest.fixture
def machine(tmp_path: Path, long: bool) -> Callable[[str, str], str]:
    """Runs a script as root of a machine whose changes vanish with it."""
    if not long:
        pytest.skip("takes minutes; --long runs it")
    unshare = need("unshare", "the guide for one machine was", "with util-linux")
    layers, root = tmp_path / "layers", tmp_path / "root"
    layers.mkdir()
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    if run(unshare, "--mount", "mount", "-t", "tmpfs", "tmpfs", layers).returncode:
        pytest.skip("mounting is not allowed here: the guide for one machine was not tried")
    (tmp_path / "home").mkdir(mode=0o755)

    def execute(script: str, typed: str) -> str:
        policy = tmp_path / "policy.yaml"
        text = PRIVATE.format(layers=layers, root=root, policy=policy) + script
        ended = subprocess.run(
            [unshare, "--mount", "bash", "-euo", "pipefail", "-c", text],
            input=typed,
            env={
                "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(tmp_path / "home"),
                **pip(),
            },
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return execute


def pip() -> dict[str, str]:
    """How this machine gets its packages, and those that it has got already. They are not compiled: the time is
    better spent elsewhere."""
    cache = run(sys.executable, "-m", "pip", "cache", "dir").stdout.strip()
    given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {**given, "PIP_CACHE_DIR": cache, "PIP_NO_COMPILE": "1"}


def test_one_machine_from_nothing_to_a_first_rotation(
    machine: Callable[[str, str], str], tmp_path: Path
) -> None:
    """All that the chapter types, as root, with systemd's own tool for users; cron's line then finds nothing to do."""
    need("systemd-sysusers", "the guide for one machine was", "with systemd")
    need("runuser", "the guide for one machine was", "with util-linux")
    if run("/usr/bin/python3", "-c", "import sys, ensurepip; assert sys.version_info >= (3, 11)").returncode:
        pytest.skip("/usr/bin/python3 makes no virtual environments: the guide for one machine was not tried")
    with Simulator() as simulator:
        team = simulator.add_team()
        project, first = simulator.add_project("billing", team=team)
        place = "/var/lib/rotator/billing.json"
        policy = {
            "name": "billing-production",
            "project": project,
            "strategy": "in-place",
            "schedule": {"every": "30d"},
            "destinations": [{"type": "file", "path": place, "key": "token"}],
        }
        (tmp_path / "policy.yaml").write_text(json.dumps({"policies": [policy]}), encoding="utf-8")
        install, token, rotate, units, cron = blocks(section("First hour on one machine"), "sh")
        rotate = rotate.replace(
            "rotator rotate billing-production", "rotator rotate billing-production --yes"
        )
        seed = f"""
            echo LETTERMINT_API_URL={simulator.url} >> /etc/rotator/environment
            printf '%s' '{json.dumps({"token": first.reveal()})}' |
              install -m 0600 -o rotator -g rotator /dev/stdin {place}
        """
        line = re.sub(r"^(?:\S+ ){6}", "", (DEPLOY / "cron" / "rotator").read_text().splitlines()[-1])
        look = f"""
            echo ---- cron; {line}; echo ---- end
            ls -ln /var/lib/rotator /etc/rotator/credentials
            systemd-analyze verify --man=no /etc/systemd/system/rotator.timer /etc/systemd/system/rotator-serve.service
            cat {place}
        """
        said = machine(install + token + seed + rotate + units + cron + look, team.reveal() + "\n")
        assert "---- cron\n---- end\n" in said
        kept = Secret(json.loads(said.splitlines()[-1])["token"])
        assert kept != first
        assert simulator.is_alive(kept)
        assert not simulator.is_alive(first)
