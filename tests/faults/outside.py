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
MEGABYTES = 1024
KEPT = ("shared", "venvs")
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
    """One file system of its own for what a deploy writes to; uploads and virtual environments stay where they are.

    It is laid and lifted while nothing is written: what is on it goes there and comes back.
    """

    host: Host
    app: str

    @property
    def _directories(self) -> tuple[str, ...]:
        return f"/srv/{self.app}", f"/var/lib/slipway/{self.app}", f"/etc/{self.app}"

    def _move(self, source: str, target: str, *, verb: str) -> str:
        kept = " ".join(f"-not -name {name}" for name in KEPT)
        return f"cd {source}; find . -mindepth 1 -maxdepth 1 {kept} -exec {verb} {target} {{}} +; cd /"

    def lay(self) -> None:
        """Move onto it."""
        lines = [f"set -e; mkdir -p {DISK}; mount -t tmpfs -o size={MEGABYTES}m,mode=0755 small {DISK}"]
        for number, path in enumerate(self._directories):
            lines.append(f"mkdir {DISK}/{number}; chmod --reference {path} {DISK}/{number}")
            lines.append(f"chown --reference {path} {DISK}/{number}")
            lines.append(self._move(path, f"{DISK}/{number}", verb="cp -a -t"))
        lines += [
            f"mkdir {DISK}/{name} {DISK}/0/{name}; mount --bind /srv/{self.app}/{name} {DISK}/{name}" for name in KEPT
        ]
        lines += [f"mount --bind {DISK}/{number} {path}" for number, path in enumerate(self._directories)]
        lines += [f"mount --bind {DISK}/{name} /srv/{self.app}/{name}" for name in KEPT]
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
        lines = ["set -e", *(f"umount -l /srv/{self.app}/{name}" for name in KEPT)]
        for number, path in enumerate(self._directories):
            lines.append(f"umount -l {path}")
            lines.append(self._move(path, "", verb="rm -rf"))
            lines.append(self._move(f"{DISK}/{number}", path, verb="cp -a -t"))
        lines += [*(f"umount -l {DISK}/{name}" for name in KEPT), f"umount -l {DISK}; rm -rf {DISK}"]
        self.host.sh("\n".join(lines))
