# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks what listens in this container whether it is well. HEALTHCHECK of our image, as `python -c`, with the path.

At the socket that SLIPWAY_SOCKET names, or at the port that PORT names. A worker has neither, and is asked nothing.
"""

import http.client
import os
import socket
import sys

PATIENCE = 4  # seconds, a little less than the engine has
place, port = os.environ.get("SLIPWAY_SOCKET"), os.environ.get("PORT")
if not (place or port):
    sys.exit(0)
connection = http.client.HTTPConnection("127.0.0.1", int(port or 80), timeout=PATIENCE)
if place:
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(place)
# As Nginx would ask: an application that wants TLS does not send us away.
headers = {"Host": os.environ.get("SLIPWAY_HEALTH_HOST", "localhost"), "X-Forwarded-Proto": "https"}
connection.request("GET", os.environ.get("SLIPWAY_HEALTH_PATH", sys.argv[1]), headers=headers)
status = connection.getresponse().status
sys.exit(0 if 200 <= status < 300 else f"status {status}")
