# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the image of a release is run on this host: one set of options, one way to write a container's command line.

By the engine's command line: it passes standard input, output and the exit code on as any program does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

LABEL = "slipway.webapp"  # its value is the application
_LOG_SIZE, _LOG_FILES = "50m", 5  # the engine's own options hold for its own driver only
# Its mode would be that of the image's own /tmp, and still is with the runc of Debian 12.
_TMP = "/tmp:rw,nosuid,nodev,size=256m,mode=1777"
# Seconds that a container for one command outlives the patience of the client that waits for it.
_LONGER = 30


@dataclass(frozen=True)
class Options:
    """What provisioning has written down for all containers of an application (see roles/processes/defaults).

    ``memory`` as the engine writes sizes ('1g'), ``cpus`` cores, ``pids`` processes and threads; '' and 0 set no limit.
    ``mounts`` are SOURCE:TARGET:MODE, ``capabilities`` come back of all those that are dropped, for programs that bring
    them along in their file, and only without ``no_new_privileges``.
    """

    network: str = "host"
    memory: str = "1g"
    cpus: float = 2.0
    pids: int = 512
    read_only: bool = True
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = True
    mounts: tuple[str, ...] = ()
    log_driver: str = "journald"

    def words(self) -> list[str]:
        """The options that limit a container."""
        # More cores than there are is refused by the engine.
        cores = min(self.cpus, os.cpu_count() or 1) if self.cpus else 0
        return [
            # An image's own health check asks a port, as a rule, where there is none; units and gates know better.
            *("--network", self.network, "--restart", "no", "--init", "--no-healthcheck"),
            # What is shared with the host belongs to its real users: an engine that maps them must not do it here.
            *("--userns", "host"),
            # Also the no is said: what is not said is as the engine's own configuration has it.
            *(
                "--cap-drop",
                "ALL",
                "--security-opt",
                "no-new-privileges" + ("" if self.no_new_privileges else "=false"),
            ),
            *(word for name in self.capabilities for word in ("--cap-add", name)),
            *(("--memory", self.memory) if self.memory else ()),
            *(("--cpus", f"{cores:g}") if cores else ()),
            *(("--pids-limit", str(self.pids)) if self.pids else ()),
            *(("--read-only", "--tmpfs", _TMP) if self.read_only else ()),
            *(word for mount in self.mounts for word in ("--volume", mount)),
        ]

    def log_options(self, name: str) -> dict[str, str]:
        """What its log driver is told: no more than so much of it is kept; the journal has limits of its own."""
        bounds = {"max-size": _LOG_SIZE, "max-file": str(_LOG_FILES)}
        return {"tag": name, **({} if self.log_driver == "journald" else bounds)}

    def log(self, name: str) -> list[str]:
        """Where what it prints is kept."""
        told = [f"{option}={value}" for option, value in self.log_options(name).items()]
        return ["--log-driver", self.log_driver, *(word for one in told for word in ("--log-opt", one))]


def read_options(layout: Layout) -> Options:
    """The options of this host; an error where it was not provisioned for containers."""
    value = read_json(layout.container_options)
    if value is None:
        raise SlipwayError(
            "This host is not ready for containers",
            found=f"no {layout.container_options}",
            next_step="run provision.yml with webapp_runtime: docker or swarm",
        )
    known = {one.name for one in fields(Options)}
    given: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one for name, one in value.items() if name in known
    }
    return Options(**given)


@dataclass(frozen=True)
class Container:
    """One container: what it is called, which image it runs as which user and group, with what.

    ``environment`` is shown by the engine, so it holds nothing secret; ``inherited`` are names whose values its client
    takes from its own environment. ``writable`` are directories of the host, at the same place inside.
    """

    name: str
    image: str
    owner: tuple[int, int]
    words: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    inherited: Sequence[str] = ()
    readable: Sequence[str] = ()
    writable: Sequence[str] = ()

    def arguments(self, options: Options) -> list[str]:
        """What follows `docker create` or `docker run`. The first word replaces the image's own entry point."""
        return [
            # Pulled when it was staged, with the login that only that run had; a stranger is refused by the registry.
            *("--pull", "never"),
            *("--name", self.name, "--user", f"{self.owner[0]}:{self.owner[1]}"),
            *(word for name, value in self.labels.items() for word in ("--label", f"{name}={value}")),
            *options.words(),
            *options.log(self.name),
            *(word for path in self.readable for word in ("--volume", f"{path}:{path}:ro")),
            *(word for path in self.writable for word in ("--volume", f"{path}:{path}")),
            *(word for name, value in self.environment.items() for word in ("--env", f"{name}={value}")),
            *(word for name in self.inherited for word in ("--env", name)),
            *("--entrypoint", self.words[0], self.image),
            *self.words[1:],
        ]


def serving(
    layout: Layout,
    *,
    process: str,
    slot: str,
    image: str,
    owner: tuple[int, int],
    words: Sequence[str],
    given: Mapping[str, str],
) -> Container:
    """The container of a slot's process. Its variables stand in the slot's file, which is read inside; ``given`` are
    those of its unit.
    """
    shown = [layout.library, layout.home, layout.etc_gunicorn, layout.slot_env(slot), layout.run]
    return Container(
        name=layout.container(process, slot),
        image=image,
        owner=owner,
        words=["python", layout.container_program, "launch", layout.slot_env(slot), *words],
        labels={LABEL: layout.app, f"{LABEL}.process": process, f"{LABEL}.slot": slot},
        environment={
            **given,
            "SLIPWAY_SLOT": slot,
            "STATIC_ROOT": os.path.join(layout.slot_link(slot), "static"),
            "MEDIA_ROOT": layout.media,
            "NOTIFY_SOCKET": layout.notify(process, slot),
            "PYTHONPATH": layout.library,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        },
        # Of what is not there the engine would make a directory.
        readable=[path for path in shown if os.path.exists(path)],
        writable=[layout.shared, os.path.dirname(layout.socket(slot))],
    )


def once(
    layout: Layout,
    *,
    image: str,
    name: str,
    owner: tuple[int, int],
    words: Sequence[str],
    environment: Mapping[str, str],
    seconds: float,
    writable: Sequence[str] = (),
) -> Container:
    """A container for one command, such as a migration. Its variables are those of the client's own environment.

    The engine goes on with it when its client was killed, so it has a deadline inside: some time after the ``seconds``
    that the client waits.
    """
    return Container(
        name=name,
        image=image,
        owner=owner,
        words=["python", layout.container_program, "once", str(math.ceil(seconds) + _LONGER), *words],
        labels={LABEL: layout.app},
        inherited=sorted(environment),
        readable=[layout.library, layout.home],
        writable=[layout.shared, *writable],
    )
