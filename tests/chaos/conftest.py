"""For the specs that do real harm: the fixtures of those that do none, and what those import from here in one run."""

from tests.cluster.conftest import (  # noqa: F401
    CLUSTER,
    INVENTORY,
    PROJECT,
    STATE,
    cluster,
    connect,
    image,
    kubectl,
    namespace,
    on,
    pytest_generate_tests,
    run_kubectl,
    servers,
    wait_until,
)
