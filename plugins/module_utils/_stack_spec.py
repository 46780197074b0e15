# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a swarm is asked for: the specification of each service of an application, as the engine's API takes it.

Pure. A service is one process (web, worker, beat) of one pair of release and configuration; what differs between two
pairs is in its template alone, so that the engine replaces tasks one by one and knows what to go back to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment
from ansible_collections.slipway.webapp.plugins.module_utils._container import LABEL, Options
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

TEMPLATE = f"{LABEL}.template"  # a digest of the whole template: tells the tasks of two specifications apart
SECOND = 1_000_000_000  # of the engine's durations
HEALTH_EVERY, HEALTH_TIMEOUT, HEALTH_RETRIES = 5, 10, 3
STARTING = 30  # seconds beyond its own deadline that a task has before the engine counts against it
RESTART_DELAY = 5
_SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TMP_BYTES = 256 << 20


@dataclass(frozen=True)
class StackOptions:
    """What provisioning has written down for the services of an application (roles/processes/vars).

    ``replicas`` also says which processes there are; ``commands`` are the words after the launcher, in which {socket}
    and {task} are filled in on the node. In seconds, ``stop_seconds`` is what a task has to end, ``deadline``
    to become healthy, ``monitor`` is how long the engine watches it then. ``health`` is what a web task asks itself.
    """

    replicas: Mapping[str, int]
    commands: Mapping[str, Sequence[str]]
    stop_seconds: Mapping[str, int]
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    deadline: int = 60
    monitor: int = 5

    def seconds(self, process: str) -> int:
        """How long the engine may take to bring the process everywhere, or to take it back."""
        each = self.deadline + STARTING + self.monitor + HEALTH_EVERY * HEALTH_RETRIES
        waits = self.stop_seconds[process] if process == "beat" else 0
        return 60 + (each + waits) * max(1, self.replicas[process])


def read_options(layout: Layout) -> StackOptions | None:
    """The options of this host, or None where the application does not run in a swarm, or others conduct it."""
    value = read_json(layout.stack_options)
    if value is None:
        return None
    known = {one.name for one in fields(StackOptions)}
    return StackOptions(**{name: one for name, one in value.items() if name in known})


@dataclass(frozen=True)
class Wish:
    """What the services shall run: a pair, its slot's name, its image, and the secret that holds its variables."""

    assignment: Assignment
    slot: str
    image: str
    owner: tuple[int, int]
    secret_id: str = ""


def release_label(app: str, release: str) -> str:
    """The label of a node that has this release whole."""
    return f"{LABEL}.{app}.release.{re.sub('[^a-z0-9_.-]', '_', release.lower())}"


def process_label(app: str, process: str) -> str:
    """The label of a node that may run this process."""
    return f"{LABEL}.{app}.{process}"


def host_label() -> str:
    """The label of a node whose value is its name in the inventory."""
    return f"{LABEL}.host"


def service_name(app: str, process: str) -> str:
    return f"{app}-{process}"


def secret_name(app: str, config: str) -> str:
    """A secret cannot be changed, so each configuration has its own, and the engine can go back to the former one."""
    return f"{app}-{config}"


def secret_path(app: str) -> str:
    """Where a task finds its variables: in memory, for its own user only."""
    return f"/run/secrets/{app}.env"


def _size(text: str) -> int:
    return int(text[:-1]) * _SIZES[text[-1]]


def _limits(options: Options) -> dict[str, Any]:
    return {
        **({"MemoryBytes": _size(options.memory)} if options.memory else {}),
        **({"NanoCPUs": int(options.cpus * SECOND)} if options.cpus else {}),
        **({"Pids": options.pids} if options.pids else {}),
    }


def _bind(source: str, *, writable: bool = False, target: str = "") -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target or source,
        **({} if writable else {"ReadOnly": True}),
    }


