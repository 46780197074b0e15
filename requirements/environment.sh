#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Make a private Python environment, with the Ansible collections that fit it. Does nothing when all is there.
# Usage: environment.sh run|test NAME [PYTHON]
#   NAME    suffix of .build/venv and .build/collections ("" for the usual ones)
#   PYTHON  3.11, 3.12 or 3.13; without it the newest that is found
set -eu
want=$1 name=$2 versions=${3:-3.13 3.12 3.11}
cd "$(dirname "$(readlink -f "$0")")/.."
venv=.build/venv$name
collections=.build/collections$name
mkdir -p .build
exec 9>".build/environment$name.lock"
flock 9

# A shim of a version manager answers for versions that it does not have: only running the program tells.
find_python() {
    for version in $versions; do
        for python in "python$version" "$HOME/.pyenv/versions/$version".*/bin/"python$version"; do
            if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
                echo "$python"
                return
            fi
        done
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

make_venv() {
    python=$(find_python)
    if [ -z "$python" ]; then
        echo "environment: installing python3-venv" >&2
        as_root apt-get -o DPkg::Lock::Timeout=600 -qq update >.build/apt.log 2>&1 || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install -y python3-venv \
            >>.build/apt.log 2>&1 || tail -n 20 .build/apt.log >&2
        python=$(find_python)
    fi
    if [ -z "$python" ]; then
        echo "error: no Python of $versions with venv and ensurepip is found. Install one, then run this again." >&2
        exit 1
    fi
    echo "environment: $venv with $("$python" --version)" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# The stamp holds what the environment was made from, so a change of any of it makes it anew or brings it up to date.
stamp=$(cat requirements/constraints.txt requirements/run.txt requirements/collections.txt requirements/*.py "$0" | sha256sum)
[ "$want" = run ] || stamp="$stamp $(sha256sum <requirements/test.txt)"
stampfile=$venv/stamp-$want
if [ "$(cat "$stampfile" 2>/dev/null || true)" = "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
case " $versions " in
*" ${version:-none} "*) ;;
*) make_venv ;;
esac
echo "environment: installing requirements/$want.txt" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "requirements/$want.txt" \
    --constraint requirements/constraints.txt 2>".build/pip$name.log" || {
    tail -n 20 ".build/pip$name.log" >&2
    exit 1
}
"$venv/bin/python" requirements/fetch_collections.py "$collections"
echo "$stamp" >"$stampfile"
