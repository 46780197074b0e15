# SPDX-License-Identifier: GPL-3.0-or-later
"""The port through which the collection's code runs programs here, where there is no Ansible."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
NOT_STARTED = 127


class PlainRunner:
    """Runs programs as root, in a clean environment; as another user it runs nothing."""

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
        stdin: str = "",
    ) -> Completed:
        """See the port's own words, in _ports.py."""
        if user:
            raise NotImplementedError("settling runs nothing as another user")
        try:
            done = subprocess.run(
                list(command),
                env={**CLEAN, **(environment or {})},
                cwd=cwd or os.sep,
                timeout=timeout or None,
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Completed(code=-1, stdout="", stderr="", timed_out=True)
        except OSError as error:
            return Completed(code=NOT_STARTED, stdout="", stderr=str(error))
        return Completed(code=done.returncode, stdout=done.stdout, stderr=done.stderr)
