# SPDX-License-Identifier: GPL-3.0-or-later
"""Point the environment that applications read their database from at the scratch server."""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit

from slipway_migrate.request import Scratch


def redirect(scratch: Scratch) -> None:
    """Change DATABASE_URL, if there is one, and libpq's variables, before settings or env.py are loaded."""
    for name in [name for name in os.environ if name.startswith("PG") and name != "PGAPPNAME"]:
        del os.environ[name]  # PGHOSTADDR and its like fill in what a connection leaves open
    os.environ.update(PGHOST=scratch.host, PGPORT=str(scratch.port), PGUSER=scratch.user)
    if scratch.database:
        os.environ["PGDATABASE"] = scratch.database
    if os.environ.get("DATABASE_URL"):
        os.environ["DATABASE_URL"] = _url(os.environ["DATABASE_URL"], scratch)


def _url(url: str, scratch: Scratch) -> str:
    """The same scheme, which names the driver, and the same database if the scratch server has no other name for it."""
    given = urlsplit(url)
    database = quote(scratch.database) or given.path.lstrip("/")
    host = f"host={quote(scratch.host, safe='')}&port={scratch.port}"
    return f"{given.scheme}://{quote(scratch.user)}@/{database}?{host}"
