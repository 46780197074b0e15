# SPDX-License-Identifier: GPL-3.0-or-later
"""Point a Django project at the scratch server, and everything else that it talks to at nothing.

A migration's Python may send mail, fill caches or start tasks: in a rehearsal none of it may reach the real ones.
"""

from __future__ import annotations

import os
from typing import Any

from slipway_migrate.request import Scratch

_DUMMY_DATABASE = {"ENGINE": "django.db.backends.dummy"}
_DUMMY_CACHE = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
_BROKERS = ("CELERY_BROKER_URL", "BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL",
            "CELERY_RESULT_BACKEND")  # fmt: skip
# Connection options that name another server, or fit only that one.
_SERVER_OPTIONS = ("service", "passfile", "pool", "hostaddr", "host", "port", "user", "password", "dbname", "options",
                   "assume_role", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs")  # fmt: skip


def redirect(alias: str, scratch: Scratch) -> None:
    """Change the settings before django.setup() reads them."""
    from django.conf import settings

    environment = {name: "memory://" for name in _BROKERS if name in os.environ}
    os.environ.update(environment)
    databases: dict[str, Any] = settings.DATABASES
    for other in databases:
        databases[other] = _scratched(databases[other], scratch) if other == alias else dict(_DUMMY_DATABASE)
    databases.setdefault("default", dict(_DUMMY_DATABASE))
    settings.CACHES = {name: dict(_DUMMY_CACHE) for name in {"default", *settings.CACHES}}
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    for name in _BROKERS:
        if hasattr(settings, name) or name == "CELERY_BROKER_URL":
            setattr(settings, name, "memory://" if "RESULT" not in name else "cache+memory://")


def _scratched(database: dict[str, Any], scratch: Scratch) -> dict[str, Any]:
    options = {name: value for name, value in database.get("OPTIONS", {}).items() if name not in _SERVER_OPTIONS}
    return {
        **database,
        "HOST": scratch.host,
        "PORT": str(scratch.port),
        "USER": scratch.user,
        "PASSWORD": "",
        "NAME": scratch.database or database.get("NAME", ""),
        "OPTIONS": options,
    }
