# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the fleet without Ansible: over SSH at files and processes, and at the public address as a visitor does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
import paramiko

from tests.hosts.keys import KEY, KNOWN_HOSTS
from tests.integration.host import HERE, HostError
from tests.integration.site import Site
from tests.scenarios.ask import ask

WEB = ("app1", "app2", "app3")
APPLICATION = (*WEB, "worker1")
SSH_SECONDS = 6
PUBLIC_SECONDS = 6
VISITS = 6


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a fleet is: ``release`` is what every host that could be seen serves, '' when they differ.

    pending: hosts on which something has been begun and is not ended. One that has ended it and only waits until others
    have heard of that is not among them.
    """

    release: str
    problem: str
    pending: tuple[str, ...] = ()


def _live(look: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The one slot that the route leads to, '' without one, and what is in it."""
    slot = next(iter(look["route"])) if len(look["route"]) == 1 else ""
    return slot, look["slots"].get(slot, {})


def serves(look: Mapping[str, Any], *, waiting: Collection[str] = ()) -> tuple[str, str]:
    """The one whole release that a host serves, or what is wrong with it; see ``Eyes.waiting``."""
    slot, state = _live(look)
    if not slot:
        return "", f"the route leads to {sorted(look['route']) or 'nowhere'}"
    for process, unit in state["processes"].items():
        well = ("active", "activating") if process in waiting else ("active",)
        if unit["active"] not in well or unit["release"] != state["release"]:
            return "", f"{process} of {slot} is {unit['active']} with {unit['release'] or 'nothing'}"
    return str(state["release"]), ""


def _ended(look: Mapping[str, Any], *, waiting: Collection[str]) -> bool:
    """Whether nothing was begun on a host that could still change it, but for what waits."""
    processes = _live(look)[1].get("processes", {})
    waits = any(unit["active"] == "activating" for name, unit in processes.items() if name in waiting)
    return not look["pending"] or look["pending"]["done"] or waits


def judged(looks: Mapping[str, Mapping[str, Any]], public: Iterable[str], *, waiting: Collection[str] = ()) -> Verdict:
    """All hosts that were seen, and all public answers, name the same release."""
    pending = tuple(name for name, look in looks.items() if not _ended(look, waiting=waiting))
    found = {name: serves(look, waiting=waiting) for name, look in looks.items()}
    problems = [f"{name}: {problem}" for name, (_release, problem) in found.items() if problem]
    if problems or not looks:
        return Verdict(release="", problem="; ".join(problems) or "no host could be seen", pending=pending)
    releases = {release for release, _problem in found.values()}
    if len(releases) > 1:
        told = ", ".join(f"{name} {release}" for name, (release, _problem) in found.items())
        return Verdict(release="", problem=f"the hosts differ: {told}", pending=pending)
    (release,) = releases
    strangers = {answer for answer in public if answer != release}
    if strangers:
        return Verdict(release="", problem=f"hosts serve {release}, visitors get {sorted(strangers)}", pending=pending)
    return Verdict(release=release, problem="", pending=pending)


