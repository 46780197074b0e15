#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: image_lock
short_description: Have a repository to oneself on the host that builds
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - One build of a repository at a time is at work on a host. Somebody else's is refused, and told who is at it, since
    when, and by which process.
  - A build is at work as long as processes turn up on the host that have C(SLIPWAY_BUILD) with its O(owner) in their
    environment. Give it to all tasks of a build by C(environment). One that shows none for a minute has been killed,
    and the next build takes its place, and removes what it has left. In check mode nobody waits for that minute.
  - The lock has a directory for the login, in memory, which goes with it.
extends_documentation_fragment:
  - slipway.webapp.image.attributes
options:
  repository:
    description: The repository, as Docker writes it.
    type: str
    required: true
  state:
    description:
      - V(held) takes the lock, or fails.
      - V(released) gives it back. That of another owner is left alone, without an error.
    type: str
    default: held
    choices: [held, released]
  owner:
    description: Who takes or holds it. A run uses an id of its own.
    type: str
    required: true
  by:
    description: The person who builds.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Have it to ourselves
  slipway.webapp.image_lock:
    repository: registry.example.org/shop
    owner: 20261121T110500-4b1f
    by: anna@ci
  register: lock

- name: Build it
  community.docker.docker_image_build:
    name: registry.example.org/shop:1.4.2
    path: /tmp/source
  environment:
    DOCKER_CONFIG: "{{ lock.path }}"
    SLIPWAY_BUILD: 20261121T110500-4b1f

- name: Give it back
  slipway.webapp.image_lock:
    repository: registry.example.org/shop
    owner: 20261121T110500-4b1f
    state: released
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["take registry.example.org/shop for this build"]
path:
  description: The directory for the login of whoever holds the lock; an empty text where nobody does.
  returned: success
  type: str
  sample: /run/slipway-image-0f1e2d3c4b5a/login-x1y2z3
lock:
  description: The lock as it is now; null when nobody holds it. Also returned with a refusal.
  returned: always
  type: dict
  sample:
    owner: 20261121T110500-4b1f
    by: anna@ci
    since: "2026-11-21T11:05:00Z"
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _image_lock
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, guarded


def spec() -> dict[str, Any]:
    return {
        "repository": {"type": "str", "required": True},
        "state": {"type": "str", "default": "held", "choices": ["held", "released"]},
        "owner": {"type": "str", "required": True},
        "by": {"type": "str", "default": ""},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, check_mode = module.params, module.check_mode
    if given["state"] == "released":
        return _image_lock.release(given["repository"], owner=given["owner"], check_mode=check_mode)
    return _image_lock.hold(
        given["repository"], owner=given["owner"], by=given["by"], clock=HostClock(), check_mode=check_mode
    )


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
