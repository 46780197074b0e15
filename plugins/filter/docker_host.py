# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter by which the role docker_host knows what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _docker_host


def plain(value: Any) -> Any:
    """Variables as Python's own objects: Ansible's know of templates in them, and the document must not."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def docker_host_plan(said: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """As in ``_docker_host``."""
    return plain(dataclasses.asdict(_docker_host.plan(plain(said), plain(settings))))


class FilterModule:
    """The one filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"docker_host_plan": docker_host_plan}
