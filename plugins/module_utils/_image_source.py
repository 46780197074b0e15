# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unpacked source of an image: what it is, whether it says how it is built, and what ours needs of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._requirements import REQUIREMENTS, UV_LOCK, find_lock

PACKAGE = "package.json"


@dataclass(frozen=True)
class Source:
    """``own``: it has a Dockerfile. ``frontend``: it is that of a front end. ``lock``: the file that ours installs."""

    own: bool
    frontend: bool
    lock: str = ""


def look(root: str, dockerfile: str) -> Source:
    """What is at ``root``. Without a Dockerfile its requirements must be locked, as for a release from source code."""

    def there(name: str) -> bool:
        return os.path.isfile(os.path.join(root, name))

    # Python's lock wins: such a project may well use tools of Node.
    frontend = there(PACKAGE) and not there(REQUIREMENTS) and not there(UV_LOCK)
    if there(dockerfile) or frontend:
        return Source(own=there(dockerfile), frontend=frontend)
    try:
        return Source(own=False, frontend=False, lock=find_lock(root).kind)
    except SlipwayError as error:
        error.next_step += f"; or add a {dockerfile} that installs what it needs"
        raise
