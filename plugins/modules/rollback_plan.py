#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback_plan
short_description: Choose the release that a rollback goes to
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Chooses, once for all hosts, the release and configuration that a rollback goes to, and the slot on each host.
  - Decides from what M(slipway.webapp.deploy_info) found on every application host. Changes nothing.
  - Refuses a release that never was live, is not there or is not complete, or that cannot run on the database as it
    is now, and says which ones can be chosen.
  - Runs on the controller only.
options:
  infos:
    description: What M(slipway.webapp.deploy_info) returned, by the host's name.
    type: dict
    required: true
  primary:
    description: The host whose ledger decides.
    type: str
    required: true
  release:
    description: The release to go to. Empty for the one that the live release replaced.
    type: str
    default: ""
  accept_schema:
    description: Go back although migrations were applied since that the release cannot live with.
    type: bool
    default: false
  restored:
    description: The id of the backup that the database will be put back to. What was applied since then does not count.
      One of before the release's own migrations is refused.
    type: str
    default: ""
extends_documentation_fragment:
  - slipway.webapp.app.info
"""

EXAMPLES = r"""
- name: Choose the release to go back to
  slipway.webapp.rollback_plan:
    infos: "{{ infos }}"
    primary: app1
"""

RETURN = r"""
release:
  description: The release to go to.
  returned: success
  type: str
  sample: 1.4.0-3f9a1c22d0
config:
  description: The configuration it ran with.
  returned: success
  type: str
  sample: 90c1f7a2be41
slots:
  description: The slot that will serve it, by the host's name.
  returned: success
  type: dict
  sample: {app1: green}
"""
