# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of a front end may be, and what goes with an application that is nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown
from ansible_collections.slipway.webapp.plugins.module_utils._source import digest_of

Rule = tuple[Callable[[Any], bool], str]

NO_BACKEND = "none"
# What says how a back end is run; without one nobody reads it.
OF_A_BACKEND = ("webapp_wsgi", "webapp_asgi")
# What a back end cannot do without, and what is expected of it.
OF_EVERY_BACKEND = {
    "webapp_source": "a directory, a Git URL or an archive; or webapp_server: none for a front end alone",
    "webapp_settings_module": "the dotted name of a Python module, such as shop.settings",
}
# name -> what it must be where there is no back end
_ABSENT = {
    "webapp_source": "",
    "webapp_settings_module": "",
    "webapp_celery": "",
    "webapp_migrations": "none",
    "webapp_database_url": "",
    "webapp_redis_url": "",
}
_SECRET = ("webapp_database_url", "webapp_redis_url")


def is_expression(text: str) -> bool:
    """A regular expression that can be used."""
    try:
        re.compile(text)
    except re.error:
        return False
    return bool(text.strip())


def _is_path(text: str) -> bool:
    return bool(re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", text)) and ".." not in text.split("/")


RULES: dict[str, Rule] = {
    "webapp_frontend_sha256": (
        lambda text: not text or bool(re.fullmatch(r"[0-9a-f]{64}", text)),
        "64 hexadecimal digits in lower case",
    ),
    "webapp_frontend_image_path": (_is_path, "an absolute path in the image, such as /usr/share/nginx/html"),
    "webapp_frontend_hashed": (
        lambda patterns: all(is_expression(pattern) for pattern in patterns),
        "regular expressions, such as '[.-][0-9a-f]{8}[.]js$'",
    ),
    "webapp_backend_paths": (
        lambda paths: all(_is_path(path) for path in paths),
        "paths that begin with / and are not / itself, such as /api/",
    ),
}


def has_backend(values: Mapping[str, Any]) -> bool:
    """Whether there is anything but a front end."""
    return bool(values.get("webapp_server") != NO_BACKEND)


def check_frontend(values: Mapping[str, Any], host: str) -> list[Problem]:
    """What several settings say wrongly together about front and back end."""
    checks = (_check_alone if not has_backend(values) else _check_backend, _check_image, _check_paths)
    return [problem for check in checks for problem in check(values, host)]


def _check_alone(values: Mapping[str, Any], host: str) -> list[Problem]:
    """Without a back end there is nothing that could run, migrate or keep anything."""
    problems = [
        Problem(
            name,
            shown(values[name], secret=name in _SECRET),
            f"{wanted!r}, because webapp_server is none: there is no back end",
            host,
        )
        for name, wanted in _ABSENT.items()
        if values.get(name, wanted) != wanted
    ]
    if not values.get("webapp_frontend_source", "there"):
        expected = "a front end, because webapp_server is none: there is nothing else"
        problems.append(Problem("webapp_frontend_source", "nothing", expected, host))
    return problems


def _check_backend(values: Mapping[str, Any], host: str) -> list[Problem]:
    return [
        Problem(name, shown(""), wanted, host) for name, wanted in OF_EVERY_BACKEND.items() if values.get(name) == ""
    ]


def _check_image(values: Mapping[str, Any], host: str) -> list[Problem]:
    source = values.get("webapp_frontend_source", "")
    if digest_of(source) and values.get("webapp_runtime") == "systemd":
        expected = "webapp_runtime: docker beside it, as an engine takes the files out of an image; or the files"
        return [Problem("webapp_frontend_source", shown(source), expected, host)]
    return []


def _check_paths(values: Mapping[str, Any], host: str) -> list[Problem]:
    """One path is one part of Nginx's configuration."""
    paths = list(values.get("webapp_backend_paths", []))
    problems = [
        Problem("webapp_backend_paths", f"{path} twice", "each once", host)
        for path in sorted({path for path in paths if paths.count(path) > 1})
    ]
    others = ("webapp_static_url", "webapp_media_url", "webapp_health_path")
    return problems + [
        Problem("webapp_backend_paths", shown(values[name]), f"paths other than {name}, which is the back end's", host)
        for name in others
        if values.get(name) and values[name].partition("?")[0] in paths
    ]
