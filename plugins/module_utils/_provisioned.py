# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host has all that only provisioning brings, so that a deploy does not find out when it starts a process."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Sequence

from ansible_collections.slipway.webapp.plugins.module_utils import _redis, _tree
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json, read_text
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout

# What the role `processes` puts into /usr/lib/slipway; the units name these files or import them.
STARTERS = (
    "slipway_celery.py",
    "slipway_entry.py",
    "slipway_frontend.py",
    "slipway_notify.py",
    "slipway_uvicorn.py",
    "slipway_worker.py",
)


def user_exists(name: str) -> bool:
    """Whether the system has this user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _directories(layout: Layout, processes: Sequence[str]) -> list[str]:
    """Parents first."""
    tree = [directory.path for directory in _tree.wanted(layout=layout, programs=layout.library)]
    sockets = [os.path.dirname(layout.socket(slot)) for slot in SLOTS] if "web" in processes else []
    return [*tree, *sorted({os.path.dirname(path) for path in sockets}), *sockets]


def _files(layout: Layout, processes: Sequence[str]) -> list[str]:
    gunicorn = [layout.etc_gunicorn] if "web" in processes else []
    return [
        *(os.path.join(layout.library, name) for name in (*STARTERS, "slipway-settle")),
        layout.unit_file(layout.settle_unit),
        *gunicorn,
        *(layout.unit_template(process) for process in processes),
    ]


def missing(layout: Layout, *, processes: Sequence[str]) -> list[str]:
    """The paths that are not there; of a directory that is missing as a whole, only the directory itself."""
    lacking = [path for path in _directories(layout, processes) if not os.path.isdir(path)]
    lacking += [path for path in _files(layout, processes) if not os.path.isfile(path)]
    gone = set(lacking)
    return [path for path in lacking if os.path.dirname(path) not in gone]


def serves_files(layout: Layout) -> bool:
    """Whether Nginx was told to serve a front end."""
    return f"root {layout.assets};" in (read_text(layout.site) or "")


def has_number(layout: Layout, number: int) -> bool:
    """Whether this number of Redis is the application's. Without a record it has the numbers that all had before."""
    said = read_json(layout.redis_record)
    return number in (_redis.FIRST if said is None else _redis.record_from(said).numbers)


def require(
    layout: Layout,
    *,
    processes: Sequence[str],
    frontend: bool = False,
    redis_number: int | None = None,
    has_user: Callable[[str], bool] = user_exists,
) -> None:
    """Refuse a host that provisioning has not been through with, and name every piece that it lacks."""
    lacking = [] if has_user(layout.app) else [f"user {layout.app}"]
    lacking += missing(layout, processes=processes)
    if frontend and "web" in processes and not serves_files(layout):
        lacking.append(f"front end in {layout.site}")
    if redis_number is not None and not has_number(layout, redis_number):
        lacking.append(f"number {redis_number} of Redis")
    if lacking:
        raise SlipwayError(
            "This host is not ready for a deploy, or was only provisioned in part",
            found=f"no {', no '.join(lacking)}",
            expected=f"what {layout.app} needs to run {', '.join(processes)}",
            next_step="run provision.yml first, for the whole environment",
            details={"missing": lacking},
        )
