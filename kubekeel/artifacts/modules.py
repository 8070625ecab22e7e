"""The Go modules in which components are built: from files/source, and generated for other versions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from kubekeel.artifacts import toolchain
from kubekeel.artifacts.cache import Cache
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.progress import say
from kubekeel.release import ARCHITECTURES, Component, numbers

_SHIPPED = Path(__file__).resolve().parents[2] / "files" / "source"
# Go's checksum database must confirm a module that is generated here, even if the user's settings turn it off.
_CHECKED = {"GOFLAGS": "-mod=mod", "GOSUMDB": "sum.golang.org"}
_UNCHECKED = frozenset({"GONOSUMDB", "GONOSUMCHECK", "GOPRIVATE", "GONOPROXY", "GOINSECURE"})


class Modules:
    """The folders with go.mod and go.sum in which components are built, by component and version."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def shipped(self, component: Component) -> bool:
        """Return whether the repository has the module of this version."""
        return _shipped(component).is_dir()

    def place(self, component: Component) -> Path:
        """Return the module's folder, which may not exist yet."""
        if self.shipped(component):
            return _shipped(component)
        return self._cache.location / "modules" / component.name / component.version

    def ensure(self, component: Component, go: toolchain.Go) -> None:
        """Generate the module if it does not exist; ArtifactError if its dependencies are not available."""
        place = self.place(component)
        with self._cache.lock(f"module of {component.name} {component.version}"):
            if place.is_dir():
                return
            say(f"pinning the modules of {component.name} {component.version}")
            with self._cache.work() as folder:
                made = folder / component.version
                made.mkdir()
                _make(component, made, go)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(made, place)

    def digest(self, component: Component) -> str:
        """Return the SHA-256 of the module's go.mod and go.sum together."""
        files = sorted(file for file in self.place(component).iterdir() if file.suffix in (".mod", ".sum"))
        return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _shipped(component: Component) -> Path:
    return _SHIPPED / component.name / component.version


def _make(component: Component, folder: Path, go: toolchain.Go) -> None:
    (folder / "go.mod").write_text(f"module kubekeel.local/source/{component.name}\n")
    published = [_published(component, module, folder, go) for module in component.modules]
    (folder / "go.mod").write_text("".join(_lines(component, published)))
    packages = [binary.package for binary in component.binaries]
    # go.sum must cover the imports of both architectures.
    for arch in ARCHITECTURES:
        _go(component, folder, go, ["list", "-deps", *packages], {"GOARCH": arch})


def _published(component: Component, module: str, folder: Path, go: toolchain.Go) -> Mapping[str, Any]:
    """Return a module's go.mod as its publisher released it, parsed."""
    found = json.loads(_go(component, folder, go, ["mod", "download", "-json", f"{module}@{component.version}"]))
    described: Mapping[str, Any] = json.loads(_go(component, folder, go, ["mod", "edit", "-json", found["GoMod"]]))
    return described


def _lines(component: Component, published: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"module kubekeel.local/source/{component.name}\n\n"
    yield f"go {max((each.get('Go', '1.24') for each in published), key=_release_of_go)}\n\n"
    # Go obeys only the main module's godebug lines, so the publisher's lines are repeated here.
    for debug in published[0].get("Godebug") or ():
        yield f"godebug {debug['Key']}={debug['Value']}\n"
    yield from (f"require {module} {component.version}\n" for module in component.modules)
    yield from (f"tool {binary.package}\n" for binary in component.binaries)
    for replaced in (each for one in published for each in one.get("Replace") or ()):
        old, new = replaced["Old"]["Path"], replaced["New"]
        if "Version" in new:
            yield f"replace {old} => {new['Path']} {new['Version']}\n"
        elif staged := _staged(component):
            yield f"replace {old} => {old} {staged}\n"


def _staged(component: Component) -> str:
    """Return the version of the modules that Kubernetes keeps in its staging folder; empty for other components."""
    _, minor, patch = numbers(component.version)
    return f"v0.{minor}.{patch}" if component.name == "kubernetes" else ""


def _release_of_go(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _go(
    component: Component,
    folder: Path,
    go: toolchain.Go,
    arguments: Sequence[str],
    more: Mapping[str, str] | None = None,
) -> str:
    environment = go.environment(toolchain.own_arch(), cgo=component.cgo) | _CHECKED | dict(more or {})
    done = subprocess.run(
        [go.command, *arguments],
        cwd=folder,
        env={name: value for name, value in environment.items() if name not in _UNCHECKED},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        messages = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise ArtifactError(
            f"{component.name} {component.version}: its modules cannot be pinned ({' '.join(messages)}); "
            "check the connection to the Go module proxy, or take another version"
        )
    return done.stdout
