# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release
short_description: Build a release on a host, or remove what is not needed any more
version_added: "0.1.0"
description:
  - Makes a release out of an artifact that M(slipway.webapp.artifact) packed. The artifact is unpacked, its locked
    requirements are installed (or an environment that has them is shared), C(check --deploy) and C(collectstatic) are
    run. No traffic moves.
  - A release is built beside its final place, made durable, and becomes visible by one rename. A build that is killed
    is never taken for a good one; the next run removes it and builds again. A complete release never changes.
  - The artifact is transferred only to a host that has neither it nor the release; its SHA-256 is verified there.
  - The project's own code runs as the application's user, with an environment made of the given variables only. What
    it made ends owned by root.
  - A host builds one release of an application at a time. A second call waits and finds the work done.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.lease
author:
  - The slipway.webapp contributors (@slipway-webapp)
options:
  state:
    description:
      - V(present) makes the release complete.
      - V(absent) removes it, unless a slot is assigned to it.
      - V(pruned) removes releases, environments, artifacts, configurations, static files and unfinished builds that
        are not needed. What a slot is assigned to stays, and so does what an unfinished run names. Where the record of
        one of these is damaged no environment, artifact or image goes; an image that another application needs stays.
    type: str
    choices: [present, absent, pruned]
    default: present
  release:
    description: The release's id, as M(slipway.webapp.artifact) returned it.
    type: str
  version:
    description: The version, to be recorded. Of an image what its labels say, where this is empty.
    type: str
    default: ''
  commit:
    description: The commit that was packed, to be recorded. Of an image what its labels say, where this is empty.
    type: str
    default: ''
  artifact:
    description: The packed artifact on the controller.
    type: path
  sha256:
    description: The artifact's SHA-256.
    type: str
  image:
    description:
      - What is released instead of an artifact, an image by its digest, as M(slipway.webapp.artifact) returned it.
        It is pulled, and its static files are collected in a container of it.
      - Needs the Docker Engine and the Python package C(docker) on the host.
    type: str
    default: ''
  frontend:
    description: The packed front end on the controller.
    type: path
    default: ''
  frontend_sha256:
    description:
      - The SHA-256 of the front end, or the digest of its image. Empty, where the release has none.
      - When it is O(sha256) too, the release is nothing but a front end.
    type: str
    default: ''
  frontend_image:
    description: The image, by its digest, out of which the front end's files are taken, instead of O(frontend).
    type: str
    default: ''
  frontend_image_path:
    description: The directory of that image which holds the files.
    type: str
    default: /usr/share/nginx/html
  frontend_hashed:
    description: Regular expressions of the front end's paths (C(/assets/main-8f3a2b1c.js)) that have a hash in their
      name. These files are kept while any retained release has them, and browsers keep them for ever.
    type: list
    elements: str
    default: []
  registry_username:
    description: The user of the registry, if it wants a login. It is used once and kept nowhere on the host.
    type: str
    default: ''
  registry_password:
    description: The password of that user.
    type: str
    default: ''
  python:
    description: The interpreter on the host that environments are made with, 3.9 or newer.
    type: path
    default: /usr/bin/python3
  settings_module:
    description: Django's settings module.
    type: str
  environment:
    description: The variables with which the project's settings are loaded.
    type: dict
    default: {}
  secrets:
    description: Variables whose values are secret. They appear in no result, no error and no command line.
    type: dict
    default: {}
  build_environment:
    description:
      - Variables for the installation, for example C(UV_INDEX_URL) or C(PIP_INDEX_URL).
      - Those that decide what gets installed take part in the environment's identity.
    type: dict
    default: {}
  build_secrets:
    description: Variables for the installation whose values are secret, for example an address with a token.
    type: dict
    default: {}
  collectstatic:
    description: Whether to run C(manage.py collectstatic).
    type: bool
    default: true
  check_deploy:
    description: Whether to run C(manage.py check --deploy). Its errors fail the build, its warnings do not.
    type: bool
    default: true
  retain:
    description: How many proven pairs of release and configuration stay with O(state=pruned). Releases that failed do
      not count.
    type: int
    default: 5
  keep:
    description: Releases that stay with O(state=pruned) besides, because another host that keeps the ledger says so.
    type: list
    elements: str
    default: []
  timeout:
    description: How many seconds each part of a build may take, and how long to wait for another build.
    type: int
    default: 900
  max_files:
    description: The most files that an artifact may hold.
    type: int
    default: 100000
  max_bytes:
    description: The most bytes that an artifact may hold once unpacked.
    type: int
    default: 4294967296
  artifact_upload:
    description: Set by the module itself on the controller, the place on the host to which the artifact was
      transferred.
    type: path
    default: ''
  artifact_size:
    description: Set by the module itself on the controller, the artifact's size in bytes.
    type: int
    default: 0
  frontend_upload:
    description: Set by the module itself on the controller, the place on the host to which the front end was
      transferred.
    type: path
    default: ''
  frontend_size:
    description: Set by the module itself on the controller, the packed front end's size in bytes.
    type: int
    default: 0
