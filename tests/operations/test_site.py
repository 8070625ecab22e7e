"""The script that applies the folder `manifests`, with a kubectl that accepts only the flags of the real one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kubekeel.render import PROJECT

# The output of `kubectl get` with the script's columns.
LISTED = "v1 Namespace <none> lb\napiextensions.k8s.io/v1 CustomResourceDefinition <none> pools.example.org\n"
KUBECTL = """\
#!/bin/sh
echo "$*" >>"$CALLS"
case " $* " in
*" wait "*" -k "*) echo "error: unknown shorthand flag: 'k' in -k" >&2; exit 1 ;;
*"custom-columns"*) printf "%s" "$LISTED" ;;
esac
"""


@pytest.mark.parametrize("kustomized", [False, True], ids=["a file", "a folder"])
def test_the_script_waits_for_definitions_in_files_and_folders(tmp_path: Path, kustomized: bool) -> None:
    site, kubectl, calls = tmp_path / "site", tmp_path / "kubectl", tmp_path / "calls"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    item = site / ("20-lb" if kustomized else "20-lb.yaml+000001.yaml")
    if kustomized:
        item.mkdir(parents=True)
        (item / "kustomization.yaml").touch()
    else:
        site.mkdir()
        item.touch()
    done = subprocess.run(
        ["sh", PROJECT / "files/control_plane/site.sh", "apply", site, kubectl],
        env={"PATH": "/usr/bin:/bin", "CALLS": str(calls), "LISTED": LISTED},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (waited,) = (line for line in calls.read_text().splitlines() if line.startswith("wait "))
    assert "customresourcedefinition/pools.example.org" in waited
