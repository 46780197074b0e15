# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption with age or GnuPG: the public key is on this host, the private key is not.

What is encrypted is what was verified: each file is hashed on its way into the archive and compared with the manifest.
Both formats authenticate what they hold, so that a ciphertext that was cut off or changed does not decrypt; on the way
back the files are compared with the manifest besides, and nothing is used before the program ended without an error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalogue, integrity, manifest, request, space, workspace
from .errors import BackupError
from .processes import Command, Deadline, Running
from .streams import CHUNK, Hashing, piped

FILES = {"age": "archive.tar.age", "gpg": "archive.tar.gpg"}
GPG = ("gpg", "--batch", "--no-tty", "--quiet", "--pinentry-mode", "cancel")


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """``keys``: armored public keys (gpg). ``identity_file``: a private key, only where it may be here: a trial."""

    tool: str
    recipients: tuple[str, ...]
    keys: str = ""
    identity_file: str = ""

    def __post_init__(self) -> None:
        request.check_one_of("encryption.tool", self.tool, tuple(FILES))
        if not self.recipients:
            raise request.refused("encryption.recipients", found="nobody", expected="at least one public key")
        for recipient in self.recipients:
            if not recipient or recipient.startswith("-") or "PRIVATE" in recipient or "SECRET" in recipient:
                raise request.refused("encryption.recipients", found="no public key", expected="public keys")
        if self.tool == "gpg" and not self.keys:
            raise request.refused("encryption.keys", found="nothing", expected="the recipients' armored public keys")
        if "PRIVATE KEY" in self.keys:
            raise request.refused(
                "encryption.keys", found="a private key", expected="public keys: this host needs none"
            )


def parse(given: dict[str, Any]) -> Encryption | None:
    """What a request says; nothing is no encryption. Raises BackupError bad_request."""
    return request.parse(Encryption, given, "encryption") if given else None


def encrypt(directory: Path, plain: dict[str, Any], wish: Encryption, deadline: Deadline) -> dict[str, Any]:
    """Put a backup's files into one ciphertext and remove them; returns the manifest with ``encryption`` filled in.

    The caller writes that manifest; ``directory`` must not be seen as a backup before. Raises BackupError, and then the
    plain files are as they were and there is no ciphertext.
    """
    target = directory / FILES[wish.tool]
    try:
        with workspace.worded(directory):
            with _encryptor(wish, deadline) as command:
                cipher = _pour(directory, plain, command, target, deadline)
            filled = {**plain, "encryption": _described(wish, target, cipher)}
            if wish.identity_file:
                gid = directory.stat().st_gid
                with decrypted(directory, filled, wish.identity_file, directory / "trial", deadline, gid=gid):
                    pass
            manifest.sync(directory)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    catalogue.remove(directory / "archive")
    return filled


def _described(wish: Encryption, target: Path, cipher: Hashing) -> dict[str, Any]:
    return {
        "tool": wish.tool,
        "recipients": list(wish.recipients),
        "file": target.name,
        "bytes": cipher.bytes,
        "cipher_sha256": cipher.sha256,
        "decrypted": bool(wish.identity_file),
    }