class Eyes:
    """One connection to each host, of its own and by another program than Ansible's."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._clients: dict[str, paramiko.SSHClient] = {}
        # Hosts that nobody can reach now, those that SSH alone cannot reach, and whether visitors can get an answer.
        self.absent: set[str] = set()
        self.mute: set[str] = set()
        self.public = True
        # Processes that nobody can start now, as what they need is away: they are of the right release, and wait.
        self.waiting: set[str] = set()

    def _client(self, name: str) -> paramiko.SSHClient:
        if name not in self._clients:
            client = paramiko.SSHClient()
            client.load_host_keys(str(KNOWN_HOSTS))
            limits = {"timeout": SSH_SECONDS, "banner_timeout": SSH_SECONDS, "auth_timeout": SSH_SECONDS}
            key = {"key_filename": str(KEY), "allow_agent": False, "look_for_keys": False}
            client.connect(self._site.hosts[name].address, username="deploy", **key, **limits)
            self._clients[name] = client
        return self._clients[name]

    def _by_ssh(self, name: str) -> dict[str, Any]:
        try:
            # The program goes through standard input: it is longer than a command line should be.
            given, said, complained = self._client(name).exec_command(
                f"sudo -n python3 -I - {self._site.app}", timeout=SSH_SECONDS
            )
            given.write((HERE / "look_host.py").read_text())
            given.channel.shutdown_write()
            text = said.read().decode()
            if said.channel.recv_exit_status() != 0:
                raise HostError(f"{name}: {complained.read().decode()[-500:]}")
            found: dict[str, Any] = json.loads(text)
        except Exception:
            self._forget(name)
            raise
        return found

    def _forget(self, name: str) -> None:
        client = self._clients.pop(name, None)
        if client is not None:
            client.close()

    def look(self, name: str) -> dict[str, Any]:
        """One host; where SSH was cut by us, through the container engine."""
        if name in self.mute:
            return self._site.hosts[name].look(self._site.app)
        try:
            return self._by_ssh(name)
        except (paramiko.SSHException, OSError, EOFError):
            return self._by_ssh(name)  # a connection that was open when something happened to the host

    def _public(self) -> list[str]:
        """The release that each of some visits meets; '' for one without an answer."""
        site = self._site
        asked: dict[str, Any] = {"name": site.domain, "paths": ["/health"], "scheme": "https", "text": None}

        async def visit() -> str:
            with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, TimeoutError):
                (found,) = await asyncio.wait_for(
                    ask(address=site.hosts[site.edge].address, **asked), timeout=PUBLIC_SECONDS
                )
                return str(json.loads(found["body"])["release"])
            return ""

        async def visits() -> list[str]:
            return list(await asyncio.gather(*(visit() for _number in range(VISITS))))

        return asyncio.run(visits())

    def verdict(self) -> Verdict:
        """The whole fleet, now."""
        names = [name for name in APPLICATION if name not in self.absent]
        with ThreadPoolExecutor(len(names) + 1) as pool:
            public = pool.submit(self._public) if self.public else None
            looks = {name: pool.submit(self.look, name) for name in names}
            found, unseen = {}, []
            for name, look in looks.items():
                try:
                    found[name] = look.result()
                except (HostError, paramiko.SSHException, OSError, EOFError, ValueError) as error:
                    unseen.append(f"{name} cannot be seen: {type(error).__name__}: {error}")
            answers = public.result() if public else []
        if unseen:
            return Verdict(release="", problem="; ".join(unseen))
        return judged(found, answers, waiting=self.waiting)

    def close(self) -> None:
        for name in list(self._clients):
            self._forget(name)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """How a fleet came to rest; ``seconds`` is None when it did not. The limits are in seconds."""

    seconds: float | None
    verdict: Verdict


# So long nothing changes any more before the fleet is said to be at rest, or to be stuck.
CALM_SECONDS = 3.0
STUCK_SECONDS = 25.0
POLL_SECONDS = 1.5
# A look takes half a second of a processor, which the run needs.
POLL_SECONDS_OF_A_RUN = 3.0


def watch(eyes: Eyes, *, since: float, limit: float, active: Any) -> Watched:
    """Look until every host serves the same whole release, and nothing is left that could change it.

    ``active`` tells whether the run lives. The seconds are those from ``since`` to the first look from which on all
    looks agreed.
    """
    steady: tuple[float, str] | None = None
    idle = time.monotonic()
    while True:
        began, running = time.monotonic(), bool(active())
        verdict = eyes.verdict()
        if not verdict.release:
            steady = None
        elif steady is None or steady[1] != verdict.release:
            steady = began, verdict.release
        if running or verdict.pending:
            idle = began
        elif steady is not None and began - max(steady[0], idle) >= CALM_SECONDS:
            return Watched(seconds=round(max(0.0, steady[0] - since), 1), verdict=verdict)
        if began - since > limit or (steady is None and began - idle > STUCK_SECONDS):
            return Watched(seconds=None, verdict=verdict)
        time.sleep(POLL_SECONDS_OF_A_RUN if running else POLL_SECONDS)
