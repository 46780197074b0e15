#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The floor with containers: the same code-only deploy as one would type it by hand, over one SSH connection: pull, run,
# wait, switch, stop. It does the work and none of the proofs: nothing is validated, recorded, locked or reverted. Its
# containers stand beside those of our own deploys, with the same limits and the variables of the live slot.
#
#   floor_docker.sh IMAGE RELEASE APP DOMAIN ssh [options] HOST
set -eu
image=$1 release=$2 app=$3 domain=$4
shift 4

# The single quotes are meant: this text runs on the host.
# shellcheck disable=SC2016
script='
set -eu
image=$1 release=$2 app=$3 domain=$4
home=/srv/$app-by-hand
live=$(basename "$(readlink "$home/route")" 2>/dev/null) || live=green
if [ "$live" = blue ]; then idle=green; else idle=blue; fi
docker pull --quiet "$image" >/dev/null
mkdir -p "$home/static/$release" "$home/blue" "$home/green" "$home/shared"
chown "$app" "$home/static/$release" "$home/blue" "$home/green" "$home/shared"
env=/etc/$app/slots/$(basename "$(dirname "$(readlink "/srv/$app/route/00.sock")")").env
set -a
. "$env"
SLIPWAY_RELEASE=$release STATIC_ROOT=$home/static/$release MEDIA_ROOT=$home/shared REDIS_URL=${REDIS_URL%/*}/5
PYTHONDONTWRITEBYTECODE=1
set +a
names="STATIC_ROOT MEDIA_ROOT PYTHONDONTWRITEBYTECODE $(sed -n "s/^\([A-Z_]*\)=.*/\1/p" "$env")"
for name in $names; do options="${options-} --env $name"; done
options="$options --network host --user $(id -u "$app"):$(id -g "$app") --init --read-only --tmpfs /tmp --memory 512m"
options="$options --cap-drop ALL --security-opt no-new-privileges --log-driver journald --volume $home:$home --volume /run/postgresql:/run/postgresql"
once() { docker run --rm $options --entrypoint python "$image" manage.py "$@"; }
once collectstatic --noinput --verbosity 0
once check --deploy
once migrate --check || once migrate --noinput
docker rm --force "$app-by-hand-web-$idle" "$app-by-hand-worker-$idle" >/dev/null 2>&1 || true
start() { what=$1; shift; docker run --detach --name "$app-by-hand-$what-$idle" $options --entrypoint python "$image" -m "$@" >/dev/null; }
start web gunicorn --bind "unix:$home/$idle/web.sock" --workers 2 --threads 4 board.wsgi
start worker celery --app board worker --concurrency 1
for try in 1 2 3; do
  until curl -fs --unix-socket "$home/$idle/web.sock" -H "Host: $domain" -H "X-Forwarded-Proto: https" \
    http://localhost/health | grep -q "$release"; do sleep 0.1; done
done
ln -sfn "$idle" "$home/route.new"
mv -T "$home/route.new" "$home/route"
docker rm --force "$app-by-hand-beat-$live" >/dev/null 2>&1 || true
start beat celery --app board beat --schedule /tmp/schedule
curl -fs --unix-socket "$home/route/web.sock" -H "Host: $domain" -H "X-Forwarded-Proto: https" \
  http://localhost/health | grep -q "$release"
docker stop "$app-by-hand-web-$live" "$app-by-hand-worker-$live" >/dev/null 2>&1 || true
'
"$@" "sudo sh -c '$script' floor '$image' '$release' '$app' '$domain'"
