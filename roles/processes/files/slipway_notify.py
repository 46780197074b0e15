# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell systemd that this process is ready (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def ready(status: str) -> None:
    """Say it once. Without somebody who listens, or from a child, it does nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect(address)
        connection.sendall(f"READY=1\nSTATUS={status}".encode())
