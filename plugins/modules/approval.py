#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: approval
short_description: Ask whether a release may go live
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Asks once for all hosts, on the terminal of the run, and says what was answered. V(yes) and the release's id
    approve; any other answer, an interruption, no answer in time, and no terminal refuse.
  - It returns the decision and does not fail, so that each host of the play can assert it and enter its rescue.
  - Runs on the controller only. In check mode it does not ask, and says that it would.
options:
  release:
    description: The release's id.
    type: str
    required: true
  version:
    description: Its version.
    type: str
    default: ''
  sha256:
    description: The SHA-256 of its artifact.
    type: str
    default: ''
  answer:
    description:
      - The answer, given beforehand; the release's id, its version, or at least 12 digits of the SHA-256 of its
        artifact. Any other one refuses.
      - Without it, somebody is asked.
    type: str
    default: ''
  seconds:
    description: Seconds that somebody has to answer.
    type: int
    default: 600
extends_documentation_fragment:
  - slipway.webapp.app.info
attributes:
  check_mode:
    description: Does not ask, and says that it would.
    support: full
"""

EXAMPLES = r"""
- name: Ask whether it may go live
  slipway.webapp.approval:
    release: 1.4.0-3f9a1c22d0
    version: 1.4.0
    answer: "{{ approve | default('') }}"
  register: approval
  run_once: true

- name: It is approved
  ansible.builtin.assert:
    that: approval.approved
    fail_msg: "{{ approval.refusal }}"
"""

RETURN = r"""
approved:
  description: Whether the release may go live.
  returned: success
  type: bool
  sample: true
how:
  description: How that was answered.
  returned: success
  type: str
  sample: on a terminal
refusal:
  description: What to say when it was not approved; else empty.
  returned: success
  type: str
  sample: ""
actions:
  description: In check mode, what it would ask.
  returned: success
  type: list
  elements: str
  sample: []
"""
