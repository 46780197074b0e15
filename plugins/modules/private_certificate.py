#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: private_certificate
short_description: Make a private authority and a server certificate on a host
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Makes an authority and a server certificate signed by it, for hosts that no public authority vouches for.
  - The files are in the C(tls) directory of the application, which M(slipway.webapp.tree) makes.
  - Clients that trust C(ca.pem) can verify the server. C(server.pem) holds key, certificate and authority.
  - Renews the certificate before it ends, when its names differ, or when its key does not fit.
  - Needs the C(openssl) program on the host.
options:
  names:
    description: Host names and addresses that the certificate is for.
    type: list
    elements: str
    required: true
  days:
    description: For how many days a certificate is made.
    type: int
    default: 397
  renew_days:
    description: How many days before its end a certificate is replaced.
    type: int
    default: 30
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
"""

EXAMPLES = r"""
- name: Make a certificate for a test host
  slipway.webapp.private_certificate:
    app: shop
    names: [shop.test, www.shop.test]
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["issue a certificate for shop.test in /etc/shop/tls/server.pem"]
authority:
  description: The certificate that clients must trust.
  returned: success
  type: str
  sample: /etc/shop/tls/ca.pem
certificate:
  description: The file with the server's key, its certificate and the authority's.
  returned: success
  type: str
  sample: /etc/shop/tls/server.pem
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _certificate
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out


def run(module: AnsibleModule) -> dict[str, Any]:
    """Probe, plan, apply."""
    runner = HostRunner(module)
    wish = _certificate.Wish(
        directory=os.path.join(Layout(module.params["app"]).etc, "tls"),
        names=tuple(module.params["names"]),
        days=module.params["days"],
        renew_days=module.params["renew_days"],
    )
    found = _certificate.probe(runner, wish=wish)

    def do(step: Step) -> None:
        _certificate.apply(step, runner=runner, wish=wish)

    actions = carry_out(_certificate.plan(wish=wish, found=found), do, check_mode=module.check_mode)
    diff = {
        "before": "".join(f"{name}\n" for name in found.names),
        "after": "".join(f"{name}\n" for name in wish.names),
    }
    return {
        "changed": bool(actions),
        "actions": actions,
        "authority": wish.ca,
        "certificate": wish.server,
        "diff": diff,
    }


def main() -> None:
    spec = {
        "app": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "required": True},
        "days": {"type": "int", "default": 397},
        "renew_days": {"type": "int", "default": 30},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