def _mounts(layout: Layout, process: str, options: Options) -> list[dict[str, Any]]:
    """Nothing of it may be missing on a node: the engine refuses such a task, and the node with it."""
    given = [one.split(":") for one in options.mounts]
    return [
        _bind(layout.library),
        _bind(layout.home),
        *([_bind(layout.etc_gunicorn), _bind(layout.tasks, writable=True)] if process == "web" else []),
        _bind(layout.shared, writable=True),
        *(_bind(one[0], target=one[1], writable=one[2:] != ["ro"]) for one in given),
        *(
            [{"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"SizeBytes": _TMP_BYTES, "Mode": 0o1777}}]
            if options.read_only
            else []
        ),
    ]


def _environment(layout: Layout, process: str, wish: Wish, options: StackOptions) -> list[str]:
    """All that may be shown; what may not is in the secret."""
    values = {
        **options.environment.get(process, {}),
        "SLIPWAY_RELEASE": wish.assignment.release,
        "SLIPWAY_CONFIG": wish.assignment.config,
        "SLIPWAY_SLOT": wish.slot,
        "SLIPWAY_TASK": "{{.Task.ID}}",  # filled in by the engine
        "SLIPWAY_TASK_HEALTH": json.dumps(options.health, sort_keys=True) if process == "web" else "",
        "SLIPWAY_TASK_DEADLINE": str(options.deadline),
        "STATIC_ROOT": os.path.join(layout.release(wish.assignment.release), "static"),
        "MEDIA_ROOT": layout.media,
        "PYTHONPATH": layout.library,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return [f"{name}={value}" for name, value in sorted(values.items())]


def _container(layout: Layout, process: str, wish: Wish, options: StackOptions, container: Options) -> dict[str, Any]:
    launcher = ["python", layout.container_program]
    (uid, gid), config = wish.owner, wish.assignment.config
    secret = {"Name": f"{layout.app}.env", "UID": str(uid), "GID": str(gid), "Mode": 0o400}
    return {
        "Image": wish.image,
        "Labels": {
            LABEL: layout.app,
            f"{LABEL}.process": process,
            f"{LABEL}.slot": wish.slot,
            f"{LABEL}.release": wish.assignment.release,
            f"{LABEL}.config": config,
        },
        # The first words replace the image's own entry point.
        "Command": [*launcher, "task", process, secret_path(layout.app), layout.tasks, *options.commands[process]],
        "Env": _environment(layout, process, wish, options),
        "User": f"{uid}:{gid}",
        "Init": True,
        "CapabilityDrop": ["ALL"],
        **({"CapabilityAdd": list(container.capabilities)} if container.capabilities else {}),
        **({"ReadOnly": True} if container.read_only else {}),
        "Mounts": _mounts(layout, process, container),
        "Secrets": [{"File": secret, "SecretID": wish.secret_id, "SecretName": secret_name(layout.app, config)}],
        "StopGracePeriod": options.stop_seconds[process] * SECOND,
        "Healthcheck": {
            "Test": ["CMD", *launcher, "healthy", process, layout.tasks],
            "Interval": HEALTH_EVERY * SECOND,
            "Timeout": HEALTH_TIMEOUT * SECOND,
            "Retries": HEALTH_RETRIES,
            "StartPeriod": (options.deadline + STARTING) * SECOND,
            "StartInterval": SECOND,  # an engine before 25 goes by the other interval
        },
    }


def _template(layout: Layout, process: str, wish: Wish, options: StackOptions, container: Options) -> dict[str, Any]:
    inside = _container(layout, process, wish, options, container)
    needed = [process_label(layout.app, process), release_label(layout.app, wish.assignment.release)]
    log = container.log_options(service_name(layout.app, process))
    template = {
        "ContainerSpec": inside,
        "Resources": {"Limits": _limits(container)},
        "RestartPolicy": {"Condition": "any", "Delay": RESTART_DELAY * SECOND},
        "Placement": {"Constraints": [f"node.labels.{label}==yes" for label in needed]},
        "Networks": [{"Target": container.network}],
        "LogDriver": {"Name": container.log_driver, "Options": log},
    }
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:12]
    inside["Labels"][TEMPLATE] = digest
    return template


def specification(
    layout: Layout, process: str, wish: Wish, *, options: StackOptions, container: Options
) -> dict[str, Any]:
    """One service. Beat is stopped before its successor starts; of the others the successor is healthy first.

    What fails within the watch, or never becomes healthy, is taken back by the engine itself.
    """
    order = "stop-first" if process == "beat" else "start-first"
    watch = {"Parallelism": 1, "Monitor": options.monitor * SECOND, "Order": order}
    return {
        "Name": service_name(layout.app, process),
        "Labels": {LABEL: layout.app, f"{LABEL}.process": process},
        "TaskTemplate": _template(layout, process, wish, options, container),
        "Mode": {"Replicated": {"Replicas": options.replicas[process]}},
        "UpdateConfig": {**watch, "FailureAction": "rollback"},
        "RollbackConfig": {**watch, "FailureAction": "pause"},
        # Nobody reaches a task by the network of services: Nginx does by its socket.
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def labels_of(spec: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of a specification's containers: which pair they run, and which template they are of."""
    found: Mapping[str, str] = ((spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}).get("Labels") or {}
    return found


def covers(found: Any, wanted: Any) -> bool:
    """Whether ``found`` has all that ``wanted`` says. The engine adds what it knows itself."""
    if isinstance(wanted, Mapping):
        there = {} if found is None else found
        return isinstance(there, Mapping) and all(covers(there.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        both = isinstance(found, (list, tuple)) and len(found) == len(wanted)
        return both and all(covers(one, other) for one, other in zip(found, wanted))
    return bool(found == wanted)


def as_wished(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a service's specification is the wanted one.

    A network is named by us, and numbered by the engine; and an older engine does not know all of a health check.
    """
    template = {name: value for name, value in wanted["TaskTemplate"].items() if name != "Networks"}
    inside = {name: value for name, value in template["ContainerSpec"].items() if name != "Healthcheck"}
    return covers(found, {**wanted, "TaskTemplate": {**template, "ContainerSpec": inside}})
