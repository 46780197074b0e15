# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows the proof of a backup: encryption, a copy elsewhere that is read back, and retention, in this order.

A copy elsewhere is made of what stays here, so of the ciphertext; and nothing old goes before the new one is safe.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import encryption, offsite, prune, retention
from .catalogue import Entry
from .manifest import Manifest
from .processes import Deadline
from .request import Take


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
        keep = (*self.take.keep, manifest["id"])
        return {"backup": manifest, "pruned": prune.prune(directory, self.take.app, self.retention, keep)}
