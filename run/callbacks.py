"""What pyinfra calls back in the course of a run."""

from __future__ import annotations

from typing import Any

from pyinfra import state
from pyinfra.api.state import BaseStateCallback


def call_back(*handlers: BaseStateCallback) -> None:
    """Have pyinfra call these from its first connection on; config.py calls this.

    pyinfra forgets the handlers it had when it reads the inventory, which is after config.py.
    """
    initialise = state.init

    def initialised(*arguments: Any, **options: Any) -> None:
        initialise(*arguments, **options)
        for handler in handlers:
            state.add_callback_handler(handler)

    state.init = initialised
