"""The source `source`: binaries built from pinned Go modules."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256

from kubekeel.artifacts import toolchain
from kubekeel.artifacts.cache import Cache, digest
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.modules import Modules
from kubekeel.artifacts.pins import Pin
from kubekeel.artifacts.progress import counting
from kubekeel.release import Binary, Component


class Builder:
    """A builder of components in their modules; go.sum pins the dependencies."""

    source = "source"
    of_all_versions = True

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._modules = Modules(cache)

    @cached_property
    def _go(self) -> toolchain.Go:
        return toolchain.go(self._cache)

    def prepare(self, wanted: Mapping[tuple[Component, str], Sequence[Binary]]) -> None:
        """Raise ArtifactError with all packages that these builds need and this computer lacks."""
        toolchain.require_c(wanted)

    def get(self, component: Component, arch: str, binaries: Sequence[Binary]) -> dict[str, Pin]:
        """Return the binaries of one component by name, built if the cache does not have them.

        If the repository does not ship their Go module, the module's pin is returned, too.
        """
        self._modules.ensure(component, self._go)
        recipes = {binary: self._recipe(component, arch, binary) for binary in binaries}
        with self._cache.lock(f"build {component.name} {component.version} for {arch}"):
            missing = [binary for binary in binaries if not self._cache.recall(recipes[binary])]
            if missing:
                self._build(component, arch, {binary: recipes[binary] for binary in missing})
        built = {
            binary.name: Pin(
                name=binary.name,
                version=component.version,
                arch=arch,
                source=self.source,
                recipe=f"{self._go.version} {sha256(recipe.encode()).hexdigest()[:16]}",
                sha256=self._address(binary, recipe),
            )
            for binary, recipe in recipes.items()
        }
        return built if self._modules.shipped(component) else {**built, **self._module(component, arch)}

    def _module(self, component: Component, arch: str) -> dict[str, Pin]:
        name = f"modules of {component.name}"
        digest = self._modules.digest(component)
        return {name: Pin(name, component.version, arch, self.source, "go.mod and go.sum", digest)}

    def _address(self, binary: Binary, recipe: str) -> str:
        if address := self._cache.recall(recipe):
            return address
        raise ArtifactError(
            f"{self._cache.location}: {binary.name} is gone right after its build; "
            "find out which other program clears this folder"
        )

    def _recipe(self, component: Component, arch: str, binary: Binary) -> str:
        """Return all inputs that decide the bytes, as text."""
        module = self._modules.place(component)
        inputs = (f"{file.name}={digest(file)}" for file in sorted(module.iterdir()))
        return "\n".join(
            [
                f"{component.name} {component.version} {arch}",
                self._go.version,
                *_flags(component),
                binary.package,
                *inputs,
                toolchain.c_identity(component, arch),
            ]
        )

    def _build(self, component: Component, arch: str, recipes: Mapping[Binary, str]) -> None:
        what = f"{component.name} {component.version} for {arch}"
        packages = [binary.package for binary in recipes]
        stale = self._run(
            component,
            arch,
            ["list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", *_flags(component), *packages],
            f"getting the modules of {what}",
        )
        with self._cache.work() as folder:
            self._run(
                component,
                arch,
                ["build", "-v", *_flags(component), "-o", f"{folder}/", *packages],
                f"building {what}: {', '.join(binary.name for binary in recipes)}",
                packages=len(stale.split()),
            )
            for binary, recipe in recipes.items():
                self._cache.keep(recipe, folder / (binary.built or binary.name), mode=0o555)

    def _run(
        self,
        component: Component,
        arch: str,
        arguments: Sequence[str],
        what: str,
        packages: int | None = None,
    ) -> str:
        """Run go in the component's module and return its output; each line on its stderr advances the progress."""
        with (
            self._cache.work() as folder,
            (folder / "output").open("w+") as output,
            counting(what, packages) as advance,
            subprocess.Popen(
                [self._go.command, *arguments],
                cwd=self._modules.place(component),
                env=self._go.environment(arch, cgo=component.cgo) | {"GOTMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            last = deque[str](maxlen=20)
            for line in process.stderr or ():
                last.append(line.rstrip())
                advance(1)
            if process.wait():
                raise ArtifactError(
                    f"{component.name} {component.version} for {arch}: go {arguments[0]} failed (exit status "
                    f"{process.returncode}); its last messages:\n" + "\n".join(last)
                )
            output.seek(0)
            return output.read()


def _flags(component: Component) -> list[str]:
    link = ["-s", "-w", *(f"-X={name}={value}" for name, value in component.stamps)]
    if component.cgo:
        link += ["-linkmode=external", "-extldflags=-static"]
    tags = [f"-tags={','.join(component.tags)}"] if component.tags else []
    return ["-mod=readonly", "-trimpath", "-buildvcs=false", *tags, f"-ldflags={' '.join(link)}"]
