"""Image archives: complete, reproducible, and in containerd's format."""

from __future__ import annotations

import json
import os
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kubekeel import images


def write(target: Path, binary: Path, *, arch: str = "amd64", user: str = "65532:65532") -> Path:
    images.write_binary_image(
        target, binary, name="coredns", reference="kubekeel.local/coredns:v1", arch=arch, user=user
    )
    return target


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    file = tmp_path / "binary"
    file.write_bytes(os.urandom(300_000))
    return file


def parts(archive: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], bytes]:
    """Check every digest; return the index's only descriptor, its manifest, configuration and layer."""
    with tarfile.open(archive) as tar:

        def blob(descriptor: dict[str, Any]) -> bytes:
            content = tar.extractfile(f"blobs/{descriptor['digest'].replace(':', '/')}").read()
            assert f"sha256:{sha256(content).hexdigest()}" == descriptor["digest"]
            assert len(content) == descriptor["size"]
            return content

        assert json.load(tar.extractfile("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
        (described,) = json.load(tar.extractfile("index.json"))["manifests"]
        manifest = json.loads(blob(described))
        return described, manifest, json.loads(blob(manifest["config"])), blob(manifest["layers"][0])


def test_an_image_holds_its_binary_as_entry_point(tmp_path: Path, binary: Path) -> None:
    archive = write(tmp_path / "image.tar", binary)
    described, manifest, config, layer = parts(archive)
    assert described["annotations"]["io.containerd.image.name"] == "kubekeel.local/coredns:v1"
    assert described["platform"] == {"architecture": "amd64", "os": "linux"}
    assert config["architecture"] == "amd64"
    assert config["config"]["Entrypoint"] == ["/usr/local/bin/coredns"]
    assert config["config"]["User"] == "65532:65532"
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    (tmp_path / "layer").write_bytes(layer)
    with tarfile.open(tmp_path / "layer") as tar:
        entry = tar.getmember("usr/local/bin/coredns")
        assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o755, 0, 0, 0)
        assert tar.extractfile(entry).read() == binary.read_bytes()
        assert b"nobody:x:65534:" in tar.extractfile("etc/passwd").read()
        assert tar.getmember("tmp").mode == 0o1777


def test_an_image_is_reproducible_and_differs_by_architecture(tmp_path: Path, binary: Path) -> None:
    first = write(tmp_path / "first.tar", binary).read_bytes()
    os.utime(binary, (1, 1))
    assert write(tmp_path / "second.tar", binary).read_bytes() == first
    assert write(tmp_path / "third.tar", binary, arch="arm64").read_bytes() != first


def test_the_reference_and_digest_of_an_image_are_read_back(tmp_path: Path, binary: Path) -> None:
    archive = write(tmp_path / "image.tar", binary)
    described, *_ = parts(archive)
    assert images.image_of(archive) == ("kubekeel.local/coredns:v1", described["digest"])
    images.verify_archive(archive)


def test_writing_an_archive_leaves_no_other_file(tmp_path: Path, binary: Path) -> None:
    write(tmp_path / "image.tar", binary)
    assert {file.name for file in tmp_path.iterdir()} == {"binary", "image.tar"}


def test_a_damaged_archive_is_refused(tmp_path: Path, binary: Path) -> None:
    archive = write(tmp_path / "image.tar", binary)
    content = bytearray(archive.read_bytes())
    content[content.index(binary.read_bytes()[:64])] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        images.verify_archive(archive)


def folder(root: Path) -> Path:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "bin").symlink_to("usr/bin")
    (root / "var").mkdir(mode=0o750)
    os.mkfifo(root / "var/pipe")
    return root


def write_folder(target: Path, root: Path) -> Path:
    launch = images.Launch(("/usr/bin/tool", "--run"), "65532:65532")
    images.write_folder_image(target, root, reference="kubekeel.local/tool:1", arch="arm64", launch=launch)
    return target


def test_a_folder_becomes_an_image_without_privileged_files(tmp_path: Path) -> None:
    _, _, config, layer = parts(write_folder(tmp_path / "image.tar", folder(tmp_path / "root")))
    assert config["config"]["Entrypoint"] == ["/usr/bin/tool", "--run"]
    (tmp_path / "layer").write_bytes(layer)
    with tarfile.open(tmp_path / "layer") as tar:
        modes = {entry.name: oct(entry.mode) for entry in tar}
        assert modes == {
            "bin": "0o777",
            "usr": "0o755",
            "usr/bin": "0o755",
            "usr/bin/tool": "0o755",
            "var": "0o750",
        }
        assert tar.getmember("bin").linkname == "usr/bin"
        assert all(entry.uid == entry.gid == entry.mtime == 0 for entry in tar)


def test_equal_folders_become_equal_images(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "first.tar", folder(tmp_path / "one"))
    second = write_folder(tmp_path / "second.tar", folder(tmp_path / "two"))
    assert first.read_bytes() == second.read_bytes()
