"""`python3 -m run.publish INVENTORY FOLDER`: all that hosts are given, as a folder that a web server serves.

No host is contacted. What an earlier call put there stays.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from kubekeel.artifacts import PACKINGS, ArtifactError
from kubekeel.cluster import InventoryError
from kubekeel.delivery import publish
from run.inventory import open_inventory, pinned_supply_of


def main() -> int:
    """Run the command line; return 0, or 1 if the folder cannot be filled."""
    parser = ArgumentParser(prog="python3 -m run.publish", description=__doc__)
    parser.add_argument("inventory", type=Path, metavar="INVENTORY")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if not options.inventory.is_file():
        parser.error(f"{options.inventory}: there is no such file; correct the path")
    try:
        artifacts = pinned_supply_of(open_inventory(options.inventory)).all
        files = [each.packed(packing) for each in artifacts for packing in PACKINGS]
        added = publish(files, options.folder)
    except (ArtifactError, InventoryError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or options.folder
        print(f"{where}: cannot be written ({error.strerror}); make room, or take another folder", file=sys.stderr)
        return 1
    print(f"{options.folder}: has all {len(files)} files, {added} of them new; serve it as artifact_server")
    return 0


if __name__ == "__main__":
    sys.exit(main())
