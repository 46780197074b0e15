# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports through which the domain touches the outside: commands, time, systemd. Tests put fakes here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Completed:
    """How a command ended. ``timed_out`` commands were killed; their ``code`` means nothing."""

    code: int
    stdout: str
    stderr: str
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out


class Runner(Protocol):
    """Runs programs. Secrets go into ``environment`` or ``stdin``, never into ``command``."""

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
        stdin: str = "",
    ) -> Completed:
        """Run ``command``, with ``user`` as that user in a clean environment; ``timeout`` in seconds, 0 for none."""


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit: ``active`` is its ActiveState, ``since`` an ISO 8601 time in UTC or ''.

    ``status`` is what its main process last said of itself.
    """

    name: str
    active: str
    sub: str
    enabled: bool
    since: str = ""
    status: str = ""

    @property
    def running(self) -> bool:
        return self.active == "active"


class Systemd(Protocol):
    """The service manager. Several units are one question or one command, because each costs a process."""

    def states(self, units: Sequence[str]) -> dict[str, UnitState]:
        """The state of each unit; of a unit that nobody has installed too."""

    def start(self, units: Sequence[str], *, timeout: float) -> None:
        """Start side by side and wait until all are ready; a failure carries the last log lines of those that fail."""

    def begin(self, units: Sequence[str]) -> None:
        """Start them, and do not wait."""

    def stop(self, units: Sequence[str], *, wait: bool = True) -> None:
        """Stop; without ``wait`` return as soon as the stop is queued."""

    def enable(self, units: Sequence[str]) -> None:
        """Start them at boot."""

    def disable(self, units: Sequence[str]) -> None:
        """Do not start them at boot."""

    def stop_later(self, name: str, units: Sequence[str], *, seconds: int, only_if: Sequence[str] = ()) -> None:
        """Stop ``units`` after ``seconds``, by a transient timer called ``name``, if ``only_if`` then exits 0."""

    def start_later(self, name: str, *, seconds: int) -> None:
        """Start the service ``name`` after ``seconds``, by a transient timer of the same name."""

    def cancel(self, name: str) -> None:
        """Cancel a transient timer, if it is there, and what it has started."""

    def cancel_timer(self, name: str) -> None:
        """Cancel a transient timer, if it is there; what it has started goes on."""

    def timer_active(self, name: str) -> bool:
        """True while the transient timer waits."""

    def log(self, unit: str, *, lines: int = 20) -> list[str]:
        """The unit's last log lines."""


@dataclass(frozen=True)
class Image:
    """An image that the engine has: ``architecture`` as the engine says it, such as amd64; its names by digest."""

    architecture: str
    labels: Mapping[str, str] = field(default_factory=dict)
    digests: tuple[str, ...] = ()


class Engine(Protocol):
    """The container engine of this host. References name an image by its digest."""

    def image(self, reference: str) -> Image | None:
        """The image, if the engine has it."""

    def pull(self, reference: str, *, username: str = "", password: str = "") -> None:
        """Fetch it from its registry. The login is used once and kept nowhere."""

    def files(self, reference: str, path: str) -> Iterator[bytes]:
        """A directory of the image, as the bytes of a tar archive. Nothing of the image runs."""

    def remove(self, reference: str) -> None:
        """Give its room back, with the names that a build here gave it, unless a container still uses it."""

    def forget(self, names: Sequence[str]) -> None:
        """Take names away, and each image that has none left, unless a container still uses it."""


@dataclass(frozen=True)
class Service:
    """A service of the swarm. ``spec`` is what it shall be, as the engine's API has it.

    ``update`` is how far the engine is with that: updating, paused, completed, rollback_started, rollback_paused,
    rollback_completed, or ''; ``said`` is its own word on it.
    """

    id: str
    version: int
    spec: Mapping[str, Any]
    update: str = ""
    said: str = ""

    @property
    def replicas(self) -> int:
        """How many tasks it shall have."""
        return int(((self.spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas", 0))


@dataclass(frozen=True)
class Task:
    """One task of a service: ``state`` is what it is, ``desired`` what the engine wants it to be."""

    id: str
    node: str
    state: str
    desired: str
    labels: Mapping[str, str]
    error: str = ""


@dataclass(frozen=True)
class Node:
    """A host of the swarm. ``cores`` is how many it has, 0 where the engine does not say."""

    id: str
    version: int
    ready: bool
    spec: Mapping[str, Any]
    cores: float = 0.0

    @property
    def labels(self) -> Mapping[str, str]:
        """What placement goes by."""
        found: Mapping[str, str] = self.spec.get("Labels") or {}
        return found


class Swarm(Protocol):
    """The swarm that this host is a manager of. Specifications are those of the engine's API."""

    def services(self, app: str) -> dict[str, Service]:
        """The services of an application, by process."""

    def create(self, spec: Mapping[str, Any]) -> None:
        """Make a service."""

    def update(self, service: Service, spec: Mapping[str, Any]) -> None:
        """Give a service another specification; the engine begins to bring it about."""

    def remove(self, service: Service) -> None:
        """Take a service away, and its tasks with it."""

    def tasks(self, service: str) -> list[Task]:
        """The tasks of a service, also those that have ended."""

    def log(self, service: str, task: str, *, lines: int = 20) -> list[str]:
        """The last lines that a task has printed, as far as they can be had."""

    def secrets(self, app: str) -> dict[str, str]:
        """The ids of the application's secrets, by name."""

    def keep_secret(self, app: str, name: str, text: str) -> str:
        """Store a secret; its id."""

    def forget_secret(self, identity: str) -> None:
        """Remove a secret, unless a service still uses it."""

    def nodes(self) -> list[Node]:
        """The hosts of the swarm."""

    def label(self, node: Node, labels: Mapping[str, str]) -> None:
        """Give a node these labels, and no others."""
