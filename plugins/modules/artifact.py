# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: artifact
short_description: Pack an application's source once, on the controller
version_added: "0.1.0"
description:
  - Packs a source tree into one C(.tar.gz) whose bytes depend on the tree alone, so that the same tree always has the
    same SHA-256.
    File times, owners, the umask, the order of files and the locale do not matter; modes become C(0644) or C(0755).
  - Names the release that the artifact gives together with a recipe. The id is the same on every host.
  - Runs on the controller (C(delegate_to=localhost)); the module M(slipway.webapp.release) ships the artifact to the
    hosts that lack it.
  - Paths that escape, links that leave the tree, devices, named pipes, members that are there twice and archives of
    absurd size are refused.
extends_documentation_fragment:
  - slipway.webapp.app.attributes
author:
  - The slipway.webapp contributors (@slipway-webapp)
options:
  source:
    description:
      - A directory. In a Git work tree what Git tracks, and what it neither tracks nor ignores, is packed; elsewhere
        every file. Untracked files
        that hold version control data, caches, virtual environments, C(node_modules), C(.env*) files and editors'
        leftovers are left out.
      - Or the address of a Git repository (C(git+https://), C(git@host:path), C(ssh://), C(file://), anything ending
        in C(.git), a bare
        repository's path, or the path of a work tree when O(ref) is given).
      - Or an image by its digest (C(registry.example.com/shop@sha256:...)). Nothing is packed then.
      - Or a packed C(.tar.gz) (a path, or an C(http://) or C(https://) address, which needs O(sha256)).
    type: str
    required: true
  ref:
    description: The branch, tag or commit of a Git repository. Without it, what its C(HEAD) names. A tag wins over a
      branch of the same name.
    type: str
    default: ''
  sha256:
    description: The SHA-256 that a packed artifact must have.
    type: str
    default: ''
  subdirectory:
    description: The directory inside the source that holds C(manage.py). Only it is packed.
    type: str
    default: ''
  exclude:
    description:
      - Patterns (as in a shell) of what is left out besides. A pattern without a slash is compared with every name,
        one with a slash with the path.
    type: list
    elements: str
    default: []
  version:
    description: A name for people, put before the release's id.
    type: str
    default: ''
  recipe:
    description: What else makes a release of the artifact, for example the settings module. Another recipe gives
      another release.
    type: dict
    default: {}
  frontend:
    description: The source is a front end that was built, with C(index.html) at its top. All files of a directory are
      packed then, whatever Git ignores, and links are refused.
    type: bool
    default: false
  destination:
    description: The directory on the controller that keeps packed artifacts and mirrors of Git repositories.
    type: path
    required: true
  max_files:
    description: The most files that an artifact may hold.
    type: int
    default: 100000
  max_bytes:
    description: The most bytes that an artifact may hold once unpacked.
    type: int
    default: 4294967296
  timeout:
    description: How many seconds a download or a fetch of a repository may take.
    type: int
    default: 600
seealso:
  - module: slipway.webapp.release
"""

EXAMPLES = r"""
- name: Pack the working tree
  slipway.webapp.artifact:
    source: ../shop
    destination: ~/.cache/slipway
  delegate_to: localhost
  register: artifact

- name: Pack a tag of a repository
  slipway.webapp.artifact:
    source: git@git.example.com:shop.git
    ref: v1.4.2
    version: 1.4.2
    subdirectory: backend
    recipe:
      settings: shop.settings
    destination: ~/.cache/slipway
  delegate_to: localhost

- name: Take what continuous integration packed
  slipway.webapp.artifact:
    source: https://builds.example.com/shop-1.4.2.tar.gz
    sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    destination: ~/.cache/slipway
  delegate_to: localhost
"""

RETURN = r"""
changed:
  description: Whether the artifact was not in O(destination) before.
  type: bool
  returned: success
actions:
  description: What was done, or would be done in check mode.
  type: list
  elements: str
  returned: success
  sample: ["pack 61 files as 9f86d081884c7d65.tar.gz"]
path:
  description: The packed artifact on the controller. In check mode it may not be there yet.
  type: str
  returned: success
sha256:
  description: The SHA-256 of the packed artifact.
  type: str
  returned: success
size:
  description: Its size in bytes.
  type: int
  returned: success
files:
  description: How many files and links it holds.
  type: int
  returned: success
version:
  description: The version that was given.
  type: str
  returned: success
commit:
  description: The commit that was packed, or that the work tree is based on; empty when the source is not a Git
    repository.
  type: str
  returned: success
uncommitted:
  description: Whether the work tree has changes or files that the commit does not hold, so that it does not tell what
    was packed.
  type: bool
  returned: success
migrations:
  description: The files in it that look like migrations of Django or Alembic.
  type: list
  elements: str
  returned: success
  sample: [notes/migrations/0002_note_mood.py]
image:
  description: The source, if it is an image; else an empty text.
  type: str
  returned: success
  sample: registry.example.com/shop@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
release:
  description: The id of the release that this artifact and recipe give.
  type: str
  returned: success
  sample: 1.4.2-5f1d3c9a0b
left_out:
  description: What was left out and by which rule; the first 50.
  type: list
  elements: dict
  returned: success
  sample: [{"name": ".env", "rule": ".env"}]
left_out_count:
  description: How many files and directories were left out.
  type: int
  returned: success
"""

import http.client
import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ansible_collections.slipway.webapp.plugins.module_utils._archive import Limits
from ansible_collections.slipway.webapp.plugins.module_utils._artifact import Fetch, Wish, as_result, obtain
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._mask import without_password
from ansible_collections.slipway.webapp.plugins.module_utils._source import Git, as_written


def spec() -> dict[str, Any]:
    return {
        "source": {"type": "str", "required": True},
        "ref": {"type": "str", "default": ""},
        "sha256": {"type": "str", "default": ""},
        "subdirectory": {"type": "str", "default": ""},
        "exclude": {"type": "list", "elements": "str", "default": []},
        "version": {"type": "str", "default": ""},
        "recipe": {"type": "dict", "default": {}},
        "frontend": {"type": "bool", "default": False},
        "destination": {"type": "path", "required": True},
        "max_files": {"type": "int", "default": 100_000},
        "max_bytes": {"type": "int", "default": 4 << 30},
        "timeout": {"type": "int", "default": 600},
    }


def downloader(timeout: int) -> Fetch:
    def fetch(address: str, path: str) -> None:
        try:
            with open_url(address, timeout=timeout, http_agent="slipway.webapp") as answer, open(path, "wb") as stream:
                shutil.copyfileobj(answer, stream)
        # urllib's errors are OSErrors; one that breaks off in the middle is another.
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise SlipwayError(
                f"{without_password(address)} cannot be downloaded",
                found=without_password(str(error) or type(error).__name__),
                next_step="try the same address on the controller",
            ) from error

    return fetch


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    wish = Wish(
        source=as_written(given["source"]),
        destination=os.path.abspath(given["destination"]),
        ref=given["ref"],
        sha256=given["sha256"],
        subdirectory=given["subdirectory"],
        exclude=tuple(given["exclude"]),
        version=given["version"],
        recipe={str(name): str(value) for name, value in given["recipe"].items()},
        frontend=given["frontend"],
        limits=Limits(files=given["max_files"], total_bytes=given["max_bytes"]),
    )
    # Git must be the operator's own: it may need their PATH, their SSH agent and their configuration.
    path = os.environ.get("PATH", os.defpath)
    git = Git(runner=HostRunner(module), environment={"PATH": path}, timeout=given["timeout"])
    artifact, changed = obtain(wish, git=git, fetch=downloader(given["timeout"]), check_mode=module.check_mode)
    return as_result(artifact, changed=changed)


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module), umask=None)  # the controller is its operator's own


if __name__ == "__main__":
    main()
