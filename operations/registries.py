"""containerd's files for registries: writes the described ones, and removes those no longer described."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.differences import of_files, undescribed
from kubekeel.files import Tree, differing
from kubekeel.registries import FOLDER, MARK
from operations.converge import Look, RoleSeen, put
from operations.look import differs, see


class Registries(Look):
    """A look at the paths; `holds` has the files that earlier runs wrote."""

    @staticmethod
    def join(_one: Mapping[str, Any], _other: Mapping[str, Any]) -> None:
        """Never join: no condition names what an earlier run wrote."""

    def command(self, paths: Iterable[str], units: Iterable[str], conditions: Mapping[str, str]) -> str:
        ours = f"grep -lsxF {shlex.quote(MARK)} {FOLDER}/*/hosts.toml | sed 's/^/holds\\t/'"
        return f"{super().command(paths, units, conditions)}\n{ours}; true"


@operation()
def registries(files: Tree) -> Generator[StringCommand, None, None]:
    """Bring Kubekeel's files of registries to their described state; other programs' files stay unchanged."""
    seen = see(host, Registries, paths=list(files), units=[], conditions={})
    assert isinstance(seen, RoleSeen)
    changed = differing(files, seen.paths)
    left = sorted(seen.holds - files.keys())
    differs(host, [*of_files(changed, seen.paths), *map(undescribed, left)])
    if changed:
        yield put(changed)
    if left:
        folders = [str(PurePosixPath(path).parent) for path in left]
        authorities = [f"{folder}/kubekeel-ca.crt" for folder in folders]
        yield StringCommand(
            f"rm -f {shlex.join([*left, *authorities])}\nrmdir {shlex.join(folders)} 2>/dev/null || true"
        )
    if not changed and not left:
        host.noop("as described")
