# SPDX-License-Identifier: GPL-3.0-or-later
"""A throwaway PostgreSQL server on a socket, and sessions in it that a test holds open."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PORT = 54329
DEADLINE = 60.0  # seconds; far more than anything here takes


def _as_server(argv: list[str]) -> list[str]:
    return ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else argv


class Server:
    """Needs PostgreSQL's binaries; as root it runs as the user postgres."""

    def __init__(self) -> None:
        # The path of a socket is limited to about 100 bytes, too short for pytest's own directories.
        self.root = Path(tempfile.mkdtemp(prefix="slipway-pg-"))
        self.bin = Path(max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2])))
        self.host, self.port = str(self.root), PORT
        if os.geteuid() == 0:
            shutil.chown(self.root, "postgres")
        self.root.chmod(0o755)
        self._run("initdb", "-D", str(self.root / "data"), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-k {self.host} -p {PORT} -c listen_addresses='' -c fsync=off -c max_connections=40"
        self._run("pg_ctl", "-D", str(self.root / "data"), "-w", "-l", str(self.root / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop it and remove all of it."""
        self._run("pg_ctl", "-D", str(self.root / "data"), "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.root)

    def _run(self, program: str, *arguments: str) -> None:
        argv = _as_server([str(self.bin / program), *arguments])
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=DEADLINE)

    def psql(self, database: str, *options: str) -> list[str]:
        """The command line of psql."""
        return ["psql", "-X", "-At", "-q", "-h", self.host, "-p", str(PORT), "-U", "postgres", "-d", database, *options]

    def sql(self, database: str, text: str) -> str:
        """The answer to one or more statements; raises if one fails."""
        argv = self.psql(database, "-v", "ON_ERROR_STOP=1", "-f", "-")
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Session:
    """A psql that stays: what it begins stays open until it ends."""

    def __init__(self, server: Server, database: str, name: str) -> None:
        self._process = subprocess.Popen(
            server.psql(database), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "PGAPPNAME": name},
        )  # fmt: skip

    def run(self, text: str) -> list[str]:
        """Wait until the statements are done, and give their answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text.rstrip(';')};\n\\echo done\n")
        answer: list[str] = []
        for line in self._process.stdout:
            if line == "done\n":
                return answer
            answer.append(line.rstrip("\n"))
        raise AssertionError("psql ended")

    def end(self) -> None:
        """Close it; an open transaction is rolled back."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=DEADLINE)
        if self._process.stdout:
            self._process.stdout.close()


def eventually(look: object, what: str) -> None:
    """Wait until ``look()`` is true."""
    deadline = time.monotonic() + DEADLINE
    while not look():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)
