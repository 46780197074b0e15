#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# List all that a run could have changed on a host, so that two lists can be compared: files with owner, mode, size and
# time, contents where it is small, packages, units and databases. What lives on by itself is left out.
set -eu
# Ansible runs scripts at a terminal, where psql would wait for a reader to turn the page.
export PAGER=cat PSQL_PAGER=cat
app=$1
find /etc /home /opt /root /srv /usr /var -xdev \
    \( -path '*/.ansible' -o -name __pycache__ -o -path /var/log -o -path /var/lib/systemd -o -path /var/lib/redis \
       -o -path '/var/lib/postgresql/*/main' -o -path '/var/cache/*' -o -path /var/tmp \
       -o -path '/srv/*/shared' -o -path /var/lib/nginx \) -prune \
    -o -type d -printf 'd %p %M %u:%g\n' \
    -o -type l -printf 'l %p %u:%g %l\n' \
    -o -type f -printf 'f %p %M %u:%g %s %T@\n' | sort
find /etc -xdev -type f -exec sha256sum {} + | sort -k2
dpkg-query --show --showformat 'package ${Package} ${Version} ${db:Status-Status}\n'
systemctl list-unit-files --no-legend --no-pager --plain | sort
systemctl list-units --all --no-legend --no-pager --plain "$app-*" nginx.service 'postgresql*' 'redis*' | awk '{print $1, $3, $4}' | sort
if command -v psql >/dev/null; then
    runuser -u postgres -- psql -P pager=off -d postgres -Atc 'SELECT rolname FROM pg_roles ORDER BY 1' -c 'SELECT datname FROM pg_database ORDER BY 1'
    database=$(printf %s "$app" | tr - _)
    if runuser -u postgres -- psql -P pager=off -d postgres -Atc 'SELECT datname FROM pg_database' | grep -qx "$database"; then
        runuser -u postgres -- psql -P pager=off -d "$database" -Atc "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    fi
fi