seealso:
  - module: slipway.webapp.artifact
  - module: slipway.webapp.release_info
  - module: slipway.webapp.slot
"""

EXAMPLES = r"""
- name: Build a release that is nothing but a front end
  slipway.webapp.release:
    app: shop
    release: "{{ artifact.release }}"
    sha256: "{{ artifact.sha256 }}"
    settings_module: ''
    frontend: "{{ artifact.path }}"
    frontend_sha256: "{{ artifact.sha256 }}"
    frontend_hashed: ['[.-][0-9a-f]{8,}[.]']

- name: Build the release on every host
  slipway.webapp.release:
    app: shop
    release: "{{ artifact.release }}"
    artifact: "{{ artifact.path }}"
    sha256: "{{ artifact.sha256 }}"
    settings_module: shop.settings
    environment:
      ALLOWED_HOSTS: shop.example.com
    secrets:
      SECRET_KEY: "{{ vault_secret_key }}"

- name: Keep the five newest ways back
  slipway.webapp.release:
    app: shop
    state: pruned
    retain: 5

- name: Remove one release
  slipway.webapp.release:
    app: shop
    state: absent
    release: 1.4.1-0f1e2d3c4b
"""

RETURN = r"""
changed:
  description: Whether anything was done.
  type: bool
  returned: success
actions:
  description: What was done, or would be done in check mode.
  type: list
  elements: str
  returned: success
  sample: ["unpack the artifact 9f86d081884c", "make release 1.4.2-5f1d3c9a0b visible"]
release:
  description:
    - The release as it is now; null when it is not there. In check mode only its id, version and SHA-256, if it is
      not there yet.
  type: dict
  returned: success
  contains:
    id:
      description: Its id.
      type: str
    version:
      description: The version that was recorded.
      type: str
    sha256:
      description: The SHA-256 of its artifact.
      type: str
    path:
      description: Its directory.
      type: str
    venv:
      description: Its environment's directory.
      type: str
    created:
      description: When it became complete, in UTC.
      type: str
    python:
      description: The version of its Python.
      type: str
    complete:
      description: Whether it can be run.
      type: bool
    problem:
      description: Why it cannot be run, or an empty text.
      type: str
    lock:
      description: The kind and the hash of its locked requirements.
      type: dict
    files:
      description: How many files its artifact holds.
      type: int
    commit:
      description: The commit that was packed, or an empty text.
      type: str
    frontend:
      description: The SHA-256 of its front end, or an empty text.
      type: str
checks:
  description: The last lines that C(check --deploy) and C(collectstatic) printed, when they ran.
  type: list
  elements: str
  returned: success
needs_artifact:
  description: True only inside the module, when nothing was done because the artifact is not on the host.
  type: bool
  returned: success
retained:
  description: The releases that stay.
  type: list
  elements: str
  returned: O(state=pruned)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _lease
