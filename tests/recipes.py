"""The recipes of docs/recipes/ as users apply them: their files in `manifests` beside the lab's inventory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kubekeel import images
from kubekeel.artifacts.build import Builder
from kubekeel.artifacts.cache import Cache, default_location
from kubekeel.images import Launch
from kubekeel.release import Binary, Component
from lab.shape import PROJECT
from tests.clones import download, to_the_internet
from tests.lab_cluster import the_cluster
from tests.support import deployed, host_of, settled, with_changes

RECIPES = PROJECT / "docs/recipes"
ARCH = the_cluster().minions[0].arch
_VOLUME = "/srv/volumes/1"

METALLB = Component(
    name="metallb",
    version="v0.15.2",
    module="go.universe.tf/metallb",
    binaries=tuple(Binary(name, f"go.universe.tf/metallb/{name}") for name in ("controller", "speaker")),
)

# Its release is v3.16.0. The tags leave out the discovery of clouds' machines, which takes long to build.
PROMETHEUS = Component(
    name="prometheus",
    version="v0.316.0",
    module="github.com/prometheus/prometheus",
    binaries=(Binary("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),),
    tags=("remove_all_sd", "enable_kubernetes_sd"),
)


@contextmanager
def cooked(
    folder: Path, *recipes: str, prepare: Callable[[Path], None] = lambda _: None, **settings: object
) -> Iterator[Callable[[], list[str]]]:
    """Apply the recipes' files unchanged; yield a function that deploys again and returns the changes.

    `prepare` adds to the folder `manifests` what users must provide. Everything is removed at the end.
    """
    manifests = folder / "manifests"
    manifests.mkdir()
    inventory = with_changes(folder)
    arguments = [word for name, value in settings.items() for word in ("--data", f"{name}={json.dumps(value)}")]
    for recipe in recipes:
        shutil.copytree(RECIPES / recipe, manifests, dirs_exist_ok=True)
    try:
        prepare(manifests)
        deployed(*arguments, inventory=inventory)
        yield lambda: deployed(*arguments, inventory=inventory).changes
    finally:
        shutil.rmtree(manifests)
        manifests.mkdir()
        deployed(inventory=inventory)
        settled()


@contextmanager
def volumes() -> Iterator[None]:
    """Make the folders of the volumes recipe on all minions; remove them and their data at the end."""
    for minion in the_cluster().minions:
        host_of(minion).check_output(f"install -d -m 770 {_VOLUME}")
    try:
        yield
    finally:
        for minion in the_cluster().minions:
            host_of(minion).check_output("rm -rf /srv/volumes")


@contextmanager
def brought(*references: str) -> Iterator[None]:
    """Remove a recipe's images from the nodes at the end."""
    try:
        yield
    finally:
        for node in the_cluster().nodes:
            host_of(node).run(f"crictl rmi {' '.join(references)}")


def built(component: Component, folder: Path, references: dict[str, str]) -> list[str]:
    """Return image archives of a component's binaries, built unless the cache has them."""
    # Modules come from the internet.
    build = [*to_the_internet(), sys.executable, "-m", "tests.recipes", component.name]
    subprocess.run(build, cwd=PROJECT, check=True)
    cache = Cache(default_location())
    pins = Builder(cache).get(component, ARCH, component.binaries)
    for name, reference in references.items():
        binary = cache.object(pins[name].sha256)
        images.write_binary_image(folder / f"{name}.tar", binary, name=name, reference=reference, arch=ARCH, user="")
    return [str(folder / f"{name}.tar") for name in references]


def packaged(package: str, binary: str, folder: Path, reference: str) -> str:
    """Return an image archive of a Debian program and its C library."""
    tree = folder / "tree"
    tree.mkdir()
    download(folder, package, "libc6")
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, tree], check=True)
    target = folder / f"{package}.tar"
    images.write_folder_image(target, tree, reference=reference, arch=ARCH, launch=Launch((binary,)))
    return str(target)


if __name__ == "__main__":
    [wanted] = (each for each in (METALLB, PROMETHEUS) if each.name == sys.argv[1])
    Builder(Cache(default_location())).get(wanted, ARCH, wanted.binaries)
