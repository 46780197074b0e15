# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines as Nginx writes them (roles/nginx/templates/_parts.j2)."""

from __future__ import annotations

import datetime

NOW = 1_800_000_000


def line(
    *,
    at: int = 0,
    took: float = 0.02,
    waited: str | None = None,
    status: int = 200,
    path: str = "/",
    bucket: str = "00",
    slot: str = "blue",
    agent: str = "Mozilla/5.0",
    upstream: str = "unix:/srv/shop/route/00.sock",
    zone: int = 0,
) -> bytes:
    """A request that ended ``at`` seconds after NOW."""
    there = datetime.timezone(datetime.timedelta(hours=zone))
    time = datetime.datetime.fromtimestamp(NOW + at, tz=there).isoformat()
    waited = f"{took:.3f}" if waited is None else waited
    return (
        f'{{"time":"{time}","request_id":"f00","client":"192.0.2.1","method":"GET","host":"shop.example.org","uri":"{path}",'
        f'"protocol":"HTTP/2.0","status":{status},"bytes":5120,"request_time":{took:.3f},'
        f'"upstream_response_time":"{waited}","upstream_addr":"{upstream}","upstream_status":"{status}",'
        f'"bucket":"{bucket}","release":"1","slot":"{slot}","user_agent":"{agent}"}}\n'
    ).encode()
