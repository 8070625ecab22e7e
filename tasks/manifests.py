"""The user's own objects, from the folder `manifests` beside the inventory."""

from __future__ import annotations

from pyinfra.api import deploy

from operations.manifests import apply
from run.inventory import manifests_of_run


@deploy("manifests")
def converge() -> None:
    apply(name="apply objects", tree=manifests_of_run())
