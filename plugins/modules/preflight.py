#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: Check every setting of every host before anything is touched
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Runs once on the controller, for all hosts of the play, and connects to none of them.
  - Refuses a run that does not touch exactly one environment, and every setting that is missing, misspelt, of a wrong
    type or out of its range. All problems are named in one message. Secrets are never shown.
  - The play must name the role P(slipway.webapp.webapp#role) under C(roles), which brings the settings.
options:
  needs:
    description:
      - What this playbook needs beside good settings.
      - V(source) checks that the source exists where it can be checked on the controller.
      - V(image) checks that there is source code that an image can be built of, and a registry for it.
    type: list
    elements: str
    choices: [source, image]
    default: []
  partial:
    description:
      - Whether the run may leave out hosts of the environment. Readers may; what changes hosts may not by itself.
      - V(with_primary) lets it leave out any host but the primary, which keeps the lease and runs the migrations.
    type: str
    choices: [allow, with_primary, refuse]
    default: refuse
  accepts:
    description: The variables that this playbook reads from the command line, so that a misspelt one is refused.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - slipway.webapp.app.info
"""

EXAMPLES = r"""
- name: preflight | check every setting of every host
  slipway.webapp.preflight:
    needs: [source]
    accepts: [release]
  register: __run_preflight
  run_once: true
"""

RETURN = r"""
environment:
  description: The one environment of the run.
  returned: success
  type: str
  sample: production
hosts:
  description: The hosts of the run.
  returned: success
  type: list
  elements: str
  sample: [web1, web2]
left_out:
  description: Hosts of the environment that run the application and are not in the run.
  returned: success
  type: list
  elements: str
  sample: []
primary:
  description: The host that runs what must run once.
  returned: success
  type: str
  sample: web1
config:
  description: The id of the environment and the secrets that the settings describe.
  returned: success
  type: str
  sample: 3f2a90c17be4
run:
  description: The unique id of this run.
  returned: success
  type: str
  sample: 20260102T030405Z-9f3a61c2
by:
  description: Who runs it.
  returned: success
  type: str
  sample: anna@desk7
problems:
  description: Every problem that was found.
  returned: failure
  type: list
  elements: dict
  contains:
    host:
      description: The host, or an empty text when it concerns the whole run.
      type: str
    name:
      description: The setting.
      type: str
    found:
      description: What is there.
      type: str
    expected:
      description: What should be.
      type: str
"""
