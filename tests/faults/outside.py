# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to hosts from outside: they lose their power, hang, are cut off, or run out of disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.hosts import engine
from tests.hosts.state import run_as_root
from tests.integration.host import Host

BOOT_SECONDS = 90
SPARE_MEGABYTES = 1024
DISK = "/var/tmp/disk"


def _container(host: Host) -> Any:
    found = engine.require().containers.get(host.container)
    found.reload()
    return found


def power_off(host: Host) -> None:
    """As if somebody had pulled the plug."""
    _container(host).kill()


def freeze(host: Host) -> None:
    """No process gets any time; its connections stay open and say nothing."""
    _container(host).pause()


def _filter(host: Host, *rules: Sequence[str]) -> None:
    """Rules in the host's own packet filter, laid from this machine: bare hosts have no tool for it."""
    place = f"--net=/proc/{_container(host).attrs['State']['Pid']}/ns/net"
    for rule in rules:
        run_as_root(["nsenter", place, "iptables", *rule])


def cut_ssh(host: Host) -> None:
    """What goes to or comes from SSH disappears without a word; all else passes."""
    _filter(
        host,
        ("-I", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP"),
        ("-I", "OUTPUT", "-p", "tcp", "--sport", "22", "-j", "DROP"),
    )


def cut_off(host: Host) -> None:
    """Its network cable is out."""
    _filter(host, ("-I", "INPUT", "!", "-i", "lo", "-j", "DROP"), ("-I", "OUTPUT", "!", "-o", "lo", "-j", "DROP"))


def right(host: Host) -> None:
    """Power, time and network are back, whatever was taken; the host has booted."""
    container = _container(host)
    if container.status == "paused":
        container.unpause()
    if container.status not in ("paused", "running"):
        container.start()
        _await_boot(host)
    _filter(host, ("-F", "INPUT"), ("-F", "OUTPUT"))


def _await_boot(host: Host) -> None:
    end = time.monotonic() + BOOT_SECONDS
    while host.try_sh("systemctl is-system-running --wait")[1].strip() not in ("running", "degraded"):
        assert time.monotonic() < end, f"{host.name} did not boot in {BOOT_SECONDS} s"
        time.sleep(0.2)


@dataclass(frozen=True, kw_only=True)
class SmallDisk:
    """One file system of its own for all that a deploy writes to; uploads stay where they are.

    It is laid and lifted while nothing is written: what is on it goes there and comes back.
    """

    host: Host
    app: str

    @property
    def _directories(self) -> tuple[str, ...]:
        return f"/srv/{self.app}", f"/var/lib/slipway/{self.app}", f"/etc/{self.app}"

    def lay(self) -> None:
        """Move onto it."""
        shared = f"/srv/{self.app}/shared"
        size = f"$(($(du -cm {' '.join(self._directories)} | tail -n 1 | cut -f 1) + {SPARE_MEGABYTES}))m"
        lines = [f"set -e; mkdir -p {DISK}; mount -t tmpfs -o size={size},mode=0755 small {DISK}; mkdir {DISK}/shared"]
        lines += [f"mount --bind {shared} {DISK}/shared"]
        for number, path in enumerate(self._directories):
            lines.append(f"cp -a {path} {DISK}/{number}; mount --bind {DISK}/{number} {path}")
        lines.append(f"mount --bind {DISK}/shared {shared}")
        self.host.sh("\n".join(lines))

    def fill(self) -> None:
        """Not one byte is left."""
        self.host.try_sh(f"dd if=/dev/zero of={DISK}/filler bs=1M status=none")

    def empty(self) -> None:
        """There is room again."""
        self.host.sh(f"rm -f {DISK}/filler")

    def lift(self) -> None:
        """Move back, if it was laid."""
        if self.host.try_sh(f"mountpoint -q {DISK}")[0] != 0:
            return
        lines = [f"set -e; umount -l /srv/{self.app}/shared"]
        for number, path in enumerate(self._directories):
            kept = "-not -name shared" if number == 0 else ""
            lines.append(f"umount -l {path}")
            lines.append(f"find {path} -mindepth 1 -maxdepth 1 {kept} -exec rm -rf {{}} +")
            lines.append(
                f"cd {DISK}/{number}; find . -mindepth 1 -maxdepth 1 {kept} -exec cp -a {{}} {path}/ \\;; cd /"
            )
        lines.append(f"umount -l {DISK}/shared; umount -l {DISK}; rm -rf {DISK}")
        self.host.sh("\n".join(lines))
