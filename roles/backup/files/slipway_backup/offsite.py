# SPDX-License-Identifier: GPL-3.0-or-later
"""Off-site copies with rclone or restic. What arrived is read back to its end and hashed: only then it counts.

A copy has the layout of the catalogue's entry, its manifest included and written last, so that a directory fetched from
there is an entry again. Old copies are left to the other side (lifecycle rules, ``restic forget``): this host needs no
right to delete them, and who breaks into it has none.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import catalogue, integrity, manifest, request
from .catalogue import Entry
from .errors import BackupError
from .processes import Command, Deadline, Running, output
from .streams import Hashing, piped

TOOLS = ("rclone", "restic")
_USERINFO = re.compile(r"://[^/\s]*@")
NEXT = "see the message; the backup itself is good and stays in the catalogue"


@dataclass(frozen=True, kw_only=True)
class Offsite:
    """``remote``: rclone's destination. ``repository``: restic's. Secrets belong to ``environment``."""

    tool: str
    remote: str = ""
    repository: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        request.check_one_of("offsite.tool", self.tool, TOOLS)
        wanted, other = ("remote", "repository") if self.tool == "rclone" else ("repository", "remote")
        if not getattr(self, wanted) or getattr(self, other):
            raise request.refused("offsite", found=f"no {wanted}, or a {other}", expected=f"{wanted} alone")
        if self.remote.startswith("-") or (self.remote.startswith(":") and "," in self.remote):
            raise request.refused(
                "offsite.remote", found="options in it", expected="a path of a remote; RCLONE_... in environment"
            )

    @property
    def destination(self) -> str:
        """Where the copies are, for people."""
        return without_userinfo(self.remote or self.repository)


def without_userinfo(text: str) -> str:
    """Text without the user and password in its URLs: the manifest is read by more people than the request."""
    return _USERINFO.sub("://", text)


def parse(given: dict[str, Any]) -> Offsite | None:
    """What a request says; nothing is no copy. Raises BackupError bad_request."""
    return request.parse(Offsite, given, "offsite") if given else None


def copy(entry: Entry, wish: Offsite, deadline: Deadline) -> Entry:
    """Copy a verified backup and verify what arrived; the manifest then says so, here and there.

    Raises BackupError offsite_failed or offsite_differs; the manifest here then says why there is no copy.
    """
    try:
        with catalogue.lock(entry.directory, exclusive=False):
            made = _COPIES[wish.tool](entry, wish, deadline)
    except BackupError as error:
        failed = {"tool": wish.tool, "verified": False, "error": without_userinfo(str(error))}
        catalogue.change(entry, lambda old: {**old, "offsite": failed})
        error.details.setdefault("backup", entry.id)
        raise
    return catalogue.change(entry, lambda old: {**old, "offsite": made})


def _record(entry: Entry, wish: Offsite, **more: Any) -> dict[str, Any]:
    sizes = [one["bytes"] for one in integrity.files(entry.manifest)]
    return {
        "tool": wish.tool,
        "destination": wish.destination,
        "verified": True,
        "at": catalogue.now().isoformat(timespec="seconds"),
        "files": len(sizes),
        "bytes": sum(sizes),
        **more,
    }


def _rclone(entry: Entry, wish: Offsite, deadline: Deadline) -> dict[str, Any]:
    """Files first, each read back; then the manifest that says so."""
    there = f"{wish.remote.rstrip('/')}/{entry.id}"
    for one in integrity.files(entry.manifest):
        _run(wish, ["rclone", "copyto", str(entry.directory / one["path"]), f"{there}/{one['path']}"], deadline)
        _read_back(wish, f"{there}/{one['path']}", one, deadline)
    made = _record(entry, wish)
    with tempfile.TemporaryDirectory(prefix="slipway-offsite-") as name:
        final = Path(name)
        manifest.write(final, {**entry.manifest, "offsite": made})
        data = (final / manifest.NAME).read_bytes()
        _run(wish, ["rclone", "copyto", str(final / manifest.NAME), f"{there}/{manifest.NAME}"], deadline)
        _read_back(wish, f"{there}/{manifest.NAME}", integrity.described(manifest.NAME, data), deadline)
    return made


def _read_back(wish: Offsite, there: str, one: dict[str, Any], deadline: Deadline) -> None:
    with piped(
        _command(wish, ["rclone", "cat", there]), deadline, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as running:
        assert running.child.stdout
        arrived = Hashing(running.child.stdout)
        arrived.drain()
        running.require_success(deadline, "offsite_failed", f"{there} could not be read back", next_step=NEXT)
    _require_same(there, arrived, one)


def _restic(entry: Entry, wish: Offsite, deadline: Deadline) -> dict[str, Any]:
    """One snapshot of the entry's directory; all of it is then streamed back as a tar."""
    argv = ["restic", "backup", "--json", f"--tag=slipway,{entry.manifest['app']},{entry.id}", str(entry.directory)]
    said = output(_command(wish, argv), deadline, code="offsite_failed", summary=f"{entry.id} could not be copied")
    snapshot = _snapshot(said)
    with piped(
        _command(wish, ["restic", "dump", snapshot, str(entry.directory)]),
        deadline,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as running:
        _compare(running, entry, deadline)
        running.require_success(deadline, "offsite_failed", f"{entry.id} could not be read back", next_step=NEXT)
    return _record(entry, wish, snapshot=snapshot)


def _snapshot(said: str) -> str:
    """The id in restic's summary, its last message."""
    for line in reversed(said.splitlines()):
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if message.get("message_type") == "summary":
            return str(message["snapshot_id"])
    raise BackupError("offsite_failed", "restic made no snapshot", found=said[-1000:], next_step=NEXT)


def _compare(running: Running, entry: Entry, deadline: Deadline) -> None:
    """The tar that restic streams: each file as in the manifest, none missing."""
    assert running.child.stdout
    data = (entry.directory / manifest.NAME).read_bytes()
    wanted = {one["path"]: one for one in integrity.files(entry.manifest)}
    wanted[manifest.NAME] = integrity.described(manifest.NAME, data)
    prefix = str(entry.directory).strip("/") + "/"
    try:
        with tarfile.open(fileobj=running.child.stdout, mode="r|") as archive:
            for member in archive:
                name = member.name.strip("/").removeprefix(prefix)
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None or name not in wanted:
                    continue
                arrived = Hashing(stream)
                arrived.drain()
                _require_same(name, arrived, wanted.pop(name))
        Hashing(running.child.stdout).drain()
    except tarfile.TarError as error:
        running.require_success(deadline, "offsite_failed", f"{entry.id} could not be read back", next_step=NEXT)
        raise _differs(entry.id, str(error), "a whole archive") from error
    for name in wanted:
        raise _differs(name, "no such file", "a copy of it")


def _require_same(name: str, arrived: Hashing, one: dict[str, Any]) -> None:
    if (arrived.bytes, arrived.sha256) != (one["bytes"], one["sha256"]):
        found = f"{arrived.bytes} bytes with SHA-256 {arrived.sha256}"
        raise _differs(name, found, f"{one['bytes']} bytes with SHA-256 {one['sha256']}")


def _differs(name: str, found: str, expected: str) -> BackupError:
    return BackupError(
        "offsite_differs",
        f"What arrived of {name} is not what was sent",
        found=found,
        expected=expected,
        next_step=NEXT,
    )


def _command(wish: Offsite, argv: list[str]) -> Command:
    where = {"RESTIC_REPOSITORY": wish.repository} if wish.tool == "restic" else {}
    return Command(argv, {**where, **wish.environment}, polite=True)


def _run(wish: Offsite, argv: list[str], deadline: Deadline) -> None:
    with Running(_command(wish, argv)) as running:
        running.require_success(deadline, "offsite_failed", f"{argv[-1]} could not be written", next_step=NEXT)


_COPIES: dict[str, Callable[[Entry, Offsite, Deadline], dict[str, Any]]] = {"rclone": _rclone, "restic": _restic}
