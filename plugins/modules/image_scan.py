#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: image_scan
short_description: Ask a scanner whether an image may be pushed
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Asks Trivy, pip-audit or a command of one's own what is known of the packages in an image that the engine of this
    host has, and says whether that refuses it. Nothing is changed.
  - The scanner is a program on this host, which somebody has installed.
  - It fails when the scanner is missing, fails, takes too long or says nothing that can be read. What it found fails
    nothing here, RV(passed) says what it means.
  - What is not known counts as the worst; a finding without a severity (all those of pip-audit), and a package that
    could not be looked up, which is a finding C(UNAUDITED-name).
extends_documentation_fragment:
  - slipway.webapp.app.info
options:
  image:
    description: The image, by a name that the engine of this host knows.
    type: str
    required: true
  scanner:
    description:
      - V(trivy) looks at the packages of the system and of all languages.
      - V(pip-audit) looks at the packages that the image's own C(python) has.
      - V(command) is O(command).
    type: str
    required: true
    choices: [trivy, pip-audit, command]
  command:
    description:
      - A program and its words. It is given C(SCAN_IMAGE), and prints the JSON of Trivy or of pip-audit, or
        C({"findings":[{"id":"CVE-2027-1","package":"x","severity":"high"}]}), also with C(version), C(fixed), C(title)
        and C(aliases). It ends with 0 whatever it has found.
    type: list
    elements: str
    default: []
  severity:
    description: The least severity that refuses.
    type: str
    default: high
    choices: [low, medium, high, critical]
  unfixed:
    description: Whether a finding that no version mends refuses, too.
    type: bool
    default: true
  excepted:
    description:
      - Findings that are accepted for a time. C(id) is the name of a finding or one of its other names, C(until) the
        last day that it holds, C(why) the reason, C(package) the only package that it holds for. One that has ended
        refuses.
    type: list
    elements: dict
    default: []
  environment:
    description: Variables for the scanner, such as TRIVY_DB_REPOSITORY.
    type: dict
    default: {}
  timeout:
    description: How many seconds the scanner may take.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Look at the image
  slipway.webapp.image_scan:
    image: registry.example.org/shop:1.4.2
    scanner: trivy
    severity: high
    excepted:
      - id: CVE-2026-12345
        until: "2027-01-31"
        why: The function is not used here.
  register: found

- name: It may be pushed
  ansible.builtin.assert:
    that: found.passed
    fail_msg: "{{ found.refusal }}"
"""

RETURN = r"""
passed:
  description: Whether nothing refuses the image.
  returned: success
  type: bool
  sample: false
refusal:
  description: Why it may not be pushed, for people, or an empty text.
  returned: success
  type: str
  sample: "registry.example.org/shop:1.4.2 is not pushed: 1 finding refuses it"
table:
  description: What was found, for people.
  returned: success
  type: str
  sample: "trivy on registry.example.org/shop:1.4.2: REFUSED"
report:
  description:
    - What was found, for programs. The verdict of each of C(findings) is V(refused), V(expired) (its exception has
      ended), V(excepted) or V(passed).
  returned: success
  type: dict
  sample:
    image: registry.example.org/shop:1.4.2
    scanner: trivy
    severity: high
    passed: false
    counts: {refused: 1, expired: 0, excepted: 0, passed: 12}
    findings:
      - id: CVE-2026-12345
        package: openssl
        version: 3.0.11-1
        severity: high
        fixed: 3.0.11-2
        title: openssl - a weakness
        aliases: []
        blind: false
        verdict: refused
        why: mended in 3.0.11-2
    unused_exceptions: []
"""

import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _image_scan
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded


def spec() -> dict[str, Any]:
    scanners = [_image_scan.TRIVY, _image_scan.PIP_AUDIT, _image_scan.COMMAND]
    return {
        "image": {"type": "str", "required": True},
        "scanner": {"type": "str", "required": True, "choices": scanners},
        "command": {"type": "list", "elements": "str", "default": []},
        "severity": {"type": "str", "default": "high", "choices": list(_image_scan.SEVERITIES)},
        "unfixed": {"type": "bool", "default": True},
        "excepted": {"type": "list", "elements": "dict", "default": []},
        "environment": {"type": "dict", "default": {}},
        "timeout": {"type": "int", "default": 600},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    wish = _image_scan.Wish(
        image=given["image"],
        scanner=given["scanner"],
        severity=given["severity"],
        unfixed=given["unfixed"],
        excepted=_image_scan.read_excepted(given["excepted"]),
        command=tuple(given["command"]),
        environment={name: str(value) for name, value in given["environment"].items()},
        timeout=given["timeout"],
    )
    today = datetime.datetime.fromtimestamp(HostClock().now(), tz=datetime.timezone.utc).date()
    judged = _image_scan.judge(_image_scan.ask(wish, HostRunner(module)), wish, today=today)
    report = _image_scan.report(judged, wish)
    return {
        "changed": False,
        "passed": report["passed"],
        "refusal": _image_scan.refusal(judged, wish),
        "table": _image_scan.text_of(judged, wish),
        "report": report,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(), required_if=[("scanner", "command", ("command",))], supports_check_mode=True
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
