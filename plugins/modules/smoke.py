#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: smoke
short_description: Ask what users ask, at the public address
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Sends a list of requests to the public address, some of them at a time, and judges each answer by its status, its
    JSON fields and the texts in it. Each request is sent once and redirects are not followed.
  - All results are reported, as a table and if wanted as JUnit XML. The module fails when one of them failed.
  - How a command of the operator's own ended can be one of the results.
  - An answer that names a release in C(X-Slipway-Release) must name the right one.
  - Runs on the controller. Values of headers, and bodies of requests, are in no result, no error and no log.
  - In check mode it asks nobody and says what it would ask.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.info
attributes:
  check_mode:
    description: Asks nobody, and says what it would ask.
    support: full
options:
  url:
    description: The public address, such as V(https://shop.example.org). A check's path follows it.
    type: str
    required: true
  resolve:
    description: Connect to this address instead of what DNS says.
    type: str
    default: ''
  validate_certs:
    description: Whether the server's certificate must be trusted.
    type: bool
    default: true
  release:
    description: The release that must answer, where an answer says which.
    type: str
    default: ''
  deadline:
    description: Seconds until the last answer must be there.
    type: float
    default: 60
  checks:
    description: What to ask.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name in the report, each once.
        type: str
        required: true
      path:
        description: What to ask for, with a query if there is one.
        type: str
        required: true
      method:
        description: The method.
        type: str
        choices: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]
        default: GET
      host:
        description: Another host name than that of O(url).
        type: str
        default: ''
      headers:
        description: More request headers.
        type: dict
        default: {}
      body:
        description: The request's body.
        type: str
        default: ''
      status:
        description: The statuses that are good.
        type: list
        elements: int
        default: [200]
      json:
        description: Fields that the answer, a JSON object, must have with these values. Nested objects may have more.
        type: dict
        default: {}
      text:
        description: Texts that must be in the answer.
        type: list
        elements: str
        default: []
      deadline:
        description: Seconds that the answer may take.
        type: float
        default: 10
  results:
    description: The results of an earlier call that belong into the same report.
    type: list
    elements: dict
    default: []
  command:
    description: The words of the operator's own command. Without O(command_result) it is reported as not run when a
      check fails.
    type: list
    elements: str
    default: []
  command_result:
    description: What M(ansible.builtin.command) said of it.
    type: dict
  command_deadline:
    description: The seconds that it had.
    type: float
    default: 300
  junit:
    description: Where to write the report as JUnit XML; its directory must exist.
    type: path
seealso:
  - module: slipway.webapp.health_check
"""

EXAMPLES = r"""
- name: Ask what users ask
  slipway.webapp.smoke:
    app: shop
    url: https://shop.example.org
    resolve: 192.0.2.10
    junit: /tmp/smoke.xml
    checks:
      - name: home
        path: /
        text: [Welcome]
      - name: search
        path: /api/search?q=shoe
        headers:
          Authorization: "Bearer {{ smoke_token }}"
        json:
          status: ok
  delegate_to: localhost
"""

RETURN = r"""
actions:
  description: What was asked, or would be asked in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Asked GET /"]
results:
  description: How each test ended. Empty in check mode.
  returned: always
  type: list
  elements: dict
  sample: [{name: home, what: GET /, verdict: passed, why: "", seconds: 0.021, output: ""}]
table:
  description: The same for people.
  returned: success
  type: str
  sample: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _smoke, _smoke_report
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, guarded, iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, context_of, target_of
from ansible_collections.slipway.webapp.plugins.module_utils._mask import MASK, SHORTEST


def spec() -> dict[str, Any]:
    check = {
        "name": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "method": {"type": "str", "choices": list(_smoke.METHODS), "default": "GET"},
        "host": {"type": "str", "default": ""},
        "headers": {"type": "dict", "default": {}, "no_log": True},
        "body": {"type": "str", "default": "", "no_log": True},
        "status": {"type": "list", "elements": "int", "default": [200]},
        "json": {"type": "dict", "default": {}},
        "text": {"type": "list", "elements": "str", "default": []},
        "deadline": {"type": "float", "default": _smoke.DEADLINE},
    }
    return {
        "app": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "resolve": {"type": "str", "default": ""},
        "validate_certs": {"type": "bool", "default": True},
        "release": {"type": "str", "default": ""},
        "deadline": {"type": "float", "default": 60},
        "checks": {"type": "list", "elements": "dict", "default": [], "options": check},
        "results": {"type": "list", "elements": "dict", "default": []},
        "command": {"type": "list", "elements": "str", "default": []},
        "command_result": {"type": "dict"},
        "command_deadline": {"type": "float", "default": 300},
        "junit": {"type": "path"},
    }


def checks_of(module: AnsibleModule) -> list[_smoke.Check]:
    """The checks, after the module has forgotten the values that nobody shall read.

    Ansible hides a value also inside of other words. Of one as short as a digit that would make a result unreadable,
    so those are taken out of what it was called with instead.
    """
    given = module.params["checks"]
    bare = [{name: value for name, value in one.items() if name != "host" or value} for one in given]
    checks = _smoke.read_checks(bare)
    for one in given:
        one.update(headers=dict.fromkeys(one["headers"], MASK), body=MASK if one["body"] else "")
    module.no_log_values = {value for value in module.no_log_values if len(value) >= SHORTEST}
    return checks


def asker_of(given: dict[str, Any], check: _smoke.Check) -> HttpAsker:
    address = given["url"].rstrip("/")
    if check.host:
        address = f"{address.partition('://')[0]}://{check.host}"
    target = target_of(url=address + check.path, resolve=given["resolve"])
    return HttpAsker(
        target=target,
        headers={"User-Agent": "slipway-smoke", **check.headers},
        context=context_of(target, validate_certs=given["validate_certs"]),
        method=check.method,
        body=check.body.encode(),
        longest=_smoke.LONGEST_BODY,
    )


def outcomes_of(module: AnsibleModule, checks: list[_smoke.Check]) -> list[_smoke.Outcome]:
    given = module.params
    found = _smoke.ask_all(
        checks,
        asker_of=lambda check: asker_of(given, check),
        clock=HostClock(),
        deadline=given["deadline"],
        release=given["release"],
    )
    found = [*_smoke_report.from_data(given["results"]), *found]
    ended, failed = given["command_result"], any(one.verdict == _smoke.FAILED for one in found)
    if given["command"] and (ended is not None or failed):
        found.append(_smoke.command_outcome(given["command"], ended, deadline=given["command_deadline"]))
    return found


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    checks = checks_of(module)
    if module.check_mode:
        said = [f"Would ask {check.what}" for check in checks]
        return {"changed": False, "actions": said, "results": [], "table": ""}
    outcomes = outcomes_of(module, checks)
    results = _smoke_report.as_data(outcomes)
    if given["junit"]:
        about = {"url": given["url"], "release": given["release"]}
        at = iso_time(HostClock().now()).rstrip("Z")
        try:
            report = _smoke_report.junit(outcomes, suite=f"{given['app']}.smoke", at=at, properties=about)
            _smoke_report.write_junit(given["junit"], report)
        except SlipwayError as error:  # no reason to take a good release back
            module.warn(str(error))
    problem = _smoke_report.problem(outcomes, url=given["url"])
    if problem:
        problem.details["results"] = results
        raise problem
    said = [f"Asked {check.what}" for check in checks]
    return {"changed": False, "actions": said, "results": results, "table": _smoke_report.text_of(outcomes)}


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
