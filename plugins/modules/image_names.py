#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: image_names
short_description: Forget the names that a build gave an image
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Takes names from the engine of this host, and each image that has no other name. An image that has a tag is never
    cleaned up, so that each build would stay for ever.
  - What the image was built on top of stays, since an engine without BuildKit has no other cache.
  - The names of an image that a release on this host is, of whichever application, stay until M(slipway.webapp.release)
    removes that image. The names of an image that a container uses stay, too.
  - Needs the Docker Engine and the Python package C(docker) on the host.
extends_documentation_fragment:
  - slipway.webapp.image.attributes
options:
  names:
    description: The names, such as C(registry.example.org/shop:1.4.2). One that is not there is forgotten.
    type: list
    elements: str
    required: true
seealso:
  - module: slipway.webapp.release
"""

EXAMPLES = r"""
- name: Forget what has been pushed
  slipway.webapp.image_names:
    names: ["registry.example.org/shop:1.4.2"]
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["forget the name registry.example.org/shop:1.4.2"]
needed_by:
  description: The releases on this host because of which names stay.
  returned: success
  type: list
  elements: str
  sample: ["shop 1.4.2-5f1d3c9a0b"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _image_names
from ansible_collections.slipway.webapp.plugins.module_utils._engine import HostEngine
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded


def run(module: AnsibleModule) -> dict[str, Any]:
    return _image_names.forget(HostEngine(), module.params["names"], check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
