"""`python -m lab.artifacts INVENTORY BIN`: download the cluster's artifacts into the cache, and kubectl into BIN.

The lab's own network has no internet, so this runs outside of it, in the project's virtual environment.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from kubekeel.artifacts import ArtifactError
from kubekeel.cluster import InventoryError
from run.inventory import cluster_of, open_inventory, supply_of


def fetch(inventory_file: Path, folder: Path) -> None:
    """Fill the cache with the binaries and images of the inventory's cluster; raises as `supply` does."""
    inventory = open_inventory(inventory_file)
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
