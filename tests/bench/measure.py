# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs things and takes their time."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import fleet

TASK = re.compile(r"^(?P<name>.+?) -+ (?P<seconds>[\d.]+)s$")
LOOK_EVERY = 0.05  # seconds, of all hosts together: who watches eight shares the cores with them
SWITCH = re.compile(r'"switch_ms": ([\d.]+)')


class BenchError(Exception):
    """Something that should have worked did not, so there is no figure."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One command: when it began (seconds since the epoch), how long it took, what it printed."""

    began: float
    seconds: float
    output: str
    phases: dict[str, float] = field(default_factory=dict)


def command(*argv: str, environment: dict[str, str] | None = None) -> Run:
    """Run a command that must succeed."""
    began, clock = time.time(), time.monotonic()
    done = subprocess.run(
        argv, cwd=fleet.ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - clock
    if done.returncode != 0:
        end = f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        raise BenchError(f"{' '.join(argv)} ended with {done.returncode}\n{end}")
    return Run(began=began, seconds=seconds, output=done.stdout)


def play(playbook: str, inventory: Path, *arguments: str, profile: bool = False) -> Run:
    """Run a playbook of the collection; with ``profile`` also how long each phase took."""
    environment = {"ANSIBLE_CONFIG": str(fleet.ROOT / "ansible.cfg")}
    if profile:
        environment |= {
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
            "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        }
    verbose = ["-v"] if profile else []
    run = command(
        "ansible-playbook", "-i", str(inventory), f"slipway.webapp.{playbook}", "-l", "staging", *verbose, *arguments,
        environment=environment,
    )  # fmt: skip
    return Run(began=run.began, seconds=run.seconds, output=run.output, phases=_phases(run.output))


def _phases(output: str) -> dict[str, float]:
    """Seconds by the word before `` | `` in a task's name."""
    phases: dict[str, float] = defaultdict(float)
    for line in output.splitlines():
        found = TASK.match(line.strip())
        if found:
            name = found["name"]
            phases[name.split(" | ")[0] if " | " in name else "other"] += float(found["seconds"])
    return dict(phases)


def switch_ms(output: str) -> float:
    """What the switch itself took, as the module ``route`` said."""
    found = SWITCH.findall(output)
    if not found:
        raise BenchError("no switch was reported")
    return max(float(number) for number in found)


class Watch:
    """Asks every host which release answers, until all have changed; the time of the last change."""

    def __init__(self, hosts: list[str], *, limit: float = 120.0, domain: str = fleet.DOMAIN) -> None:
        self._moved: dict[str, float] = {}
        self._limit = limit
        self._domain = domain
        self._threads = [threading.Thread(target=self._watch, args=(address,), daemon=True) for address in hosts]
        self._hosts = hosts

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def seconds(self) -> float:
        """From the start to the moment at which the last host answered with another release."""
        if len(self._moved) != len(self._hosts):
            raise BenchError(f"the traffic did not move on {sorted(set(self._hosts) - set(self._moved))}")
        return max(self._moved.values())

    def _watch(self, address: str) -> None:
        first = _answering(address, self._domain)
        while time.monotonic() - self._began < self._limit:
            if _answering(address, self._domain) != first:
                self._moved[address] = time.monotonic() - self._began
                return
            time.sleep(LOOK_EVERY * len(self._hosts))


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# Made once: it reads the certificates of all authorities, which costs more than the question.
TRUSTING = _trusting()


def _answering(address: str, domain: str) -> str:
    """The release that answers at an address, asked by the name that its certificate and its sites go by."""
    connection = http.client.HTTPSConnection(domain, context=TRUSTING, timeout=10)
    plain = socket.create_connection((address, 443), timeout=10)
    connection.sock = TRUSTING.wrap_socket(plain, server_hostname=domain)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().getheader("X-Slipway-Release", "")
    finally:
        connection.close()
