#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The floor: the same code-only deploy as one would type it by hand, over one SSH connection. It does the work and
# none of the proofs: nothing is validated, recorded, locked or reverted.
#
#   floor.sh SOURCE RELEASE APP DOMAIN "PROCESSES BESIDE WEB" ssh [options] HOST
set -eu
source=$1 release=$2 app=$3 domain=$4 others=$5
shift 5

# The single quotes are meant: this text runs on the host.
# shellcheck disable=SC2016
script='
set -eu
release=$1 app=$2 domain=$3 others=$4
cd "/srv/$app"
live=$(basename "$(dirname "$(readlink route/00.sock)")")
if [ "$live" = blue ]; then idle=green; else idle=blue; fi
new=releases/$release
mkdir -p "$new/code" "$new/static"
tar -C "$new/code" -xz
cmp -s "$new/code/requirements.txt" "slots/$live/code/requirements.txt"
cp -P "slots/$live/venv" "$new/venv"
python=$PWD/$new/venv/bin/python
chown "$app" "$new/static"
set -a
. "/etc/$app/slots/$live.env"
STATIC_ROOT=$PWD/$new/static MEDIA_ROOT=$PWD/shared/media
SLIPWAY_RELEASE=$release
set +a
manage() { (cd "$new/code" && HOME="/srv/$app/shared" setpriv --reuid "$app" --regid "$app" --init-groups "$python" manage.py "$@"); }
manage collectstatic --noinput --verbosity 0
manage check --deploy
manage migrate --check || manage migrate --noinput
chown -R root: "$new/static"
cp -alf "$new/static/." static/
systemctl stop "$app-web@$idle"
sed "s/^SLIPWAY_RELEASE=.*/SLIPWAY_RELEASE=\"$release\"/" "/etc/$app/slots/$live.env" >"/etc/$app/slots/$idle.env"
chgrp "$app" "/etc/$app/slots/$idle.env"
ln -sfn "../$new" "slots/$idle"
systemctl start "$app-web@$idle"
for try in 1 2 3; do
  curl -fsS --unix-socket "/run/$app/$idle/web.sock" -H "Host: $domain" -H "X-Forwarded-Proto: https" \
    http://localhost/health | grep -q "$release"
done
number=$(($(basename "$(readlink route)") + 1))
mkdir "routes/$number"
for bucket in 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19; do
  ln -s "/run/$app/$idle/web.sock" "routes/$number/$bucket.sock"
done
ln -s "routes/$number" route.new
mv -T route.new route
case $others in *beat*) systemctl disable --now --quiet "$app-beat@$live" ;; esac
for process in web $others; do units="${units-} $app-$process@$idle"; done
systemctl enable --now --quiet $units
for process in web $others; do systemctl disable --quiet "$app-$process@$live"; done
case $others in *worker*) systemctl stop --no-block "$app-worker@$live" ;; esac
curl -fsSk --resolve "$domain:443:127.0.0.1" "https://$domain/health" | grep -q "$release"
systemctl stop "$app-retire-$live.timer" 2>/dev/null || true
systemd-run --quiet --collect --unit="$app-retire-$live" --on-active=300 systemctl stop "$app-web@$live"
'
tar -C "$source" -cz . | "$@" "sudo sh -c '$script' floor '$release' '$app' '$domain' '$others'"
