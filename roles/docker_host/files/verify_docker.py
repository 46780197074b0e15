# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the engine itself read a candidate for daemon.json, before that takes its place: verify_docker.py CANDIDATE

Engines from 23.0 on have an option for it. An older one is started with a copy of the candidate whose data-root cannot
be made: that is the first thing it does after it has read and judged the document, and there it ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

NOWHERE = "no-directory"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return subprocess.run(
        ["dockerd", *words],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def problem(candidate: str) -> str:
    """What the engine has against the candidate, or nothing."""
    if "--validate" in run("--help").stdout:
        done = run("--validate", "--config-file", candidate)
        return "" if done.returncode == 0 else done.stdout
    with open(candidate, encoding="utf-8") as file:
        document = json.load(file)
    with tempfile.TemporaryDirectory() as place:
        # It would make a user for userns-remap.
        document.pop("userns-remap", None)
        document.update(
            {"pidfile": f"{place}/pid", "data-root": f"{place}/{NOWHERE}/data", "exec-root": f"{place}/exec"}
        )
        for name, content in ((NOWHERE, ""), ("daemon.json", json.dumps(document))):
            with open(f"{place}/{name}", "w", encoding="utf-8") as file:
                file.write(content)
        done = run("--config-file", f"{place}/daemon.json")
    return "" if f"{NOWHERE}/data: not a directory" in done.stdout else done.stdout or "the engine said nothing"


if __name__ == "__main__":
    found = problem(sys.argv[1])
    if found:
        sys.stderr.write(found)
        sys.exit(1)
