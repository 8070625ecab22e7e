"""`python3 -m kubekeel.artifacts bundle DIR`: a release's files as a mirror folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kubekeel.artifacts.bundle import LOCK_FILE, bundle
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.progress import say
from kubekeel.release import ARCHITECTURES, KUBERNETES_VERSIONS, chosen, release, unfit


def _kubernetes(version: str) -> str:
    return _component(f"kubernetes={version}")[1]


def _component(text: str) -> tuple[str, str]:
    name, _, version = text.partition("=")
    if name not in chosen():
        raise argparse.ArgumentTypeError(f"{name}: its version cannot be chosen; name one of {', '.join(chosen())}")
    if why := unfit(name, version):
        problem, remedy = why
        raise argparse.ArgumentTypeError(f"{name}: {problem} ({version}); {remedy}")
    return name, version


def main() -> int:
    """Run the command line; return 0, or 1 if the bundle cannot be made."""
    parser = argparse.ArgumentParser(prog="python3 -m kubekeel.artifacts", description=__doc__)
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "bundle", help="write all files of a release into a folder, for artifact_source = 'mirror'"
    )
    command.add_argument("folder", type=Path, metavar="DIR")
    command.add_argument("--arch", action="append", choices=ARCHITECTURES, help="can be repeated; default: all")
    command.add_argument(
        *("--kubernetes-version",), type=_kubernetes, metavar="VERSION", default=KUBERNETES_VERSIONS[0],
        help="default: %(default)s",
    )  # fmt: skip
    command.add_argument(
        "--with", dest="versions", action="append", type=_component, metavar="NAME=VERSION", default=[],
        help="another version of a component, as in the setting `versions`; can be repeated",
    )  # fmt: skip
    command.add_argument("--mirror", help="take the files from this mirror instead of the publishers")
    options = parser.parse_args()
    try:
        bundle(
            options.folder,
            release(options.kubernetes_version, dict(options.versions)),
            options.arch or ARCHITECTURES,
            options.mirror,
        )
    except ArtifactError as error:
        say(str(error))
        return 1
    say(f"the mirror is {options.folder}; copy its {LOCK_FILE} into the cluster's state directory (pki)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
