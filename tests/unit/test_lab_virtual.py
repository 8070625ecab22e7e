"""The options of virtual machines: their memory, and the accelerator that a trial boot chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import virtual
from lab.image import EMULATOR
from lab.lab import Lab
from lab.shape import Shape
from lab.virtual import VirtualMachine, accelerator


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an image with a kernel, in a cache of its own, on a computer that has KVM's device."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    image = tmp_path / "kubekeel/lab/image"
    (image / "boot").mkdir(parents=True)
    for name in ("vmlinuz-1", "initrd.img-1"):
        (image / "boot" / name).touch()
    monkeypatch.setattr(virtual, "_KVM", image)
    return image


def stand_in(image: Path, script: str) -> Path:
    """Put a program in the place of the linker that starts QEMU; return the file that counts its starts."""
    linker = image.parent / EMULATOR.name / "lib64/ld-linux-x86-64.so.2"
    linker.parent.mkdir(parents=True, exist_ok=True)
    starts = image.parent / "starts"
    linker.write_text(f'#!/bin/sh\necho "$@" >>{starts}\n{script}\n')
    linker.chmod(0o755)
    return starts


PANIC = "echo 'Kernel panic - not syncing: No working init found'"


@pytest.mark.parametrize(
    ("script", "chosen"),
    [(PANIC, "kvm"), ("echo 'KVM: entry failed'; exit 1", "tcg,thread=multi"), ("exec sleep 60", "tcg,thread=multi")],
    ids=["a guest boots", "QEMU ends", "the guest hangs"],
)
def test_one_trial_boot_decides_for_an_image(
    image: Path, monkeypatch: pytest.MonkeyPatch, script: str, chosen: str
) -> None:
    monkeypatch.setattr(virtual, "_TRIAL_PATIENCE", 1)
    starts = stand_in(image, script)
    assert accelerator(image)[1] == chosen
    assert accelerator(image)[1] == chosen
    (trial,) = starts.read_text().splitlines()
    assert "-accel kvm" in trial
    assert f"-kernel {image}/boot/vmlinuz-1" in trial


def test_without_the_device_nothing_is_tried(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "_KVM", image / "missing")
    starts = stand_in(image, PANIC)
    assert accelerator(image)[1] == "tcg,thread=multi"
    assert not starts.exists()


def test_three_machines_of_any_roles_fit_into_16_gibibytes(tmp_path: Path) -> None:
    for shape in (Shape(1, 2, "trixie"), Shape(3, 0, "trixie")):
        shape.save(tmp_path / "shape.json")
        memory = [each.memory for each in Lab(tmp_path).machines if isinstance(each, VirtualMachine)]
        assert len(memory) == 3
        # This computer needs some of it, too.
        assert sum(memory) <= 12 * 1024
