# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories of an application on a host: whose they are and who may enter them."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import fsync_directory
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step

WEB_SERVER = "www-data"


@dataclass(frozen=True)
class Directory:
    """A directory with its owner, group (names) and permission bits."""

    path: str
    owner: str
    group: str
    mode: int

    def line(self) -> str:
        return f"{self.path} {self.owner}:{self.group} {self.mode:04o}"


def wanted(*, layout: Layout, programs: str = "/usr/lib/slipway") -> tuple[Directory, ...]:
    """Every directory of one application, parents first.

    Nginx must reach ``route``, ``routes``, ``static``, ``assets``, ``acme`` and ``shared/media``, through ``slots`` and
    ``releases`` the front end of a release, and nothing else; the application reads what root wrote and owns nothing
    but ``shared``.
    """
    app = layout.app
    return (
        Directory(layout.home, "root", "root", 0o755),
        Directory(layout.artifacts, "root", app, 0o750),
        Directory(layout.releases, "root", app, 0o751),
        Directory(layout.venvs, "root", app, 0o750),
        Directory(layout.slots, "root", app, 0o751),
        Directory(layout.routes, "root", "root", 0o755),
        Directory(layout.static, "root", "root", 0o755),
        Directory(layout.assets, "root", "root", 0o755),
        Directory(os.path.join(layout.home, "acme"), "root", "root", 0o755),
        Directory(layout.shared, app, app, 0o751),
        Directory(layout.media, app, WEB_SERVER, 0o2750),
        Directory(layout.etc, "root", app, 0o750),
        Directory(layout.configs, "root", app, 0o750),
        Directory(os.path.dirname(layout.slot_env("blue")), "root", app, 0o750),
        Directory(os.path.join(layout.etc, "tls"), "root", app, 0o750),
        Directory(os.path.dirname(layout.state), "root", "root", 0o755),
        Directory(layout.state, "root", "root", 0o750),
        Directory(programs, "root", "root", 0o755),
    )


def _name(number: int, *, of_group: bool) -> str:
    try:
        return grp.getgrgid(number).gr_name if of_group else pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def probe(*, directories: tuple[Directory, ...]) -> dict[str, Directory]:
    """What is there, by path. A symlink to a directory is the operator's own (a mounted disk) and counts as right."""
    found: dict[str, Directory] = {}
    for wish in directories:
        try:
            status = os.lstat(wish.path)
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(status.st_mode) and os.path.isdir(wish.path):
            found[wish.path] = wish
        elif stat.S_ISDIR(status.st_mode):
            owner, group = _name(status.st_uid, of_group=False), _name(status.st_gid, of_group=True)
            found[wish.path] = Directory(wish.path, owner, group, stat.S_IMODE(status.st_mode))
        else:
            raise SlipwayError(
                f"{wish.path} is in the way",
                found="something that is not a directory",
                expected="a directory or nothing",
                next_step="move it away",
            )
    return found


def plan(*, directories: tuple[Directory, ...], found: Mapping[str, Directory]) -> tuple[Step, ...]:
    """Make what is missing, correct what differs."""
    steps = []
    for wish in directories:
        there = found.get(wish.path)
        if there is None:
            steps.append(Step("make", f"make {wish.line()}", {"directory": wish}))
        elif there != wish:
            steps.append(Step("correct", f"correct {there.line()} to {wish.line()}", {"directory": wish}))
    return tuple(steps)


def apply(step: Step) -> None:
    """Do one step. The directory is changed through its descriptor, so a link put there meanwhile is not followed."""
    wish: Directory = step.data["directory"]
    uid, gid = _ids(wish)
    if step.name == "make":
        os.makedirs(wish.path, mode=0o700, exist_ok=True)
    descriptor = os.open(wish.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, wish.mode)
    finally:
        os.close(descriptor)
    fsync_directory(os.path.dirname(wish.path))


def _ids(wish: Directory) -> tuple[int, int]:
    try:
        return pwd.getpwnam(wish.owner).pw_uid, grp.getgrnam(wish.group).gr_gid
    except KeyError as error:
        raise SlipwayError(
            f"{wish.path} cannot be given to {wish.owner}:{wish.group}",
            found="no such user or group on this host",
            next_step="run provision.yml, which makes them",
        ) from error


def text(directories: Mapping[str, Directory], *, order: tuple[Directory, ...]) -> str:
    """The directories that are there, a line each, for the diff."""
    return "".join(f"{directories[wish.path].line()}\n" for wish in order if wish.path in directories)
