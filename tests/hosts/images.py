# SPDX-License-Identifier: GPL-3.0-or-later
"""Host images: a distribution's own packages, bootstrapped and imported. Built once for each content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from tests.hosts import keyrings, machine
from tests.hosts.engine import LABEL
from tests.hosts.packages import install_packages
from tests.hosts.state import CHECKOUT, STATE, HostsError, ensure_state, locked, run_as_root, say

REPOSITORY = "slipway-host"
RECIPE = CHECKOUT / "tests" / "images"


@dataclass(frozen=True)
class System:
    """An operating system that test hosts can run."""

    suite: str
    origin: str
    components: str
    keyring_package: str
    keyring: str
    like: str


SYSTEMS = {
    "debian12": System("bookworm", "Debian", "main", "debian-archive-keyring", "debian-archive-keyring.gpg", "sid"),
    "debian13": System("trixie", "Debian", "main", "debian-archive-keyring", "debian-archive-keyring.gpg", "sid"),
    "ubuntu24": System("noble", "Ubuntu", "main,universe", "ubuntu-keyring", "ubuntu-archive-keyring.gpg", "gutsy"),
}


def tag(os_name: str) -> str:
    """Return the image's name."""
    return f"{REPOSITORY}:{os_name}"


def ensure(client: docker.DockerClient, os_name: str) -> str:
    """Build and import the image unless one with the same content is there; return its name."""
    system = SYSTEMS[os_name]
    settings = machine.settings(
        origin=system.origin, suite=system.suite, components=system.components.replace(",", " ")
    )
    key = _key(system, settings)
    with locked(f"image-{os_name}"):
        if _present(client, os_name, key):
            return tag(os_name)
        started = time.monotonic()
        tarball = STATE / "images" / f"{os_name}-{key}.tar"
        if not tarball.exists():
            say(f"image {os_name}: bootstrapping {system.suite} (about a minute)")
            _bootstrap(system, settings, tarball)
        _import(client, os_name, key, tarball)
        say(f"image {os_name}: ready after {time.monotonic() - started:.0f} s")
    return tag(os_name)


def _key(system: System, settings: machine.Settings) -> str:
    digest = hashlib.sha256(repr((system, sorted(settings.files.items()), settings.mirror)).encode())
    for path in sorted(p for p in RECIPE.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(RECIPE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _present(client: docker.DockerClient, os_name: str, key: str) -> bool:
    try:
        return bool(client.images.get(tag(os_name)).labels.get(f"{LABEL}.key") == key)
    except docker.errors.ImageNotFound:
        return False


def _bootstrap(system: System, settings: machine.Settings, tarball: Path) -> None:
    if shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        install_packages("debootstrap")
    keyring = keyrings.ensure(package=system.keyring_package, file=system.keyring)
    ensure_state()
    tarball.parent.mkdir(parents=True, exist_ok=True)
    for stale in tarball.parent.glob(f"{tarball.name.rsplit('-', 1)[0]}-*.tar"):
        run_as_root(["rm", "-f", str(stale)])
    # A mirror is known only where the machine runs the same distribution; elsewhere debootstrap's default holds.
    mirror = settings.mirror or ""
    with tempfile.TemporaryDirectory() as overlay:
        for path, text in settings.files.items():
            target = Path(overlay, path.lstrip("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        Path(overlay).chmod(0o755)
        command = [str(RECIPE / "build.sh"), system.suite, system.like, mirror, str(keyring)]
        command += [system.components, overlay, str(STATE / "packages" / system.suite), str(tarball)]
        run_as_root(command, log=STATE / "images.log")


def _import(client: docker.DockerClient, os_name: str, key: str, tarball: Path) -> None:
    say(f"image {os_name}: importing")
    changes = ['CMD ["/usr/local/sbin/host-entry"]', "ENV container=docker", f"LABEL {LABEL}=image {LABEL}.key={key}"]
    with tarball.open("rb") as stream:
        # In pieces: the client announces chunks, and only an iterator makes it send them.
        pieces = iter(lambda: stream.read(1 << 20), b"")
        answer = client.api.import_image_from_stream(pieces, repository=REPOSITORY, tag=os_name, changes=changes)
    last = json.loads(answer.strip().splitlines()[-1])
    if "error" in last:
        raise HostsError(f"Importing {tarball} failed: {last['error']}")
