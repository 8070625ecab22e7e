"""One virtual machine for all files of this folder.

pytest runs them in alphabetical order: test_reset.py comes last.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.leftovers import LISTING
from tests.virtual import Machine, machine_of
from tests.vm.policy_results import RESULTS, Results, row_of

ENGINE = "kube-network-policies"
# The cluster is made with this version, and upgraded to the catalogue's.
EARLIER = {"containerd": "v2.4.1"}


@pytest.fixture(scope="package")
def bare() -> Iterator[Machine]:
    with machine_of(network_policy=ENGINE, versions=EARLIER) as machine:
        yield machine


@pytest.fixture(scope="package")
def before(bare: Machine) -> str:
    """Return all that a cluster could leave on the machine, as it was without one."""
    return bare.on(LISTING)


@pytest.fixture(scope="package")
def machine(bare: Machine, before: str) -> Machine:  # noqa: ARG001 - it comes before the cluster
    """Return the machine after a first deploy, with a pod that answers HTTP requests behind the service `web`."""
    bare.run("deploy.py")
    bare.serve()
    return bare


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record at once what becomes of a case of network policies: an interrupted run keeps the results it had."""
    report = yield
    name = item.originalname if isinstance(item, pytest.Function) else item.name
    row = row_of(name, item.callspec.params if hasattr(item, "callspec") else {})
    if report.when == "call" and row:
        results = Results.read(RESULTS)
        results.passed[row] = report.passed
        results.write(RESULTS)
    return report
