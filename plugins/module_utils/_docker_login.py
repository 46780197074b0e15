# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that Docker's client reads for one build, beside the one of root that it stands for.

Format: https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._image_names import login_host

# What a build may need of root's own: logins of other registries, proxies. Not its context, which is another engine.
_TAKEN = ("auths", "credHelpers", "credsStore", "proxies", "HttpHeaders", "cliPluginsExtraDirs")


def for_a_build(text: str, repository: str, *, login: bool) -> str:
    """The content to begin with. ``text``: root's file, or ''. With ``login`` there will be one for ``repository``.

    That must be written to this file, and not into a program that keeps passwords for root.
    """
    found = {name: value for name, value in _object(text).items() if name in _TAKEN}
    if login:
        found.pop("credsStore", None)
        for name in ("auths", "credHelpers"):
            kept = found.get(name) or {}
            found[name] = {
                host: one for host, one in kept.items() if login_host(f"{_bare(host)}/x") != login_host(repository)
            }
    return json.dumps(found, sort_keys=True)


def _bare(host: str) -> str:
    """A registry's host, from the ways in which it may be written there."""
    return host.partition("://")[2].partition("/")[0] if "://" in host else host.partition("/")[0]


def _object(text: str) -> dict[str, Any]:
    """What cannot be read is no setting: the client, too, would go on without it."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
