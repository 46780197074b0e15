#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: image_source_info
short_description: See what the source of an image is
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Tells whether an unpacked source has a Dockerfile, and whether it is that of a front end.
  - A back end without a Dockerfile is built by ours, and is refused unless its requirements are locked, by the rules of
    M(slipway.webapp.release). Nothing is changed.
extends_documentation_fragment:
  - slipway.webapp.app.info
options:
  path:
    description: The directory on this host that holds the source.
    type: path
    required: true
  dockerfile:
    description: The Dockerfile's path in it.
    type: str
    default: Dockerfile
seealso:
  - module: slipway.webapp.release
"""

EXAMPLES = r"""
- name: See what it is
  slipway.webapp.image_source_info:
    path: /tmp/source
  register: source
"""

RETURN = r"""
own:
  description: Whether it has the Dockerfile.
  returned: success
  type: bool
frontend:
  description: Whether it is the source of a front end, one with C(package.json) and no lock of Python.
  returned: success
  type: bool
lock:
  description: The file that locks its requirements, where it is a back end without a Dockerfile; else an empty text.
  returned: success
  type: str
  sample: requirements.txt
"""

import dataclasses
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _image_source
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded


def run(module: AnsibleModule) -> dict[str, Any]:
    found = _image_source.look(module.params["path"], module.params["dockerfile"])
    return {"changed": False, **dataclasses.asdict(found)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "dockerfile": {"type": "str", "default": "Dockerfile"},
        },
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
