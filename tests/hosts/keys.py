# SPDX-License-Identifier: GPL-3.0-or-later
"""The developer's SSH key for test hosts, and the file of host keys that SSH trusts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.hosts.packages import install_packages
from tests.hosts.state import SSH, locked

KEY = SSH / "id_ed25519"
KNOWN_HOSTS = SSH / "known_hosts"


def public_key() -> str:
    """Return the public key, making the pair the first time."""
    with locked("ssh"):
        if not KEY.exists():
            if shutil.which("ssh-keygen") is None:
                install_packages("openssh-client")
            SSH.mkdir(parents=True, exist_ok=True, mode=0o700)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "slipway test hosts", "-f", str(KEY)]
            subprocess.run(command, check=True)
    return KEY.with_suffix(".pub").read_text()


def update_known_hosts(*, add: Mapping[str, str], remove: Sequence[str] = ()) -> None:
    """Replace the keys of these addresses; `add` maps an address to a host's public key."""
    gone = {*add, *remove}
    with locked("ssh"):
        lines = KNOWN_HOSTS.read_text().splitlines() if KNOWN_HOSTS.exists() else []
        kept = [line for line in lines if line.split(" ", 1)[0] not in gone]
        fresh = [f"{address} {' '.join(key.split()[:2])}" for address, key in sorted(add.items())]
        SSH.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = Path(f"{KNOWN_HOSTS}.{os.getpid()}")
        partial.write_text("".join(f"{line}\n" for line in [*kept, *fresh]))
        partial.replace(KNOWN_HOSTS)
