#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Write constraints.txt anew from the two environments, after a version in run.txt or test.txt was changed.
# Usage: requirements/freeze.sh (after `make env env-oldest` with an empty constraints.txt)
set -eu
cd "$(dirname "$0")/.."
frozen() {
    "$1/bin/python" -m pip list --format=freeze --disable-pip-version-check | grep -Ev '^(pip|setuptools)==' | sed "s/\$/; python_version $2 \"3.12\"/"
}
{
    echo '# SPDX-License-Identifier: GPL-3.0-or-later'
    echo '# Made by requirements/freeze.sh: the exact version of everything that the pinned tools need in turn.'
    frozen .build/venv '>='
    frozen .build/venv-oldest '<'
} >requirements/constraints.txt