from ansible_collections.slipway.webapp.plugins.module_utils import _release_states as states
from ansible_collections.slipway.webapp.plugins.module_utils._archive import Limits
from ansible_collections.slipway.webapp.plugins.module_utils._config import checked, merged
from ansible_collections.slipway.webapp.plugins.module_utils._engine import HostEngine
from ansible_collections.slipway.webapp.plugins.module_utils._frontend import Frontend
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded, ids_of
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._release import Wish
from ansible_collections.slipway.webapp.plugins.module_utils._release_build import Owner, Ports


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent", "pruned"], "default": "present"},
        "release": {"type": "str"},
        "version": {"type": "str", "default": ""},
        "commit": {"type": "str", "default": ""},
        "artifact": {"type": "path"},
        "sha256": {"type": "str"},
        "image": {"type": "str", "default": ""},
        "frontend": {"type": "path", "default": ""},
        "frontend_sha256": {"type": "str", "default": ""},
        "frontend_image": {"type": "str", "default": ""},
        "frontend_image_path": {"type": "str", "default": "/usr/share/nginx/html"},
        "frontend_hashed": {"type": "list", "elements": "str", "default": []},
        "registry_username": {"type": "str", "default": ""},
        "registry_password": {"type": "str", "default": "", "no_log": True},
        "python": {"type": "path", "default": "/usr/bin/python3"},
        "settings_module": {"type": "str"},
        "environment": {"type": "dict", "default": {}},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
        "build_environment": {"type": "dict", "default": {}},
        "build_secrets": {"type": "dict", "default": {}, "no_log": True},
        "collectstatic": {"type": "bool", "default": True},
        "check_deploy": {"type": "bool", "default": True},
        "retain": {"type": "int", "default": 5},
        "keep": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "int", "default": 900},
        "run": {"type": "str", "default": ""},
        "max_files": {"type": "int", "default": 100_000},
        "max_bytes": {"type": "int", "default": 4 << 30},
        "artifact_upload": {"type": "path", "default": ""},
        "artifact_size": {"type": "int", "default": 0},
        "frontend_upload": {"type": "path", "default": ""},
        "frontend_size": {"type": "int", "default": 0},
    }


def frontend_of(given: dict[str, Any]) -> Frontend | None:
    if not given["frontend_sha256"]:
        return None
    return Frontend(
        sha256=given["frontend_sha256"],
        upload=given["frontend_upload"],
        size=given["frontend_size"],
        image=given["frontend_image"],
        path=given["frontend_image_path"],
        hashed=tuple(given["frontend_hashed"]),
    )


def wish_of(given: dict[str, Any]) -> Wish:
    environment, _names = merged(environment=given["environment"], secrets=given["secrets"])
    build, _names = merged(environment=given["build_environment"], secrets=given["build_secrets"])
    hidden = {**checked(given["secrets"]), **checked(given["build_secrets"])}
    return Wish(
        release=given["release"],
        sha256=given["sha256"],
        version=given["version"],
        commit=given["commit"],
        python=given["python"],
        settings_module=given["settings_module"],
        environment=environment,
        build_environment=build,
        secrets=tuple(hidden.values()),
        collectstatic=given["collectstatic"],
        check_deploy=given["check_deploy"],
        upload=given["artifact_upload"],
        size=given["artifact_size"],
        timeout=given["timeout"],
        image=given["image"],
        login=(given["registry_username"], given["registry_password"]),
        limits=Limits(files=given["max_files"], total_bytes=given["max_bytes"]),
        frontend=frontend_of(given),
    )


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    layout = Layout(app=given["app"])
    common = {"check_mode": module.check_mode, "timeout": given["timeout"]}
    if given["state"] == "pruned":
        return states.pruned(layout, retain=given["retain"], keep=given["keep"], engine=HostEngine(), **common)
    if given["state"] == "absent":
        return states.absent(layout, given["release"], **common)
    owner = Owner(given["app"], *ids_of(given["app"]))
    ports = Ports(runner=HostRunner(module), clock=HostClock(), owner=owner, engine=HostEngine())
    with _lease.kept(layout, owner="" if module.check_mode else given["run"]):
        return states.present(layout, wish_of(given), ports, check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        required_if=[("state", "present", ("release", "sha256", "settings_module")), ("state", "absent", ("release",))],
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
