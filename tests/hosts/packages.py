# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the distribution on the developer's machine."""

from __future__ import annotations

import contextlib
import shutil

from tests.hosts.state import HostsError, ensure_state, locked, run_as_root

# Another apt may be at work: wait for it instead of failing.
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=600", "-qq")


def update_package_lists() -> None:
    """Learn what the repositories hold, where the machine has apt.

    A failure is left to the install that follows: a developer's machine may have a repository that is out of order, or
    another apt that holds the lists, and still hold what is needed.
    """
    if shutil.which("apt-get") is not None:
        with locked("apt"), contextlib.suppress(HostsError):
            run_as_root([*_APT, "update"], log=ensure_state() / "apt.log")


def install_packages(*names: str) -> None:
    """Install packages."""
    if shutil.which("apt-get") is None:
        raise HostsError(f"This machine has no apt-get: install {' '.join(names)} by hand, then run this again.")
    update_package_lists()
    run_as_root([*_APT, "install", "-y", "--no-install-recommends", *names], log=ensure_state() / "apt.log")