def _pour(directory: Path, plain: dict[str, Any], command: Command, target: Path, deadline: Deadline) -> Hashing:
    """Files into tar into the program into ``target``; returns what passed."""
    failures: list[Exception] = []
    with (
        piped(command, deadline, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running,
        open(target, "xb") as out,
    ):
        integrity.share(out.fileno(), directory)
        feeder = threading.Thread(target=_feed, args=(directory, plain, running, failures), daemon=True)
        feeder.start()
        assert running.child.stdout
        cipher = Hashing(running.child.stdout)
        shutil.copyfileobj(cipher, out, CHUNK)
        out.flush()
        os.fsync(out.fileno())
        feeder.join()
        if failures:
            raise failures[0]
        running.require_success(deadline, "encryption_failed", f"{directory.name} could not be encrypted")
    return cipher


def _feed(directory: Path, plain: dict[str, Any], running: Running, failures: list[Exception]) -> None:
    """Write the tar. After a failure the program is killed: an end of file would make it seal half an archive."""
    sink = running.child.stdin
    assert sink
    try:
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for one in plain["files"]:
                _add(archive, directory, one)
        sink.close()
    except BrokenPipeError:
        running.child.wait()  # it ended early: its exit code and its words say why
    except Exception as error:  # noqa: BLE001 - raised again by the thread that waits for this one
        failures.append(error)
        running.child.kill()


def _add(archive: tarfile.TarFile, directory: Path, one: dict[str, Any]) -> None:
    member = tarfile.TarInfo(one["path"])
    member.size, member.mode = one["bytes"], 0o640
    with open(directory / one["path"], "rb") as file:
        plain = Hashing(file)
        try:
            archive.addfile(member, plain)
        except BrokenPipeError:
            raise
        except OSError as error:  # the file is shorter than the manifest says
            raise _changed(one, str(error)) from error
        plain.drain()
    if (plain.bytes, plain.sha256) != (one["bytes"], one["sha256"]):
        raise _changed(one, f"{plain.bytes} bytes with SHA-256 {plain.sha256}")


@contextlib.contextmanager
def decrypted(
    directory: Path, sealed: dict[str, Any], identity_file: str, target: Path, deadline: Deadline, *, gid: int
) -> Iterator[Path]:
    """The plain files of an encrypted backup below ``target``, compared with the manifest, removed at the end.

    They take the group ``gid``, so that pg_restore may read them. Raises BackupError decryption_failed or no_space.
    """
    shutil.rmtree(target, ignore_errors=True)
    space.require_free(target.parent, sum(one["bytes"] for one in sealed["files"]), f"{directory.name}, decrypted")
    try:
        with workspace.worded(target):
            target.mkdir(mode=0o750)
            os.chmod(target, 0o750)
            os.chown(target, -1, gid)
            with _decryptor(sealed["encryption"]["tool"], identity_file, deadline) as command:
                _unpour(directory / sealed["encryption"]["file"], sealed, command, target, deadline)
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _unpour(cipher: Path, sealed: dict[str, Any], command: Command, target: Path, deadline: Deadline) -> None:
    """The ciphertext through the program through tar into files. What differs, lacks or is too much is refused."""
    failed, summary = "decryption_failed", f"{cipher.parent.name} could not be decrypted"
    expected = {one["path"]: one for one in sealed["files"]}
    with (
        open(cipher, "rb") as source,
        piped(command, deadline, stdin=source, stdout=subprocess.PIPE) as running,
    ):
        assert running.child.stdout
        try:
            with tarfile.open(fileobj=running.child.stdout, mode="r|") as archive:
                for member in archive:
                    _extract(archive, member, expected.pop(member.name, None), target)
        except (tarfile.TarError, EOFError) as error:
            # Most often the program stopped because of what it met, and says so.
            running.require_success(deadline, failed, summary, next_step=DAMAGED)
            raise BackupError(failed, summary, found=str(error), next_step=DAMAGED) from error
        Hashing(running.child.stdout).drain()  # a program whose reader leaves could not say how it ended
        running.require_success(deadline, failed, summary, next_step=DAMAGED)
    for one in expected.values():
        raise _changed(one, "no such file in the archive")


DAMAGED = (
    "Check that identity_file is the private key of a recipient; else the ciphertext is damaged: use another backup."
)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, one: dict[str, Any] | None, target: Path) -> None:
    """Only what the manifest names, so no member can lead out of ``target``."""
    stream = archive.extractfile(member) if member.isreg() else None
    if one is None or stream is None:
        raise BackupError(
            "files_changed",
            "The ciphertext holds something that the manifest does not know",
            found=repr(member.name),
            next_step="use another backup, or its copy elsewhere",
        )
    path = target / one["path"]
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        os.chmod(path.parent, 0o750)
        os.chown(path.parent, -1, target.stat().st_gid)
    plain = Hashing(stream)
    with open(path, "xb") as out:
        integrity.share(out.fileno(), target)
        shutil.copyfileobj(plain, out, CHUNK)
    if (plain.bytes, plain.sha256) != (one["bytes"], one["sha256"]):
        raise _changed(one, f"{plain.bytes} bytes with SHA-256 {plain.sha256}")


@contextlib.contextmanager
def _encryptor(wish: Encryption, deadline: Deadline) -> Iterator[Command]:
    recipients = [part for recipient in wish.recipients for part in ("--recipient", recipient)]
    if wish.tool == "age":
        yield Command(["age", "--encrypt", *recipients], polite=True)
        return
    with _keyring(wish.keys, deadline) as environment:
        # Whoever wrote the request chose the keys: that is the trust there is. The files are compressed already.
        options = ("--trust-model", "always", "--compress-algo", "none", "--encrypt")
        yield Command([*GPG, *options, *recipients], environment, polite=True)


@contextlib.contextmanager
def _decryptor(tool: str, identity_file: str, deadline: Deadline) -> Iterator[Command]:
    if not identity_file:
        raise BackupError(
            "identity_needed",
            "The backup is encrypted, and its private key is not at hand",
            found="no identity_file in the request",
            expected=f"the path of a file with the {tool} private key, which is kept elsewhere",
            next_step="bring the private key to this host for as long as the restore lasts, and name its path",
        )
    if tool == "age":
        yield Command(["age", "--decrypt", "--identity", identity_file])
        return
    try:
        keys = Path(identity_file).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise BackupError(
            "identity_needed",
            f"{identity_file} is no armored private key",
            found=str(error),
            expected="what `gpg --armor --export-secret-keys` writes",
            next_step="export the private key armored, and name that file",
        ) from error
    with _keyring(keys, deadline) as environment:
        yield Command([*GPG, "--decrypt"], environment)


@contextlib.contextmanager
def _keyring(keys: str, deadline: Deadline) -> Iterator[dict[str, str]]:
    """A GnuPG home of its own, with only these keys, gone at the end together with the agent that it started."""
    with tempfile.TemporaryDirectory(prefix="slipway-gpg-") as home, tempfile.TemporaryFile() as armored:
        environment = {"GNUPGHOME": home}
        with workspace.worded(Path(home)):
            armored.write(keys.encode())
            armored.seek(0)
        try:
            with Running(Command([*GPG, "--import"], environment), stdin=armored) as running:
                running.require_success(deadline, "encryption_keys", "gpg could not read the keys")
            yield environment
        finally:
            with Running(Command(["gpgconf", "--kill", "all"], environment)) as running:
                running.wait(deadline)


def _changed(one: dict[str, Any], found: str) -> BackupError:
    return BackupError(
        "files_changed",
        f"{one['path']} is not what was verified",
        found=found,
        expected=f"{one['bytes']} bytes with SHA-256 {one['sha256']}",
        next_step="take a new backup, and find out what wrote to this one",
    )
