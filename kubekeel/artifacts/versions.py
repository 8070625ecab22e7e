"""The available versions of a component, as the Go module proxy lists them: every component is a Go module."""

from __future__ import annotations

import os

import httpx

from kubekeel.artifacts.transfer import client
from kubekeel.release import Component, numbers, unfit

_PROXY = "https://proxy.golang.org"


def available(component: Component) -> tuple[str, ...]:
    """Return the versions that Kubekeel supports, newest first; none if the proxy does not answer within seconds."""
    proxy = os.environ.get("GOPROXY", _PROXY).replace("|", ",").split(",")[0]
    if not proxy.startswith(("http://", "https://")):
        return ()
    try:
        with client() as session:
            answer = session.get(f"{proxy.rstrip('/')}/{component.modules[0]}/@v/list", timeout=10)
    except httpx.TransportError:
        return ()
    listed = answer.text.split() if answer.is_success else []
    return tuple(sorted((each for each in listed if not unfit(component.name, each)), key=numbers, reverse=True))
