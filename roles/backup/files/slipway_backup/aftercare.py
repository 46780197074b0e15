# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows the proof of a backup: encryption, a copy elsewhere that is read back, and retention, in this order.

A copy elsewhere is made of what stays here, so of the ciphertext; and nothing old goes before the new one is safe.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import encryption, offsite, prune, retention
from .catalogue import Entry
from .manifest import Manifest
from .processes import Deadline
from .request import Take


def needed(ledger: str, releases: str) -> list[str]:
    """The backups that a ledger names behind what the releases that are still there did to the database."""
    if not ledger:
        return []
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in Path(ledger).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                entry = json.loads(line)
                if (Path(releases) / str(entry["release"])).is_dir():
                    found.append(str(entry["database"]["backup"]))
    return [one for one in found if one]


@dataclass(frozen=True)
class Aftercare:
    """The wishes of a request, each of which may be none."""

    take: Take
    encryption: encryption.Encryption | None
    offsite: offsite.Offsite | None
    retention: retention.Policy | None

    @classmethod
    def parse(cls, take: Take) -> Aftercare:
        """Raises BackupError bad_request before anything was done."""
        return cls(
            take,
            encryption.parse(take.encryption),
            offsite.parse(take.offsite),
            retention.policy(take.retention),
        )

    @property
    def archives(self) -> int:
        """How many times the archive's bytes lie in the catalogue at once: plain, encrypted, decrypted on trial."""
        return 1 + bool(self.encryption) + bool(self.encryption and self.encryption.identity_file)

    def seal(self, directory: Path, made: Manifest, deadline: Deadline) -> None:
        """Encrypt the unfinished entry in ``directory``, if that is wished."""
        if not self.encryption:
            return
        began = time.monotonic()
        made.encryption = encryption.encrypt(directory, made.as_dict(), self.encryption, deadline)["encryption"]
        made.seconds["encryption"] = round(time.monotonic() - began, 3)

    def finish(self, manifest: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """``backup``, the manifest as it is now, and ``pruned``. A BackupError from here leaves the new backup good."""
        directory = Path(self.take.directory)
        if self.offsite:
            manifest = offsite.copy(Entry(directory / manifest["id"], manifest), self.offsite, deadline).manifest
        keep = (*self.take.keep, *needed(self.take.ledger, self.take.releases), manifest["id"])
        return {"backup": manifest, "pruned": prune.prune(directory, self.take.app, self.retention, keep)}
