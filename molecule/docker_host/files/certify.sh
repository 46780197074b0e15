#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Make a private authority and a registry's certificate: certify.sh DIRECTORY NAME
set -eu
mkdir -p "$1"
cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj '/CN=authority of a test' \
    -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" -keyout registry.key -out registry.csr
printf 'subjectAltName = DNS:%s\nbasicConstraints = CA:FALSE\n' "$2" >registry.cnf
openssl x509 -req -in registry.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile registry.cnf -out registry.partial
mv registry.partial registry.pem
