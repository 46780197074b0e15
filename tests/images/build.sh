#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Bootstrap the file system of a bare server into a tar file. Runs as root.
# Usage: build.sh SUITE LIKE MIRROR-or-"" KEYRING COMPONENTS OVERLAY CACHE OUT
#   LIKE     the release whose debootstrap script serves, where debootstrap is older than the suite
#   OVERLAY  directory whose files are laid over the result (settings of this machine: package sources, certificates)
#   CACHE    directory that keeps downloaded packages for the next build
set -eu
suite=$1 like=$2 mirror=$3 keyring=$4 components=$5 overlay=$6 cache=$7 out=$8
here=$(dirname "$(readlink -f "$0")")
packages=systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,sudo,iproute2,ca-certificates,procps

work=$(mktemp -d "$(dirname "$out")/rootfs.XXXXXX")
scripts=$(mktemp -d)
trap 'rm -rf "$work" "$scripts" "$out.partial"' EXIT
mkdir -p "$cache"

cp -a /usr/share/debootstrap/. "$scripts/"
[ -e "$scripts/scripts/$suite" ] || ln -s "$like" "$scripts/scripts/$suite"
DEBOOTSTRAP_DIR=$scripts debootstrap --variant=minbase --include="$packages" --components="$components" \
    --keyring="$keyring" --cache-dir="$(readlink -f "$cache")" "$suite" "$work" ${mirror:+"$mirror"}

# What debootstrap found is the one source; the machine's settings add updates and security where they are known.
# The `:?` keeps a mistake above from reaching the machine itself.
root=${work:?}
cp -a "$here/rootfs/." "$root/"
cp -a "$overlay/." "$root/"
chown -R root:root "$root/etc/apt" "$root/etc/sudoers.d" "$root/usr/local"
chmod 0755 "$root/usr/local/sbin/host-entry" "$root/usr/local/sbin/keep-packages"
chmod 0440 "$root/etc/sudoers.d/deploy"

# A container has no devices, consoles or kernel modules of its own. The daily apt jobs would take the package lock at a
# random moment of a test.
for unit in systemd-udevd.service systemd-networkd-wait-online.service systemd-modules-load.service getty@tty1.service \
    console-getty.service apt-daily.timer apt-daily-upgrade.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

chroot "$root" useradd --create-home --shell /bin/bash deploy
chroot "$root" update-ca-certificates >/dev/null
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/archives/*.deb "$root/etc/hostname"
rm -rf "$root"/var/lib/apt/lists/*
: >"$root/etc/machine-id"

tar -C "$root" --numeric-owner -c . >"$out.partial"
mv "$out.partial" "$out"
