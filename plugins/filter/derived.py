# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters by which the role webapp derives its internal variables, and those of init."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _derived, _migrations, _scaffold
from ansible_collections.slipway.webapp.plugins.module_utils._settings_fleet import first_words


def collection_places(searched: list[str], usual: list[str]) -> list[str]:
    """As in ``_scaffold``; Ansible also looks where Python does."""
    return _scaffold.collection_places(searched, [*usual, *sys.path])


class FilterModule:
    """Most filters are the function of the same name in ``_derived``."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "collection_places": collection_places,
            "host_address": _derived.host_address,
            "hosts_with_role": _derived.hosts_with_role,
            "init_problems": first_words,
            "migration_effect": _migrations.effect_of,
            "process_environment": _derived.process_environment,
            "process_secrets": _derived.process_secrets,
            "service_urls": _derived.service_urls,
        }
