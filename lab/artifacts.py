"""`python -m lab.artifacts INVENTORY BIN`: what the cluster needs into the cache, its kubectl into BIN.

The lab's own network has no internet: this runs outside of it, in the project's virtual environment.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pyinfra_cli.inventory import make_inventory  # type: ignore[import-untyped]

from kubekeel.artifacts import ArtifactError
from kubekeel.cluster import InventoryError
from operations.inventory import cluster_of, supply_of


def fetch(inventory_file: Path, folder: Path) -> None:
    """Fill the cache with the binaries and images of the inventory's cluster; raises as `supply` does."""
    inventory = make_inventory(str(inventory_file), cwd=os.getcwd())
    supply = supply_of(inventory)
    kubectl = supply.binary("kubectl", cluster_of(inventory).masters[0].arch)
    folder.mkdir(exist_ok=True)
    copy = folder / "kubectl.new"
    shutil.copyfile(kubectl.path, copy)
    copy.chmod(0o755)
    copy.replace(folder / "kubectl")


if __name__ == "__main__":
    try:
        fetch(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ArtifactError, InventoryError) as fault:
        sys.exit(f"lab: {fault}")
