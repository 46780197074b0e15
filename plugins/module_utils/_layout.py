# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything is on a host. The only home of paths, unit names and slot names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

SLOTS = ("blue", "green")
PROCESSES = ("web", "worker", "beat")
BUCKETS = 20
LIBRARY = "/usr/lib/slipway"
LIBRARY_LOCK = "/run/slipway-programs.lock"  # of who installs there
PREVIEW = "preview"  # beside the buckets: a link to the directory of the slot that testers are sent to

# 24, because a user of Linux has 32 at most, and one of ours is called NAME_scratch.
NAME_PATTERN = r"[a-z][a-z0-9-]{0,23}"
VERSION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}"
RELEASE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
CONFIG_PATTERN = r"[0-9a-f]{12}"


def other_slot(slot: str) -> str:
    """The slot that is not ``slot``."""
    return SLOTS[1 - SLOTS.index(slot)]


@dataclass(frozen=True)
class Layout:
    """The paths of one application. ``prefix`` stands before every path and is empty on real hosts."""

    app: str
    prefix: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.app):
            raise SlipwayError(
                "The application's name cannot be used",
                found=repr(self.app),
                expected="a lower-case letter, then at most 23 lower-case letters, digits or hyphens",
                next_step="correct webapp_name",
            )

    def _path(self, *parts: str) -> str:
        return self.prefix + os.path.join("/", *parts)

    @property
    def home(self) -> str:
        return self._path("srv", self.app)

    @property
    def artifacts(self) -> str:
        return os.path.join(self.home, "artifacts")

    @property
    def releases(self) -> str:
        return os.path.join(self.home, "releases")

    @property
    def venvs(self) -> str:
        return os.path.join(self.home, "venvs")

    @property
    def slots(self) -> str:
        return os.path.join(self.home, "slots")

    @property
    def routes(self) -> str:
        return os.path.join(self.home, "routes")

    @property
    def route_link(self) -> str:
        return os.path.join(self.home, "route")

    @property
    def static(self) -> str:
        return os.path.join(self.home, "static")

    @property
    def assets(self) -> str:
        """Files of front ends with hashed names, of all retained releases together."""
        return os.path.join(self.home, "assets")

    @property
    def shared(self) -> str:
        return os.path.join(self.home, "shared")

    @property
    def media(self) -> str:
        return os.path.join(self.shared, "media")

    @property
    def etc(self) -> str:
        return self._path("etc", self.app)

    @property
    def configs(self) -> str:
        return os.path.join(self.etc, "environments")

    @property
    def state(self) -> str:
        return self._path("var", "lib", "slipway", self.app)

    @property
    def redis_record(self) -> str:
        """Which numbers of this host's Redis the application has."""
        return os.path.join(self.state, "redis.json")

    @property
    def library(self) -> str:
        """What the collection itself installs on a host: the processes' entry points, programs, modules, and uv."""
        return self.prefix + LIBRARY

    @property
    def uv(self) -> str:
        return os.path.join(self.library, "uv", "bin", "uv")

    def cache(self, tool: str) -> str:
        """Where a build tool keeps downloads: one for each application, as who writes it decides what is installed."""
        return self._path("var", "cache", "slipway", self.app, tool)

    @property
    def ledger(self) -> str:
        return os.path.join(self.state, "ledger.jsonl")

    @property
    def lease(self) -> str:
        return os.path.join(self.state, "lease.json")

    @property
    def lease_turn(self) -> str:
        return os.path.join(self.state, "lease.turn")

    @property
    def pending(self) -> str:
        return os.path.join(self.state, "pending.json")

    @property
    def pulled(self) -> str:
        """The images that the engine may have for the application; only where some were pulled."""
        return os.path.join(self.state, "pulled.json")

    @property
    def transaction(self) -> str:
        """How far this host is in the last run, for the other hosts to read."""
        return os.path.join(self.home, "transaction.json")

    @property
    def awake(self) -> str:
        """Names the run in which this host takes part; a restart takes it away."""
        return os.path.join(self.run, "transaction")

    @property
    def maintenance(self) -> str:
        """While it is there Nginx shows the maintenance page."""
        return os.path.join(self.home, "maintenance")

    @property
    def access_log(self) -> str:
        """One JSON object for each request that Nginx has answered (roles/nginx/templates/_parts.j2)."""
        return self._path("var", "log", "nginx", f"{self.app}.access.json")

    @property
    def upstream(self) -> str:
        """On an edge host: the part of Nginx' configuration that says which web hosts are passed requests."""
        return self._path("etc", "nginx", "conf.d", f"slipway-upstream-{self.app}.conf")

    @property
    def site(self) -> str:
        """On web and edge hosts: the application's own part of Nginx' configuration."""
        return self._path("etc", "nginx", "conf.d", f"slipway-app-{self.app}.conf")

    @property
    def nginx_marks(self) -> tuple[str, str]:
        """Files as old as the configuration that Nginx works by: it was started then, and told to load it last."""
        return self._path("run", "nginx.pid"), self._path("run", "slipway-nginx-loaded")

    @property
    def nginx_checker(self) -> str:
        """Tests a part of Nginx' configuration together with all the others, before it takes its place."""
        return os.path.join(self.library, "verify-nginx")

    @property
    def nginx_loader(self) -> str:
        """Has Nginx load its configuration without breaking a connection under a request."""
        return os.path.join(self.library, "load-nginx")

    @property
    def run(self) -> str:
        """What a restart of the host takes away: sockets, and marks of this boot."""
        return self._path("run", self.app)

    @property
    def etc_gunicorn(self) -> str:
        return os.path.join(self.etc, "gunicorn.conf.py")

    @property
    def container_options(self) -> str:
        """How containers of the application are run here; only on hosts that run some."""
        return os.path.join(self.etc, "container.json")

    @property
    def container_program(self) -> str:
        return os.path.join(self.library, "slipway-container")

    @property
    def stack_options(self) -> str:
        """How the services of the application are; only on the host that conducts its swarm."""
        return os.path.join(self.etc, "stack.json")

    @property
    def tasks(self) -> str:
        """On a node of a swarm: where its web tasks listen."""
        return os.path.join(self.run, "tasks")

    def container(self, process: str, slot: str) -> str:
        """The container of one process in one slot."""
        return f"{self.app}-{process}-{slot}"

    def notify(self, process: str, slot: str) -> str:
        """Where a process in a container says how it is; its supervisor listens."""
        return os.path.join(self.run, slot, f"{process}.notify")

    @property
    def migrations_journal(self) -> str:
        """What migrations were begun and ended on this host, one JSON object a line; the application writes it."""
        return os.path.join(self.shared, "migrations.jsonl")

    def lock(self, name: str) -> str:
        """The lock file that guards one kind of work on this host."""
        return os.path.join(self.state, f"{name}.lock")

    def artifact(self, sha256: str) -> str:
        return os.path.join(self.artifacts, f"{sha256}.tar.gz")

    def release(self, release: str) -> str:
        """The directory of a release; a name that could leave ``releases/`` is refused."""
        if not re.fullmatch(RELEASE_PATTERN, release) or release.endswith(".partial"):
            raise SlipwayError(
                "That is not the name of a release",
                found=repr(release),
                expected="letters, digits, dots, hyphens, underscores or plus signs",
                next_step="take an id from the table that status.yml prints",
            )
        return os.path.join(self.releases, release)

    def partial(self, release: str) -> str:
        return self.release(release) + ".partial"

    def venv(self, lock_hash: str) -> str:
        return os.path.join(self.venvs, lock_hash)

    def slot_link(self, slot: str) -> str:
        return os.path.join(self.slots, slot)

    def slot_env(self, slot: str) -> str:
        return os.path.join(self.etc, "slots", f"{slot}.env")

    def config_env(self, config: str) -> str:
        return os.path.join(self.configs, f"{config}.env")

    def route(self, number: int) -> str:
        return os.path.join(self.routes, str(number))

    def socket(self, slot: str) -> str:
        return os.path.join(self.run, slot, "web.sock")

    def unit(self, process: str, slot: str) -> str:
        """The systemd unit of one process in one slot."""
        return f"{self.app}-{process}@{slot}.service"

    def unit_template(self, process: str) -> str:
        """The file of which the units of one process are instances. It is only there on hosts that run the process."""
        return self.unit_file(f"{self.app}-{process}@")

    def unit_file(self, name: str) -> str:
        """The file of a service of ours."""
        return self._path("etc", "systemd", "system", f"{name}.service")

    def retire_unit(self, slot: str) -> str:
        """The transient unit that stops a slot when its warm time is over."""
        return f"{self.app}-retire-{slot}"

    @property
    def settle_unit(self) -> str:
        """The service, and the transient timer, that ends a run whose controller is not heard of any more."""
        return f"{self.app}-settle"
