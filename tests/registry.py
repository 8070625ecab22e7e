"""Images for a test's registry, and a client that pushes them."""

from __future__ import annotations

import ast
import io
import json
import re
import ssl
import subprocess
import tarfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from kubekeel import images


def push(place: str, authority: Path, sign_in: tuple[str, str], repository: str, archive: Path) -> None:
    """Push an archive's image to the registry at `place`, as version v1."""
    trusted = ssl.create_default_context(cafile=str(authority))
    base = f"https://{place}/v2/{repository}"
    with httpx.Client(verify=trusted, auth=sign_in, trust_env=False) as session, tarfile.open(archive) as tar:
        _, digest = images.image_of(archive)
        manifest = _read(tar, digest)
        for part in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            started = session.post(f"{base}/blobs/uploads/").raise_for_status()
            upload = httpx.URL(started.headers["location"]).copy_add_param("digest", part["digest"])
            session.put(upload, content=_read(tar, part["digest"])).raise_for_status()
        kind = {"Content-Type": images.MANIFEST}
        session.put(f"{base}/manifests/v1", content=manifest, headers=kind).raise_for_status()


def hashed(password: str) -> str:
    """Return a password's hash as a registry's htpasswd file holds it."""
    script = ("perl", "-e", "print crypt($ARGV[0], '$2b$05$abcdefghijklmnopqrstuu')", password)
    return subprocess.run(script, check=True, capture_output=True, text=True).stdout


def renamed(pause: Path, target: Path, reference: str) -> Path:
    """Write the pause image with one extra layer, so that no node has it, and return its archive."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(f"this-is-{time.time_ns()}"))
    extra = layer.getvalue()
    with tarfile.open(pause) as tar:
        manifest = json.loads(_read(tar, images.image_of(pause)[1]))
        config = json.loads(_read(tar, manifest["config"]["digest"]))
        config["rootfs"]["diff_ids"].append(f"sha256:{sha256(extra).hexdigest()}")
        parts = [_read(tar, each["digest"]) for each in manifest["layers"]] + [extra]
    blobs = {}
    for part in (json.dumps(config).encode(), *parts):
        digest = sha256(part).hexdigest()
        blobs[f"sha256:{digest}"] = target.with_name(digest)
        blobs[f"sha256:{digest}"].write_bytes(part)
    layers = [(f"sha256:{sha256(part).hexdigest()}", len(part)) for part in parts]
    described = images.manifest(json.dumps(config).encode(), layers)
    arch = config["architecture"]
    images.write_archive(
        target, reference=reference, arch=arch, manifest=described, media_type=images.MANIFEST, blobs=blobs
    )
    return target


def shown_command(page: Path) -> str:
    """Return the command by which a page makes a registry's certificate."""
    return _shown(page, r"^ *(openssl req .*?-out \S+)$")


def shown_settings(page: Path) -> Any:
    """Return the setting `registries` that a page shows."""
    return ast.literal_eval(_shown(page, r"^ *registries = (\{\n.*?^ *\})$"))


def _shown(page: Path, pattern: str) -> str:
    found = re.search(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} shows nothing of the kind"
    return found[1]


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    content = tar.extractfile(f"blobs/{name.replace(':', '/')}")
    assert content
    return content.read()
