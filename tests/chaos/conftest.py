"""For the specs that do real harm: all that those have which do none, who in one run with these import it from here."""

from tests.cluster.conftest import *  # noqa: F403
