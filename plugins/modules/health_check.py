#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: health_check
short_description: Wait until the right release answers well, several times in a row
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Asks a slot's socket, another Unix socket or a URL until enough good answers came in a row, or fails when the
    deadline is over.
  - Says nothing is healthy unless it has seen so many good answers itself. A bad answer begins the count anew.
  - A failure shows the last answers and, for a slot, the last log lines of its web process.
  - Sends C(X-Forwarded-Proto) V(https), so that an application that insists on HTTPS answers here too. Redirects are
    not followed.
  - In check mode it asks nobody and says what it would ask.
extends_documentation_fragment:
  - slipway.webapp.app.info
  - slipway.webapp.app.run
attributes:
  check_mode:
    description: Asks nobody, and says what it would ask.
    support: full
options:
  app:
    description: The application's name. Needed with O(slot).
    type: str
  slot:
    description: Ask the web process of this slot.
    type: str
    choices: [blue, green]
  processes:
    description:
      - With O(slot), the processes of the slot that must be ready. V(web) is asked; of the others systemd must say so.
      - Without V(web) nobody is asked.
    type: list
    elements: str
    choices: [web, worker, beat]
    default: [web]
  socket:
    description: Ask at this Unix socket.
    type: path
  url:
    description: Ask at this URL.
    type: str
  path:
    description: What to ask for. Without it the path of O(url), or V(/).
    type: str
  host:
    description: The host name to ask for. Without it that of O(url), or V(localhost).
    type: str
  headers:
    description: More request headers. They are not treated as secret.
    type: dict
    default: {}
  status:
    description: The statuses that are good.
    type: list
    elements: int
    default: [200]
  json:
    description: Fields that the answer, a JSON object, must have with these values. Nested objects may have more
      fields.
    type: dict
    default: {}
  release:
    description: The release that must answer, by its header C(X-Slipway-Release) or, without that, the JSON field
      C(release).
    type: str
    default: ''
  successes:
    description: So many good answers in a row.
    type: int
    default: 3
  interval:
    description: Seconds between two questions.
    type: float
    default: 0.1
  deadline:
    description: Seconds until it fails.
    type: float
    default: 60
  timeout:
    description: Seconds that one answer may take.
    type: float
    default: 5
  ca_path:
    description: A file with the certificates that are trusted, instead of the system's.
    type: path
  validate_certs:
    description: Whether the server's certificate must be trusted.
    type: bool
    default: true
  resolve:
    description: Connect to this address instead of what DNS says about the host of O(url).
    type: str
    default: ''
  unit:
    description: The systemd unit whose last log lines a failure shows. With O(slot), its web process.
    type: str
"""

EXAMPLES = r"""
- name: Wait for the release in the green slot
  slipway.webapp.health_check:
    app: shop
    slot: green
    path: /health
    host: shop.example.org
    release: 1.4.0-3f9a1c22d0

- name: Ask at the public address, past the DNS
  slipway.webapp.health_check:
    url: https://shop.example.org/health
    resolve: 192.0.2.10
    json:
      database: ok
    successes: 1
  delegate_to: localhost
"""

RETURN = r"""
actions:
  description: What was asked, or would be asked in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Asked /health at /run/shop/green/web.sock"]
asked:
  description: How many questions were asked.
  returned: success
  type: int
  sample: 4
successes:
  description: How many good answers came in a row; 0 in check mode.
  returned: success
  type: int
  sample: 3
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.612
last:
  description: The last answer.
  returned: when asked
  type: dict
  sample: {status: 200, release: 1.4.0-3f9a1c22d0, body: ok}
answers:
  description: The last answers.
  returned: failure
  type: list
  elements: dict
  sample: [{status: 502, release: "", body: Bad Gateway}]
log:
  description: The last log lines of the unit.
  returned: failure
  type: list
  elements: str
  sample: ["ModuleNotFoundError: No module named 'shop'"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._gate import OPTIONS, watch_of
from ansible_collections.slipway.webapp.plugins.module_utils._health import Watch, Wish, ask_until_healthy
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, Target, context_of, target_of
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str"},
        "slot": {"type": "str", "choices": list(SLOTS)},
        "processes": {"type": "list", "elements": "str", "choices": list(PROCESSES), "default": ["web"]},
        "socket": {"type": "path"},
        "url": {"type": "str"},
        **OPTIONS,
        "headers": {"type": "dict", "default": {}},
        "release": {"type": "str", "default": ""},
        "ca_path": {"type": "path"},
        "validate_certs": {"type": "bool", "default": True},
        "resolve": {"type": "str", "default": ""},
        "unit": {"type": "str"},
        "run": {"type": "str", "default": ""},
    }


def _target(given: dict[str, Any]) -> Target:
    socket = Layout(given["app"]).socket(given["slot"]) if given["slot"] else given["socket"]
    return target_of(
        url=given["url"] or "",
        path=given["path"] or "",
        socket_path=socket or "",
        host=given["host"] or "",
        resolve=given["resolve"],
    )


def _asker(given: dict[str, Any], target: Target) -> HttpAsker:
    return HttpAsker(
        target=target,
        headers={str(name): str(value) for name, value in given["headers"].items()},
        context=context_of(target, ca_path=given["ca_path"] or "", validate_certs=given["validate_certs"]),
    )


def run(module: AnsibleModule) -> dict[str, Any]:
    given, clock, systemd = module.params, HostClock(), HostSystemd(HostRunner(module))
    target = _target(given)
    layout = Layout(given["app"]) if given["slot"] else None
    if layout and not module.check_mode:
        _transaction.alive(layout, run=given["run"], clock=clock, seconds=int(given["deadline"]) + 1)
    unit = given["unit"] or ""
    return ask_until_healthy(
        Wish(**{name: given[name] for name in Wish.__dataclass_fields__}),
        asker=_asker(given, target) if not layout or "web" in given["processes"] else None,
        clock=clock,
        watch=watch_of(layout, given["slot"], given["processes"], systemd=systemd, unit=unit)
        if layout
        else Watch(systemd=systemd, unit=unit),
        where=str(target),
        check_mode=module.check_mode,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        mutually_exclusive=[("slot", "socket", "url")],
        required_one_of=[("slot", "socket", "url")],
        required_by={"slot": "app"},
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
