# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module from the files that provisioning has put on the host, instead of sending and compiling it.

For every task Ansible sends a module with all that it imports, packed, and the host compiles it: that costs more than
what most modules do. Provisioned hosts have the same files, compiled, in a directory that is named after their content.
Where it is there, a few lines with the module's arguments are all that is sent; where it is not, because the host was
provisioned by another version of this collection or of ansible-core, or never, Ansible does what it always does.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from pathlib import Path
from typing import Any

import ansible.module_utils
import ansible.release
from ansible import constants
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action import ActionBase

from ansible_collections.slipway.webapp.plugins.module_utils._installation import MODULES, version_of
from ansible_collections.slipway.webapp.plugins.module_utils._layout import LIBRARY

# How a packed module is started is ansible-core's own business, and differs between versions: 2.22 hands over more.
# With a version that is not listed everything is packed, until somebody has seen that it works and adds it here.
KNOWN_CORES = ("2.19.", "2.20.", "2.21.")
COLLECTION = Path(__file__).resolve().parents[2]
NAMESPACE = "ansible_collections.slipway.webapp.plugins"
PLACE = NAMESPACE.replace(".", "/")
FOLDERS = ("module_utils", "modules")
# The smallest module there is. Ansible finds the host's Python while it packs it, once for all tasks of a run.
SMALLEST = "ansible.builtin.ping"
PROFILE = "legacy"  # how arguments and results of modules are written that do not ask for another way
MISSING = "needs_packing"
SCRIPT = """#!/usr/bin/python3
import os
import sys

library = {library!r}
if os.path.isdir(library):
    try:
        os.getcwd()
    except OSError:
        os.chdir("/")
    # Nothing from where this script lies, or who runs it is at work.
    here = ("", ".", os.path.dirname(os.path.realpath(__file__)) if "__file__" in globals() else "")
    sys.path[:] = [library, *(place for place in sys.path if place not in here)]
    from ansible.module_utils._internal._ansiballz import _loader
    from ansible.module_utils.common.json import Direction, get_module_decoder, get_module_encoder

    # All is imported before anything is done: who works for long may outlive the directory.
    get_module_decoder({profile!r}, Direction.CONTROLLER_TO_MODULE)
    get_module_encoder({profile!r}, Direction.MODULE_TO_CONTROLLER)
    _loader.run_module(
        json_params={params!r}, profile={profile!r}, module_fqn={module!r}, modlib_path=library, extensions={{}}
    )
else:
    print({missing!r})
"""


def module_files() -> dict[str, str]:
    """All that a module of this collection may import, and the modules, by the path below which Python finds it.

    Of ansible-core what modules share, without the facts, which are large and nobody here needs.
    """
    shared = Path(ansible.module_utils.__file__).parent
    files = {
        f"ansible/module_utils/{path.relative_to(shared)}": path
        for path in shared.rglob("*.py")
        if path.relative_to(shared).parts[0] != "facts"
    }
    for folder in FOLDERS:
        for path in (COLLECTION / "plugins" / folder).glob("*.py"):
            files[f"{PLACE}/{folder}/{path.name}"] = path
    # With them nothing else that the host's Python has under these names is looked at.
    parents = [*itertools.accumulate(PLACE.split("/"), os.path.join), *(f"{PLACE}/{folder}" for folder in FOLDERS)]
    return {
        "ansible/__init__.py": f'__version__ = "{ansible.release.__version__}"\n',
        **{f"{parent}/__init__.py": "" for parent in parents},
        **{name: path.read_text(encoding="utf-8") for name, path in files.items()},
    }


def library() -> str:
    """The directory on the hosts that has these very files. Asked for each task and host, so it is kept for the run."""
    kept = Path(constants.DEFAULT_LOCAL_TMP) / MODULES
    try:
        version = kept.read_text(encoding="utf-8")
    except FileNotFoundError:
        version = version_of(MODULES, module_files())
        partial = kept.with_name(f"{MODULES}-{os.getpid()}")
        partial.write_text(version, encoding="utf-8")
        partial.replace(kept)
    return os.path.join(LIBRARY, version)


def script_for(module: str, arguments: Any, *, directory: str) -> str:
    """The program that runs a module of this collection from ``directory``, or says that it is not there."""
    encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
    return SCRIPT.format(
        library=directory,
        params=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder).encode(),
        profile=PROFILE,
        module=f"{NAMESPACE}.modules.{module}",
        missing=json.dumps({MISSING: True}),
    )


class InstalledModules(ActionBase):
    """An action whose modules run from the host's own files where it has them."""

    _directory = ""

    def _execute_module(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._directory = library() if self._may_be_installed(kwargs) else ""
        try:
            result: dict[str, Any] = super()._execute_module(*args, **kwargs)
        finally:
            self._directory = ""
        if result.get(MISSING):
            result = super()._execute_module(*args, **kwargs)
        return result

    def _may_be_installed(self, given: dict[str, Any]) -> bool:
        """Not where it could not say that it needs packing, and where somebody wants what only a packed module has."""
        limit = constants.config.get_config_value("PYTHON_MODULE_RLIMIT_NOFILE", variables=given.get("task_vars"))
        wants_packed = given.get("wrap_async") or constants.DEFAULT_KEEP_REMOTE_FILES or limit
        return not wants_packed and ansible.release.__version__.startswith(KNOWN_CORES)

    def _configure_module(self, module_name: str, module_args: Any, task_vars: Any) -> tuple[Any, str]:
        """What is sent, and which file of the host it runs, for those who ask with -vvv."""
        collection, _dot, name = module_name.rpartition(".")
        if not self._directory or collection != "slipway.webapp":
            packed: tuple[Any, str] = super()._configure_module(module_name, module_args, task_vars)
            return packed
        smallest, _path = super()._configure_module(SMALLEST, {}, task_vars)
        script = script_for(name, module_args, directory=self._directory).encode()
        place = os.path.join(self._directory, PLACE, "modules", f"{name}.py")
        return dataclasses.replace(smallest, b_module_data=script, serialization_profile=PROFILE), place
