"""`python -m bench.kubeadm_parts FILE VERSION`: put kubeadm and the images that only it needs into the cache.

FILE lists them. They are built like Kubekeel's own: from the same modules, as the same kind of image.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from kubekeel import images
from kubekeel.artifacts import Artifact, Cache, Image, Needs, Pins, decide_source, default_location, supply
from lab.image import root_image

_ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "amd64"


def write(file: Path, version: str) -> None:
    """Build the parts for a version of Kubernetes, and list them in `file`."""
    wanted = Needs(_ARCHITECTURE, frozenset({"kubeadm", "kube-proxy", "etcd"}), frozenset())
    pins = Pins(file.with_suffix(".lock"))
    source = decide_source(kubernetes_version=version, source="auto", mirror=None, pins=pins)
    artifacts = supply([wanted], kubernetes_version=version, source=source, mirror=None, pins=pins)
    etcd, kube_proxy = artifacts.binary("etcd", _ARCHITECTURE), artifacts.binary("kube-proxy", _ARCHITECTURE)
    cache = Cache(default_location())
    pins.save(cache)
    parts = {
        "binaries": [artifacts.binary("kubeadm", _ARCHITECTURE)],
        "images": [_image(cache, etcd, _write_etcd), _image(cache, kube_proxy, _write_kube_proxy)],
    }
    listed = {kind: [asdict(part) for part in group] for kind, group in parts.items()}
    file.write_text(json.dumps(listed, default=str))


def read(file: Path) -> tuple[list[Artifact], list[Image]]:
    """Return the binaries and images that `write` listed."""
    listed = json.loads(file.read_text())
    binaries = [Artifact(**each) for each in listed["binaries"]]
    pictured = [Image(**each) for each in listed["images"]]
    packed = Cache(default_location()).packed
    return (
        [replace(each, path=Path(each.path), pack=partial(packed, each.sha256)) for each in binaries],
        [replace(each, archive=Path(each.archive), pack=partial(packed, each.sha256)) for each in pictured],
    )


def _image(cache: Cache, binary: Artifact, make: Callable[[Path, Artifact, str], None]) -> Image:
    reference = f"kubekeel.local/{binary.name}:{binary.version}"
    key = f"bench {reference} {binary.sha256} {sha256(Path(__file__).read_bytes()).hexdigest()}"
    with cache.lock(key), cache.work() as folder:
        address = cache.recall(key)
        if not address:
            make(folder / "image.tar", binary, reference)
            address = cache.keep(key, folder / "image.tar")
    listed, digest = images.image_of(cache.object(address))
    return Image(binary.name, listed, digest, cache.object(address), address, partial(cache.packed, address))


def _write_etcd(target: Path, binary: Artifact, reference: str) -> None:
    images.write_binary_image(target, binary.path, name="etcd", reference=reference, arch=_ARCHITECTURE, user="")


def _write_kube_proxy(target: Path, binary: Artifact, reference: str) -> None:
    """Write an image of kube-proxy with the nft command, from the lab's own Debian."""
    root, debian = target.with_name("root"), root_image()
    linked = subprocess.run(
        ["chroot", str(debian), "ldd", "/usr/sbin/nft"], capture_output=True, text=True, check=True
    ).stdout
    libraries = [word for word in linked.split() if word.startswith("/")]
    for path in ("/usr/sbin/nft", *libraries):
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(debian / path.lstrip("/"), copy)
    place = root / "usr/local/bin/kube-proxy"
    place.parent.mkdir(parents=True)
    shutil.copy(binary.path, place)
    place.chmod(0o755)
    launch = images.Launch(("/usr/local/bin/kube-proxy",))
    images.write_folder_image(target, root, reference=reference, arch=_ARCHITECTURE, launch=launch)


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
