# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters by which the role image knows what an image is called, and what Docker's client reads during a build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _docker_login, _image_names


def image_names(artifact: Mapping[str, Any], app: str, repository: str, version: str) -> dict[str, Any]:
    """As ``built`` in ``_image_names``, and what a login for the repository is stored under."""
    built = _image_names.built(
        app=app,
        repository=repository,
        version=version,
        commit=artifact["commit"],
        uncommitted=artifact["uncommitted"],
        sha256=artifact["sha256"],
    )
    return {
        "names": list(built.names),
        "labels": dict(built.labels),
        "registry": _image_names.login_host(repository),
    }


def docker_config(text: str, repository: str, login: bool) -> str:
    """As in ``_docker_login``."""
    return _docker_login.for_a_build(text, repository, login=login)


class FilterModule:
    """The names, and what the client reads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "docker_config": docker_config,
            "image_names": image_names,
            "image_reference": _image_names.reference,
        }
