# SPDX-License-Identifier: GPL-3.0-or-later
"""An application on a fleet of test hosts: its operator's directory, its hosts, and its public address."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.hosts import fleet, network, operations
from tests.hosts.engine import require
from tests.hosts.state import BUILD, CHECKOUT
from tests.integration.controller import Controller, Run, Started
from tests.integration.host import Host, Live
from tests.integration.sources import Sources
from tests.scenarios.ask import ask

PREFIX = os.environ.get("SLIPWAY_PREFIX", "it")
EXAMPLE = CHECKOUT / "inventories" / "production" / "group_vars" / "production.yml"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a visitor got; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Site:
    """One application in one environment."""

    app: str
    environment: str
    domain: str
    directory: Path
    hosts: Mapping[str, Host]
    edge: str
    sources: Sources
    controller: Controller

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory"

    @property
    def host(self) -> Host:
        """The host, where there is one only."""
        (host,) = self.hosts.values()
        return host

    def start(self, playbook: str, *arguments: str, controller: Controller | None = None, **settings: Any) -> Started:
        """Start a playbook of the collection."""
        extra = ("-e", json.dumps(settings)) if settings else ()
        words = ("ansible-playbook", "-i", str(self.inventory), f"slipway.webapp.{playbook}", "-l", self.environment)
        return (controller or self.controller).start(*words, *extra, *arguments)

    def play(self, playbook: str, *arguments: str, controller: Controller | None = None, **settings: Any) -> Run:
        """Run a playbook of the collection; how it ended is for the caller to judge."""
        return self.start(playbook, *arguments, controller=controller, **settings).wait()

    def deploy(self, source: Path, *arguments: str, controller: Controller | None = None, **settings: Any) -> Run:
        """Deploy a source; this must work."""
        settings = {"webapp_source": str(source), **settings}
        return self.play("deploy", *arguments, controller=controller, **settings).ended(0)

    def fail(self, source: Path, *arguments: str, **settings: Any) -> Run:
        """Deploy a source; this must be refused."""
        return self.play("deploy", *arguments, webapp_source=str(source), **settings).refused()

    def ask(self, path: str, *, scheme: str = "https", header: Sequence[str] = ()) -> Answer:
        """Ask the public address as a visitor does; ``header`` are NAME=VALUE."""
        address = self.hosts[self.edge].address
        words: dict[str, Any] = {"address": address, "name": self.domain, "scheme": scheme, "header": header}
        (found,) = asyncio.run(ask(paths=[path], text=None, **words))
        return Answer(status=found["status"], headers=found["headers"], body=found["body"])

    def ask_or_none(self, path: str) -> Answer | None:
        """The answer, if it is a good one."""
        try:
            answer = self.ask(path)
        except (aiohttp.ClientError, OSError):
            return None
        return answer if answer.status == 200 else None

    def live(self) -> Live:
        """What visitors get, by the host's files and processes and by the public address; they agree."""
        found = self.host.live(self.app)
        assert found is not None, f"nothing is live on {self.host.name}"
        health = self.ask("/health")
        assert health.status == 200, health
        assert (health.json()["release"], health.json()["slot"]) == (found.release, found.slot), (health, found)
        return found


def addresses(name: str) -> dict[str, str]:
    """The addresses of a fleet's hosts in our own network."""
    found = network.find(require(), PREFIX)
    assert found is not None, f"there is no network {PREFIX}"
    return {host.name: fleet.address_of(host, found[1]) for host in fleet.load().fleet(name).hosts}


def bring_up(name: str) -> dict[str, Host]:
    """Boot the hosts of a fleet."""
    plan = fleet.load()
    operations.up(plan, plan.fleet(name), prefix=PREFIX)
    return {
        host: Host(name=host, container=f"{PREFIX}-{host}", address=address)
        for host, address in addresses(name).items()
    }


def take_down(name: str) -> None:
    """Remove the hosts of a fleet."""
    operations.down(fleet.load().fleet(name), prefix=PREFIX)


def settings_of(app: str, *, domain: str, directory: Path, edge: Host) -> dict[str, Any]:
    """The settings of the example application."""
    return {
        "webapp_name": app,
        "webapp_domain": domain,
        "webapp_source": str(directory / "none"),
        "webapp_settings_module": "board.settings",
        "webapp_secrets": {"SECRET_KEY": secrets.token_hex(30)},
        "webapp_celery": "board",
        "webapp_approval": False,
        "webapp_worker_concurrency": 1,
        "webapp_public_address": edge.address,
        "webapp_artifact_directory": str(directory / "artifacts"),
        # Not while tests tell which files a run has changed.
        "webapp_backup_schedule": "*-01-01 00:00:00",
    }


def make_site(
    *,
    app: str,
    environment: str,
    directory: Path,
    hosts: Mapping[str, Host],
    edge: str,
    settings: Mapping[str, Any] | None = None,
    controller: Controller | None = None,
) -> Site:
    """Write an operator's directory for an application on hosts that are up; ``environment`` is also their fleet."""
    domain = f"{app}.board.example"
    given = {**settings_of(app, domain=domain, directory=directory, edge=hosts[edge]), **(settings or {})}
    inventory = directory / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (directory / "sources").mkdir()
    written = (BUILD / "hosts" / PREFIX / f"{environment}.yml").read_text()
    (inventory / "hosts.yml").write_text(written)
    (inventory / "group_vars" / f"{environment}.yml").write_text(yaml.safe_dump(given, width=10_000))
    return Site(
        app=app,
        environment=environment,
        domain=given["webapp_domain"],
        directory=directory,
        hosts=hosts,
        edge=edge,
        sources=Sources(directory / "sources"),
        controller=controller or Controller(),
    )


def make_production(directory: Path, hosts: Mapping[str, Host], *, planted: Mapping[str, str], **settings: Any) -> Site:
    """The fleet of the example inventory, with its settings; only secrets and paths are the caller's."""
    example: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    del example["webapp_source"]
    return make_site(
        app=example["webapp_name"],
        environment="production",
        directory=directory,
        hosts=hosts,
        edge="edge1",
        settings={
            **example,
            "webapp_secrets": {"SECRET_KEY": planted["key"]},
            "webapp_database_password": planted["database"],
            "webapp_redis_password": planted["redis"],
            "webapp_environment": {"BEAT_SECONDS": "1"},
            "webapp_backup_database_url": (
                f"postgresql://board_backup:{planted['backup']}@{hosts['db1'].address}/board"
            ),
            **settings,
        },
    )


def plant() -> dict[str, str]:
    """Secrets for the production fleet."""
    return {name: secrets.token_hex(25) for name in ("key", "database", "redis", "backup")}
