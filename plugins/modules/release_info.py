# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_info
short_description: List the releases on a host
version_added: "0.1.0"
description:
  - Lists every release of an application on a host, whether it is complete, and which slots are assigned to it.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
author:
  - The slipway.webapp contributors (@slipway-webapp)
options:
  release:
    description: List only this release.
    type: str
seealso:
  - module: slipway.webapp.release
"""

EXAMPLES = r"""
- name: Look at what is there
  slipway.webapp.release_info:
    app: shop
  register: there

- name: Show what can be run
  ansible.builtin.debug:
    msg: "{{ there.releases | selectattr('complete') | map(attribute='id') | list }}"
"""

RETURN = r"""
releases:
  description: The releases, the newest first.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The release's id.
      type: str
    complete:
      description: Whether it can be run.
      type: bool
    problem:
      description: Why it cannot be run, or an empty text.
      type: str
    slots:
      description: The slots that are assigned to it.
      type: list
      elements: str
    version:
      description: The version that was recorded.
      type: str
    sha256:
      description: The SHA-256 of its artifact.
      type: str
    created:
      description: When it became complete, in UTC.
      type: str
    python:
      description: The version of its Python.
      type: str
    lock:
      description: The kind and the hash of its locked requirements.
      type: dict
    path:
      description: Its directory.
      type: str
    venv:
      description: Its environment's directory.
      type: str
    files:
      description: How many files its artifact holds.
      type: int
    frontend:
      description: The SHA-256 of its front end, or an empty text.
      type: str
    commit:
      description: The commit that was packed, or an empty text.
      type: str
unfinished:
  description: Releases that somebody began to build or to remove.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded
from ansible_collections.slipway.webapp.plugins.module_utils._installed import listing
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def main() -> None:
    module = AnsibleModule(
        argument_spec={"app": {"type": "str", "required": True}, "release": {"type": "str"}}, supports_check_mode=True
    )

    def run() -> dict[str, Any]:
        return {"changed": False, **listing(Layout(app=module.params["app"]), only=module.params["release"] or "")}

    guarded(module, run)


if __name__ == "__main__":
    main()
