# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a test host: gives its registry an image once more, as if it were for other machines; prints its digest.

python3 change_architecture.py ADDRESS REPOSITORY DIGEST USER:PASSWORD ARCHITECTURE
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import urllib.request
from typing import Any

KINDS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class Repository:
    """One repository of a registry, by its HTTP interface."""

    def __init__(self, address: str, name: str, login: str) -> None:
        self._base = f"http://{address}/v2/{name}"
        self._login = "Basic " + base64.b64encode(login.encode()).decode()

    def ask(self, method: str, where: str, body: bytes | None = None, **headers: str) -> Any:
        """The answer; a path is below the repository."""
        url = where if where.startswith("http") else self._base + where
        request = urllib.request.Request(
            url, data=body, method=method, headers={"Authorization": self._login, **headers}
        )
        return urllib.request.urlopen(request, timeout=60)

    def manifest(self, digest: str) -> Any:
        """What an image is made of; of an index its first image."""
        with self.ask("GET", f"/manifests/{digest}", Accept=", ".join(KINDS)) as answer:
            found = json.load(answer)
        return self.manifest(found["manifests"][0]["digest"]) if "manifests" in found else found

    def keep(self, body: bytes) -> str:
        """Store a blob; its digest."""
        digest = digest_of(body)
        with self.ask("POST", "/blobs/uploads/", b"") as begun:
            where = begun.headers["Location"]
        mark = "&" if "?" in where else "?"
        self.ask("PUT", f"{where}{mark}digest={digest}", body, **{"Content-Type": "application/octet-stream"}).close()
        return digest


def digest_of(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def main(address: str, name: str, digest: str, login: str, architecture: str) -> None:
    repository = Repository(address, name, login)
    manifest = repository.manifest(digest)
    with repository.ask("GET", f"/blobs/{manifest['config']['digest']}") as answer:
        config = json.dumps({**json.load(answer), "architecture": architecture}).encode()
    manifest["config"] = {**manifest["config"], "digest": repository.keep(config), "size": len(config)}
    body = json.dumps(manifest).encode()
    kind = manifest.get("mediaType", KINDS[0])
    repository.ask("PUT", f"/manifests/{architecture}", body, **{"Content-Type": kind}).close()
    print(json.dumps(digest_of(body)))


if __name__ == "__main__":
    main(*sys.argv[1:])
