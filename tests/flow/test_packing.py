"""The files that a deploy sends are packed so that each host can unpack them."""

from __future__ import annotations

from pathlib import Path

from tests.flow.fake import CONFIG, PROJECT, deploy

HOSTS = """
etcd = masters = [_host("m", 1, "zstd")]
minions = [_host("a", 2)]
"""


def test_a_host_with_zstd_gets_files_packed_by_it_and_another_one_by_gzip(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(CONFIG)
    options = ("--data", "artifact_source=source", "-vv")
    sent = deploy(tmp_path, HOSTS, *options, file=str(PROJECT / "deploy.py")).stderr
    for file in ("kubelet", "pause.tar"):
        # Each command has the message for the case that its file arrives changed.
        assert f"m: {file}.zst was damaged" in sent
        assert f"a: {file}.gz was damaged" in sent
        assert f"m: {file}.gz" not in sent
        assert f"a: {file}.zst" not in sent
