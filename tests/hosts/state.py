# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things live on the developer's machine, and how to become root there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / ".build"
SSH = BUILD / "ssh"

# Outside the checkout: the engine and its images serve every checkout on the machine and survive `make clean`.
STATE = Path(os.environ.get("SLIPWAY_DEV_STATE", "/var/lib/slipway-dev"))


class HostsError(Exception):
    """What went wrong, on which object, and what to do next, in words for the developer."""


def say(message: str) -> None:
    """Print one progress line at once, also into a pipe."""
    print(message, file=sys.stderr, flush=True)


def root_command(command: Sequence[str]) -> list[str]:
    """Return the command so that it runs as root."""
    if os.geteuid() == 0:
        return list(command)
    if shutil.which("sudo") is None:
        raise HostsError(f"Must be root for: {' '.join(command)}\nThere is no sudo here: run this as root.")
    return ["sudo", *command]


def run_as_root(command: Sequence[str], *, log: Path | None = None) -> str:
    """Run a command as root; return what it printed; on failure raise with its last lines."""
    full = root_command(command)
    done = subprocess.run(full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if log is not None:
        with log.open("a") as file:
            file.write(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise HostsError(f"{command[0]} failed with exit code {done.returncode}: {' '.join(command)}\n{tail}")
    return done.stdout


def ensure_state() -> Path:
    """Create the state directory, owned by the caller."""
    if not STATE.is_dir() or not os.access(STATE, os.W_OK):
        run_as_root(["install", "-d", "-o", str(os.getuid()), "-g", str(os.getgid()), "-m", "0755", str(STATE)])
    return STATE


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the machine, so that two runs at the same time do not do the same work twice."""
    with (ensure_state() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
