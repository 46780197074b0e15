#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: commit_info
short_description: See the commits between the live release and a new one
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Lists the commits that a deploy would bring, and how many it would take back. Runs where the source is, on the
    controller. Changes nothing but the mirror that M(slipway.webapp.artifact) keeps.
  - What cannot be known is no failure. The answer then says why.
extends_documentation_fragment:
  - slipway.webapp.app.info
options:
  source:
    description: The source, as M(slipway.webapp.artifact) has it.
    type: str
    required: true
  destination:
    description: Where M(slipway.webapp.artifact) keeps artifacts and mirrors.
    type: path
    required: true
  live:
    description: The commit of the live release; empty when it is not known.
    type: str
    default: ''
  commit:
    description: The commit of the new release; empty when the source is no repository.
    type: str
    default: ''
  most:
    description: The most commits that are listed.
    type: int
    default: 20
  timeout:
    description: Seconds that a fetch may take.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: What would a deploy bring
  slipway.webapp.commit_info:
    source: "{{ webapp_source }}"
    destination: ~/.cache/slipway
    live: 77ab01c9de42d1b6f3a1e0c5a9d8b7c6e5f4a3b2
    commit: "{{ artifact.commit }}"
  delegate_to: localhost
"""

RETURN = r"""
known:
  description: Whether the commits are known.
  returned: success
  type: bool
  sample: true
why:
  description: Why they are not, or an empty text.
  returned: success
  type: str
  sample: ""
from:
  description: The commit of the live release.
  returned: success
  type: str
  sample: 77ab01c9de42d1b6f3a1e0c5a9d8b7c6e5f4a3b2
to:
  description: The commit of the new release.
  returned: success
  type: str
  sample: 5f1d3c9a0b2e4d6f8a1c3e5b7d9f0a2c4e6b8d0f
count:
  description: How many commits are new.
  returned: success
  type: int
  sample: 12
taken_back:
  description: How many commits of the live release are not in the new one.
  returned: success
  type: int
  sample: 0
uncommitted:
  description: Whether the work tree that is packed has changes that no commit holds.
  returned: success
  type: bool
  sample: false
subjects:
  description: The new commits, the newest first.
  returned: success
  type: list
  elements: dict
  sample: [{commit: 5f1d3c9a0b2e4d6f8a1c3e5b7d9f0a2c4e6b8d0f, subject: Mend the search}]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils._commits import Range, between
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._source import Git, as_written


def spec() -> dict[str, Any]:
    return {
        "source": {"type": "str", "required": True},
        "destination": {"type": "path", "required": True},
        "live": {"type": "str", "default": ""},
        "commit": {"type": "str", "default": ""},
        "most": {"type": "int", "default": 20},
        "timeout": {"type": "int", "default": 600},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    asked = Range(
        source=as_written(given["source"]),
        cache=os.path.abspath(given["destination"]),
        old=given["live"],
        new=given["commit"],
        most=given["most"],
    )
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    git = Git(runner=HostRunner(module), environment=environment, timeout=given["timeout"])
    return {"changed": False, **between(asked, git)}


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
