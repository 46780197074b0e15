# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The swarm that the Docker Engine of this host manages, by the package `docker`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils._container import LABEL
from ansible_collections.slipway.webapp.plugins.module_utils._container import read_options as container_options
from ansible_collections.slipway.webapp.plugins.module_utils._engine import connect
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import ids_of
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Node, Service, Systemd, Task
from ansible_collections.slipway.webapp.plugins.module_utils._stack import Stack
from ansible_collections.slipway.webapp.plugins.module_utils._stack_spec import SECOND, read_options

try:
    import docker
    import docker.errors
except ImportError:  # PROBLEM says so
    pass

_TIMEOUT = 60  # seconds for one answer
_TASK = "com.docker.swarm.task.id="
_IN_USE = "is in use"


class HostSwarm:
    """The manager at its local socket."""

    def __init__(self) -> None:
        self._found: Any = None

    @property
    def _api(self) -> Any:
        if self._found is None:
            self._found = connect(timeout=_TIMEOUT).api
        return self._found

    def services(self, app: str) -> dict[str, Service]:
        with _explained("The swarm's services cannot be seen"):
            found = self._api.services(filters={"label": f"{LABEL}={app}"})
        services = {}
        for one in found:
            update = one.get("UpdateStatus") or {}
            services[one["Spec"]["Labels"].get(f"{LABEL}.process", "")] = Service(
                id=one["ID"],
                version=one["Version"]["Index"],
                spec=one["Spec"],
                update=update.get("State", ""),
                said=update.get("Message", ""),
            )
        return services

    def create(self, spec: Mapping[str, Any]) -> None:
        with _explained(f"The service {spec['Name']} could not be made"):
            self._api.create_service(**_arguments(spec))

    def update(self, service: Service, spec: Mapping[str, Any]) -> None:
        with _explained(f"The service {spec['Name']} could not be changed"):
            self._api.update_service(service.id, service.version, **_arguments(spec))

    def remove(self, service: Service) -> None:
        with _explained(f"The service {service.spec['Name']} could not be removed"):
            self._api.remove_service(service.id)

    def tasks(self, service: str) -> list[Task]:
        with _explained(f"The tasks of {service} cannot be seen"):
            found = self._api.tasks(filters={"service": service})
        return [
            Task(
                id=one["ID"],
                node=one.get("NodeID", ""),
                state=one["Status"]["State"],
                desired=one["DesiredState"],
                labels=one["Spec"].get("ContainerSpec", {}).get("Labels") or {},
                error=one["Status"].get("Err", ""),
            )
            for one in sorted(found, key=lambda one: one["CreatedAt"])
        ]

    def log(self, service: str, task: str, *, lines: int = 20) -> list[str]:
        # Of a node that is away there is no log, and of some drivers none at all: then the engine's word must do.
        api = self._api
        try:
            given = api.service_logs(service, details=True, stdout=True, stderr=True, tail=200, is_tty=False)
            text = b"".join(given).decode(errors="replace")
        except (docker.errors.DockerException, OSError, ValueError):
            return []
        mine = [line.split(" ", 1) for line in text.splitlines() if f"{_TASK}{task}" in line.split(" ", 1)[0]]
        return [words[1] for words in mine if len(words) > 1][-lines:]

    def secrets(self, app: str) -> dict[str, str]:
        with _explained("The swarm's secrets cannot be seen"):
            found = self._api.secrets(filters={"label": f"{LABEL}={app}"})
        return {one["Spec"]["Name"]: one["ID"] for one in found}

    def keep_secret(self, app: str, name: str, text: str) -> str:
        with _explained(f"The secret {name} could not be made"):
            return str(self._api.create_secret(name, text.encode(), labels={LABEL: app})["ID"])

    def forget_secret(self, identity: str) -> None:
        try:
            with _explained(f"The secret {identity} could not be removed"):
                self._api.remove_secret(identity)
        except SlipwayError as error:
            if _IN_USE not in error.found:
                raise

    def nodes(self) -> list[Node]:
        with _explained("The swarm's nodes cannot be seen"):
            found = self._api.nodes()
        return [
            Node(
                id=one["ID"],
                version=one["Version"]["Index"],
                ready=one["Status"]["State"] == "ready",
                spec=one["Spec"],
                cores=((one.get("Description") or {}).get("Resources") or {}).get("NanoCPUs", 0) / SECOND,
            )
            for one in found
        ]

    def label(self, node: Node, labels: Mapping[str, str]) -> None:
        with _explained(f"The node {node.id} could not be labelled"):
            self._api.update_node(node.id, node.version, {**node.spec, "Labels": dict(labels)})


def stack_here(
    layout: Layout,
    *,
    systemd: Systemd,
    clock: Clock,
    check_mode: bool = False,
    alive: Callable[[], None] = lambda: None,
) -> Stack | None:
    """What brings the application's services about, on the host that conducts its swarm; None on every other."""
    options = read_options(layout)
    if options is None:
        return None
    return Stack(
        layout=layout,
        swarm=HostSwarm(),
        systemd=systemd,
        clock=clock,
        options=options,
        container=container_options(layout),
        owner=ids_of(layout.app),
        check_mode=check_mode,
        alive=alive,
    )


def _arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification as the package takes it."""
    return {
        "task_template": dict(spec["TaskTemplate"]),
        "name": spec["Name"],
        "labels": dict(spec["Labels"]),
        "mode": dict(spec["Mode"]),
        "update_config": dict(spec["UpdateConfig"]),
        "rollback_config": dict(spec["RollbackConfig"]),
        "endpoint_spec": dict(spec["EndpointSpec"]),
    }


@contextlib.contextmanager
def _explained(summary: str) -> Iterator[None]:
    """The engine's errors in words."""
    try:
        yield
    except SlipwayError:  # in words already; without the package there is no class to compare it with
        raise
    except (docker.errors.DockerException, OSError) as error:
        said = str(getattr(error, "explanation", "") or error).strip()
        manager = "not a swarm manager" in said
        raise SlipwayError(
            summary,
            found=said,
            expected="a manager of the swarm" if manager else "",
            next_step="run provision.yml, which makes the swarm" if manager else "systemctl status docker on this host",
        ) from error
