#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: manage
short_description: Run a release's manage.py
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Runs C(manage.py) of a release as the application's user, with the application's environment and nothing else of
    the caller's.
  - Secrets reach it by its environment and are masked in what it prints.
  - In check mode O(unless) is run and O(command) is not.
  - Migrations are run by M(slipway.webapp.migrate), which asks for a backup first.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.lease
options:
  release:
    description: The release. Without it, the live one.
    type: str
  config:
    description: A configuration that is retained on the host. Without it and O(environment), that of the live release.
    type: str
  environment:
    description: The environment variables that are not secret, instead of a retained configuration.
    type: dict
  secrets:
    description: The environment variables that are secret.
    type: dict
  command:
    description:
      - The words after C(manage.py), as a list, or as one text that is split as a shell does.
      - They are visible in the host's list of processes, so they hold no secrets.
      - What asks at a terminal is refused (C(shell) and C(dbshell) without C(-c), C(createsuperuser) without
        C(--noinput)), and what never ends, and C(migrate), unless with C(--plan) or C(--check).
    type: raw
    required: true
  unless:
    description: Another command, which changes nothing. When it exits with 0 there is nothing to do.
    type: list
    elements: str
  timeout:
    description: How many seconds each command may take.
    type: int
    default: 900
"""

EXAMPLES = r"""
- name: Make the table of the cache
  slipway.webapp.manage:
    app: shop
    release: 1.4.0-3f9a1c22d0
    environment:
      DJANGO_SETTINGS_MODULE: shop.settings
    secrets:
      SECRET_KEY: "{{ vault_secret_key }}"
    command: [createcachetable]

- name: Clear the sessions with the live release
  slipway.webapp.manage:
    app: shop
    command: [clearsessions]

- name: Count with the live release
  slipway.webapp.manage:
    app: shop
    command: shell -c 'from shop.models import Order; print(Order.objects.count())'
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Run manage.py createcachetable"]
release:
  description: The release whose manage.py was run.
  returned: success
  type: str
  sample: 1.4.0-3f9a1c22d0
rc:
  description: The exit code of the command; 0 when it was not run.
  returned: always
  type: int
  sample: 0
stdout:
  description: What the command printed, at most its last 64 KiB.
  returned: always
  type: str
  sample: ""
stderr:
  description: What the command printed as errors, at most its last 64 KiB.
  returned: always
  type: str
  sample: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _lease, _manage
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._manage_words import words_of


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "release": {"type": "str"},
        "config": {"type": "str"},
        "environment": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
        "command": {"type": "raw", "required": True},
        "unless": {"type": "list", "elements": "str"},
        "timeout": {"type": "int", "default": 900},
        "run": {"type": "str", "default": ""},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, layout = module.params, Layout(module.params["app"])
    command = words_of(given["command"])
    manager = _manage.manager_of(layout, HostRunner(module), given)
    with _lease.kept(layout, owner="" if module.check_mode else given["run"]):
        return _manage.manage(manager, command=command, unless=given["unless"] or [], check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        mutually_exclusive=[("config", "environment")],
        required_by={"secrets": "environment"},
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
