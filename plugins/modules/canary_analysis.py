#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: canary_analysis
short_description: Judge a new release by what users got from it and from the old one
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Adds up what M(slipway.webapp.traffic_info) saw on the hosts, and compares the new side with the old one at the same
    time, or, where the old one has no traffic any more, with what it did before.
  - Errors are compared by Fisher's exact test, times by the exceedance test of the old side's p95. A difference must be
    large enough to matter, and too unlikely to be chance. With three looks at most, a release that is as good as the
    old one is called worse in less than one judgement of a hundred.
  - Missing data never passes. A host without an answer or a log makes the judgement inconclusive.
  - It never fails, so that every host can decide on its answer; see RV(decision).
  - Runs on the controller only.
options:
  infos:
    description: What M(slipway.webapp.traffic_info) returned, by the host's name.
    type: dict
    required: true
  hosts:
    description: The hosts that must have answered.
    type: list
    elements: str
    required: true
  minimum:
    description: The requests that each side must have answered before a judgement can be good.
    type: int
    default: 100
  errors:
    description: The smallest rise of the share of answers with a status of 500 or more that counts.
    type: float
    default: 0.005
  latency:
    description: The smallest ratio of the new p95 to the old one that counts. It must also be 50 ms above it.
    type: float
    default: 1.5
  policy:
    description:
      - What an inconclusive judgement leads to. V(wait) looks again until O(final) and then stops, V(probe) does the
        same and lets our own requests stand for those that users did not send, V(stop) stops at once.
      - V(pass) looks again and then goes on, but not when data is missing, nor when the new side has answered nobody at
        all, neither a user nor us.
    type: str
    choices: [probe, wait, stop, pass]
    default: probe
  final:
    description: There is no time for another look.
    type: bool
    default: true
  whole:
    description: All of the time is to be watched, so that a good judgement before O(final) leads to another look.
    type: bool
    default: false
  prometheus_url:
    description: The address of a Prometheus that the controller reaches.
    type: str
    default: ""
  prometheus_queries:
    description: Instant queries, each a dictionary with C(name), C(query), and C(max) or C(min) or both. A value out of
      bounds fails; no value, or no answer, is missing data.
    type: list
    elements: dict
    default: []
extends_documentation_fragment:
  - slipway.webapp.app.info
"""

EXAMPLES = r"""
- name: Is the new release worse
  slipway.webapp.canary_analysis:
    infos: "{{ infos }}"
    hosts: [app1, app2, app3]
  register: analysis
  run_once: true # on the controller only
"""

RETURN = r"""
verdict:
  description: V(pass), V(fail) or V(inconclusive).
  returned: success
  type: str
  sample: fail
decision:
  description: What follows from it by the policy; V(go_on), V(look_again) or V(stop).
  returned: success
  type: str
  sample: stop
reasons:
  description: Why, in sentences.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      users (at the same time): 31 of 1502 (2.06 %) failed on the new side, 0 of 1499 (0.00 %) on the old one, chance
      4.7e-10
msg:
  description: The same for people, with what to do next.
  returned: success
  type: str
  sample: The new release does worse than the old one
numbers:
  description: What was counted.
  returned: success
  type: dict
  sample: {new: {requests: 1502, errors: 31, p95_ms: 90.5}, old: {requests: 1499, errors: 0, p95_ms: 83.0}}
"""
