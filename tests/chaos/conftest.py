"""For the specs that do real harm: all fixtures of those that do none."""

from tests.cluster.conftest import *  # noqa: F403
