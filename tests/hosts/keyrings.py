# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that distributions sign their packages with."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

from tests.hosts import machine
from tests.hosts.packages import install_packages
from tests.hosts.state import STATE, HostsError, run_as_root

_INSTALLED = Path("/usr/share/keyrings")


def ensure(*, package: str, file: str) -> Path:
    """Return the keyring, from this machine or from a package of its distribution."""
    fetched = STATE / "keyrings" / file
    for path in (_INSTALLED / file, fetched):
        if path.exists():
            return path
    try:
        install_packages(package)
    except HostsError:
        # Debian 12 has the keys of Ubuntu in its backports only. The file is enough: nothing is installed from there.
        _fetch_from_backports(package=package, file=file, target=fetched)
        return fetched
    return _INSTALLED / file


def _fetch_from_backports(*, package: str, file: str, target: Path) -> None:
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    mirror, _extra = machine.sources(known=machine.repositories(), origin="Debian", suite=suite, components="main")
    if mirror is None:
        raise HostsError(f"This machine's distribution has no package {package}: install {_INSTALLED / file} by hand.")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        (place / "lists" / "partial").mkdir(parents=True)
        (place / "list").write_text(f"deb {mirror} {suite}-backports main\n")
        apt = ["apt-get", "-qq", "-o", f"Dir::Etc::SourceList={place}/list", "-o", "Dir::Etc::SourceParts=/dev/null"]
        apt += ["-o", f"Dir::State::Lists={place}/lists", "-o", "APT::Sandbox::User=root"]
        log = STATE / "apt.log"
        run_as_root([*apt, "update"], log=log)
        run_as_root(["sh", "-c", 'cd "$0" && "$@"', scratch, *apt, "download", package], log=log)
        run_as_root(["sh", "-c", 'dpkg-deb -x "$0"/*.deb "$0"', scratch], log=log)
        found = place / "usr" / "share" / "keyrings" / file
        run_as_root(["install", "-D", "-m", "0644", str(found), str(target)], log=log)
        run_as_root(["sh", "-c", 'rm -rf "$0"/*', scratch], log=log)
