"""The image: what is in it, and that it runs as operators are told to run it.

Building it takes a minute or two: --long does, and tries what is in it.
"""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.deploy.tools import ROOT, done, need, run

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
(BASE,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
# What deploy/README.md types, with docker's name for what podman and buildah do here.
BUILD, RUN, PUSH = re.findall(
    r"^docker .*$", (ROOT / "deploy" / "README.md").read_text(encoding="utf-8"), re.MULTILINE
)
NAME = shlex.split(PUSH)[2]
PODMAN = ("podman", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "runc")
# The limits are those of a machine that does not let them be raised; the rest is the restricted profile.
RESTRICTED = (
    *("--no-healthcheck", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
    *("--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
READ_ONLY = ("--read-only", "--tmpfs", "/tmp:size=64m")


# --- the recipe -----------------------------------------------------------------------------------


def test_dockerfile_passes_the_linter() -> None:
    """Hadolint has nothing to say, and no rule is switched off."""
    assert done(need("hadolint", "the Dockerfile's lint was"), "--no-color", ROOT / "Dockerfile") == ""
    assert "hadolint ignore" not in DOCKERFILE


def test_base_is_pinned_to_a_patch_release() -> None:
    """Both stages start from the same slim base, whose tag names an exact version of the Python tested here."""
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-bookworm", BASE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]


def part(title: str) -> set[str]:
    """Names of one part of requirements.txt."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    inside = text.split(f"# ---- {title} ----\n", 1)[1].split("\n# ---- ", 1)[0]
    return {name.lower() for name in re.findall(r"^([A-Za-z0-9_.-]+)==", inside, re.MULTILINE)}


def closure(wanted: list[Requirement]) -> set[str]:
    """Names of all that these requirements ask for on this machine, by what is installed."""
    found: set[str] = set()
    waiting = [(one.name, tuple(one.extras)) for one in wanted]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(re.sub(r"[-_.]+", "-", name).lower())
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            ):
                waiting.append((needed.name, tuple(needed.extras)))
    return found


def test_first_part_of_the_requirements_is_what_rotator_runs_with() -> None:
    """It is what `rotator[kubernetes,postgres]` needs, all of it, and nothing that only tests need."""
    needed = closure([Requirement("rotator[kubernetes,postgres]")]) - {"rotator"}
    # colorama is for Windows: pinned under a marker, never installed here.
    assert part("what rotator runs with") - {"colorama"} == needed
    assert not part("what rotator runs with") & part("what only its tests and linters need")


# --- the image ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, long: bool) -> str:
    """Built from this tree; once, whichever of the parallel runners comes first."""
    if not long:
        pytest.skip("takes minutes; --long runs it")
    need("buildah", "the image was")
    need("podman", "the image was")
    need("runc", "the image was")
    if run(*PODMAN, "image", "exists", BASE).returncode:
        pytest.skip(f"there is no {BASE} in podman's storage (.ci/tools makes one): the image was not tried")
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if shared.name.startswith("popen-") else shared
    # Of these tests alone: others may run on this machine.
    name = f"localhost/rotator:test-{uuid.uuid4().hex[:12]}"
    with (shared / "image.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if found := lock.read():
            return found
        clear_up()
        build(name)
        lock.write(name)
    return name


def clear_up() -> None:
    """Removes what earlier runs left, unless a container of theirs still uses it."""
    old = ("--filter", "reference=localhost/rotator:test-*", "--filter", "until=1h", "--quiet")
    for identity in done(*PODMAN, "images", *old).split():
        run(*PODMAN, "rmi", identity)


def build(name: str) -> None:
    """Certificates of this machine are lent to the build, which gets its packages the way this machine does."""
    lent = [path for path in ("/etc/ssl/certs", "/usr/share/ca-certificates") if Path(path).is_dir()]
    volumes = [word for path in lent for word in ("--volume", f"{path}:{path}:ro")]
    words = [name if word == NAME else word for word in shlex.split(BUILD)[2:]]
    assert words.pop() == "."
    done(
        *("buildah", "--storage-driver", "overlay", "bud", "--isolation", "chroot", "--network", "host"),
        *("--pull-never", "--format", "docker", *volumes),
        *(*words, "--build-arg", "REVISION=deadbeef", ROOT),
        timeout=500,
    )


def in_image(image: str, *words: str, entrypoint: str | None = None) -> str:
    """Runs one command in the image without a network; its standard output."""
    start = () if entrypoint is None else ("--entrypoint", entrypoint)
    return done(*PODMAN, "run", "--rm", "--network", "none", *RESTRICTED, *READ_ONLY, *start, image, *words)


def test_demo_runs_on_a_read_only_root_without_a_network(image: str) -> None:
    """The guide's command, as uid 65532 and without capabilities on top: the whole story holds."""
    words = [image if word == NAME else word for word in shlex.split(RUN)[2:]]
    assert "Everything held" in done(*PODMAN, "run", *RESTRICTED, *words)


def test_image_says_what_it_is(image: str) -> None:
    """User, entry point and labels are set; no variable of it holds a credential."""
    (found,) = json.loads(done(*PODMAN, "image", "inspect", image))
    config = found["Config"]
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("65532:65532", ["rotator"], ["serve"])
    labels = {name.rpartition(".")[2]: text for name, text in config["Labels"].items()}
    assert labels["title"] == "rotator"
    assert (labels["version"], labels["revision"]) == (metadata.version("rotator"), "deadbeef")
    assert labels["licenses"] == metadata.metadata("rotator")["License-Expression"]
    names = {one.partition("=")[0] for one in config["Env"]}
    assert not {name for name in names if re.search("TOKEN|KEY|SECRET|PASSWORD", name)}
    assert metadata.version("rotator") in in_image(image, "--version")


def test_image_holds_what_rotator_needs_and_nothing_else(image: str) -> None:
    """Every module of rotator loads; the packages are the first part of the requirements; nothing can be rewritten."""
    script = (
        "import importlib, importlib.metadata, json, os, pkgutil, rotator\n"
        "names = [m.name for m in pkgutil.walk_packages(rotator.__path__, 'rotator.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\n"
        "print(json.dumps({'modules': len(names),\n"
        "  'packages': sorted(d.metadata['Name'].lower() for d in importlib.metadata.distributions()),\n"
        "  'writable': [p for p, _, _ in os.walk('/') if not p.startswith(('/proc', '/sys', '/dev')) and os.access(p, os.W_OK)],\n"
        "  'id': [os.getuid(), os.getgid()]}))\n"
    )
    found: dict[str, Any] = json.loads(in_image(image, "-c", script, entrypoint="python"))
    assert found["id"] == [65532, 65532]
    assert found["modules"] > 150
    packages = {re.sub(r"[-_.]+", "-", name) for name in found["packages"]}
    assert packages == part("what rotator runs with") - {"colorama"} | {"rotator"}
    assert found["writable"] == ["/tmp"]


def test_image_adds_the_program_and_an_empty_folder(image: str) -> None:
    """To its base it adds what was installed and where state goes; of this repository only the package came along."""
    found = json.loads(done(*PODMAN[:3], "image", "diff", "--format", "json", image, BASE))
    added = set(found["added"])
    assert {path for path in added if not path.startswith("/opt/rotator")} == {"/var/lib/rotator"}
    installed = [path for path in added if "/site-packages/rotator/" in path and "__pycache__" not in path]
    assert installed
    for path in installed:
        assert (ROOT / path.partition("/site-packages/")[2]).exists(), path


def test_build_gets_to_see_what_it_copies_and_nothing_else() -> None:
    """`.dockerignore` lets in exactly what the Dockerfile copies from the repository: no journal, no policies."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert let_in == {word for words in copied for word in words.split()}


class Container:
    """`rotator serve` as process 1, with a policy that is not due and a folder of its own for its state."""

    def __init__(self, image: str, folder: Path, simulator: Simulator, team: Secret) -> None:
        self.name = f"rotator-test-{uuid.uuid4().hex[:12]}"
        project, first = simulator.add_project("billing", team=team)
        self.simulator = simulator
        (folder / "policies").mkdir()
        (folder / "state").mkdir()
        self.secret = folder / "state" / "billing.json"
        self.secret.write_text(json.dumps({"token": first.reveal()}), encoding="utf-8")
        policy = {
            "name": "billing",
            "project": project,
            "strategy": "in-place",
            "schedule": {"every": "30d"},
            "destinations": [{"type": "file", "path": "/var/lib/rotator/billing.json", "key": "token"}],
        }
        (folder / "policies" / "billing.yaml").write_text(
            json.dumps({"policies": [policy]}), encoding="utf-8"
        )
        token = folder / "team-token"
        token.write_text(team.reveal(), encoding="utf-8")
        token.chmod(0o400)
        for path in (token, folder / "state", self.secret):
            run("chown", "65532:65532", path)
        variables = {
            "LETTERMINT_API_URL": simulator.url,
            "LETTERMINT_TEAM_TOKEN_FILE": "/run/secrets/lettermint-team-token",
            "ROTATOR_LISTEN": "127.0.0.1:0",
        }
        done(
            *(*PODMAN, "run", "--detach", "--name", self.name, "--network", "host", *RESTRICTED, *READ_ONLY),
            *("--volume", f"{folder / 'policies'}:/etc/rotator/policies:ro"),
            *("--volume", f"{folder / 'state'}:/var/lib/rotator"),
            *("--volume", f"{token}:/run/secrets/lettermint-team-token:ro"),
            *(word for name, value in variables.items() for word in ("--env", f"{name}={value}")),
            image,
        )

    @property
    def log(self) -> str:
        ended = run(*PODMAN, "logs", self.name)
        return ended.stdout + ended.stderr

    def wait_for(self, what: Callable[[], Any]) -> Any:
        give_up_at = time.monotonic() + 60
        while not (found := what()):
            assert time.monotonic() < give_up_at, self.log
            time.sleep(0.05)
        return found

    @property
    def url(self) -> str:
        found = self.wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", self.log))
        return str(found[0])

    def remove(self) -> None:
        run(*PODMAN, "rm", "--force", "--time", "0", self.name)


@pytest.fixture
def container(image: str, tmp_path: Path) -> Iterator[Container]:
    with Simulator() as simulator:
        running = Container(image, tmp_path, simulator, simulator.add_team())
        try:
            yield running
        finally:
            running.remove()


def test_daemon_is_process_1_and_ends_at_sigterm(container: Container) -> None:
    """It answers its probes, a rotation typed by `exec` holds, and SIGTERM to process 1 ends it with 143."""
    url = container.url
    assert httpx.get(f"{url}/healthz", trust_env=False, timeout=30).text == "ok"
    container.wait_for(lambda: httpx.get(f"{url}/readyz", trust_env=False, timeout=30).status_code == 200)
    assert done(*PODMAN, "top", container.name, "pid", "huser").split()[2:] == ["1", "65532"]

    rotated = done(*PODMAN, "exec", container.name, "rotator", "rotate", "billing", "--yes", "-o", "json")
    assert json.loads(rotated)["rotations"][0]["state"] == "completed"
    kept = Secret(json.loads(container.secret.read_text(encoding="utf-8"))["token"])
    assert container.simulator.is_alive(kept)

    done(*PODMAN, "kill", "--signal", str(int(signal.SIGTERM)), container.name)
    assert done(*PODMAN, "wait", container.name, timeout=60).strip() == "143", container.log
    assert "stopped; what was begun is in the journal" in container.log
