#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: redis_server
short_description: Set up the Redis of a host for an application
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Gives an application two numbered databases of the host's Redis, and records that in its state directory.
  - Makes the server durable (every write reaches a file) and never evicting, as a queue needs it, with settings that
    serve all applications of the host. It is told them while it runs, and is not restarted.
  - A server that kept no append-only file writes a whole one before any file asks for it, so that it keeps its data
    wherever a run ends.
  - A Redis that is somebody else's is refused, as are numbers that another application has, and another password than
    that of the others. Then nothing was changed.
  - Needs Redis 7 or newer, as the distribution's packages C(redis-server) and C(redis-tools) bring it.
options:
  number:
    description: The number of the application's cache; its queue has the next one.
    type: int
    default: 0
  password:
    description: The server's password. It is not used when O(host) is a loopback address.
    type: str
    default: ''
  host:
    description:
      - Where the application asks for Redis. With a loopback address the server needs neither an address on the network
        nor a password.
    type: str
    required: true
  address:
    description: What the other hosts call this one; an address, or a name that this host can look up.
    type: str
    default: ''
  listen_address:
    description: The address on which the server listens for the other hosts, where O(address) does not tell.
    type: str
    default: ''
  addresses:
    description: The addresses that this host has.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
"""

EXAMPLES = r"""
- name: Set up Redis
  slipway.webapp.redis_server:
    app: shop
    host: 10.0.0.6
    password: "{{ vault_redis_password }}"
    address: 10.0.0.6
    addresses: "{{ ansible_facts['all_ipv4_addresses'] + ansible_facts['all_ipv6_addresses'] }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["give shop the numbers 0, 1 of Redis"]
numbers:
  description: The numbers that the application has, also those that it had before.
  returned: success
  type: list
  elements: int
  sample: [0, 1]
listen:
  description: The addresses on which the application's other hosts ask; none where there are no others.
  returned: success
  type: list
  elements: str
  sample: [10.0.0.6]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _redis
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._redis_server import Server, look_up
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd

LOCK = "/run/lock/slipway-redis.lock"


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "number": {"type": "int", "default": 0},
        "password": {"type": "str", "default": "", "no_log": True},
        "host": {"type": "str", "required": True},
        "address": {"type": "str", "default": ""},
        "listen_address": {"type": "str", "default": ""},
        "addresses": {"type": "list", "elements": "str", "required": True},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    """Probe, plan, apply."""
    runner, given = HostRunner(module), module.params
    listen = _redis.listening(
        host=given["host"],
        address=given["address"],
        listen=given["listen_address"],
        addresses=given["addresses"],
        resolve=lambda name: look_up(runner, name),
    )
    wish = _redis.Wish(
        app=given["app"],
        number=given["number"],
        password=given["password"] if listen else "",
        listen=listen,
        addresses=tuple(given["addresses"]),
    )
    server = Server(runner, HostSystemd(runner), HostClock())
    if module.check_mode:
        return set_up(server, wish, check_mode=True)
    with locked(LOCK, wait_seconds=60, what="the setup of Redis"):
        return set_up(server, wish, check_mode=False)


def set_up(server: Server, wish: _redis.Wish, *, check_mode: bool) -> dict[str, Any]:
    layout = Layout(wish.app)
    found = server.probe(layout, wish)
    _redis.refuse(found, wish)

    def do(step: Step) -> None:
        server.apply(step, layout, wish)

    actions = carry_out(_redis.plan(found, wish), do, check_mode=check_mode)
    after = _redis.text_of(_redis.settings_of(found, wish))
    return {
        "changed": bool(actions),
        "actions": actions,
        "numbers": list(_redis.record_of(found, wish).numbers),
        "listen": list(wish.listen),
        "diff": {
            "before": _redis.without_password(found.settings or ""),
            "after": _redis.without_password(after),
        },
    }


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
