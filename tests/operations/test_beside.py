"""Commands that run beside the operations of a host, and the operations that wait for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event
from pyinfra.api import StringCommand

from kubekeel.files import File, Link
from kubekeel.service import Check
from operations import converge, node, settings
from operations.converge import Look
from run import beside
from tests.operations.commands import Described, Host


class Remote(Host):
    """A host that carries out a command once the test lets it."""

    def __init__(self) -> None:
        super().__init__({Look: Described()}, state=SimpleNamespace(print_output=False, print_input=False))
        self.let = Event()
        self.ran: list[str] = []

    def run_shell_command(self, command: StringCommand, **_: object) -> tuple[bool, str]:
        self.let.wait()
        self.ran.append(command.get_raw_value())
        if self.ran[-1] == "lost":
            raise OSError("no route")
        return self.ran[-1] != "bad", f"the output of {self.ran[-1]}"

    def begin(self, *commands: str) -> None:
        beginning = beside.beginning({command: StringCommand(command) for command in commands})
        beginning.execute(self.state, self, {})


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Remote:
    remote = Remote()
    monkeypatch.setattr(beside, "arguments_of_facts", lambda _: {})
    for module in (converge, node, settings):
        monkeypatch.setattr(module, "host", remote)
    return remote


def execute(command: StringCommand) -> Any:
    return command.execute(None, None, {})


def first(commands: Any) -> str:
    return next(commands).get_raw_value()


def test_commands_run_in_their_order_while_operations_go_on(host: Remote) -> None:
    host.begin("etcd", "kubelet")
    host.begin("pause")
    gevent.sleep(0)
    assert host.ran == []
    host.let.set()
    assert [execute(command) for command in beside.awaited(host, ["pause"])] == [(True, "the output of pause")]
    assert host.ran == ["etcd", "kubelet", "pause"]


def test_each_command_is_awaited_by_one_operation(host: Remote) -> None:
    host.begin("etcd", "kubelet")
    assert [command.get_raw_value() for command in beside.awaited(host, ["etcd", "runc"])] == ["etcd"]
    assert [command.get_raw_value() for command in beside.awaited(host)] == ["kubelet"]
    assert list(beside.awaited(host, ["etcd"])) == []


def test_a_failed_command_fails_the_operation_that_needs_it_and_no_other_one(host: Remote) -> None:
    host.let.set()
    host.begin("bad", "lost", "kubelet")
    bad, lost, kubelet = beside.awaited(host)
    assert execute(kubelet) == (True, "the output of kubelet")
    assert execute(bad) == (False, "the output of bad")
    with pytest.raises(OSError, match="no route"):
        execute(lost)


def test_the_end_of_a_run_waits_for_the_present_command_alone(host: Remote) -> None:
    host.begin("etcd", "kubelet")
    gevent.sleep(0)
    gevent.spawn(host.let.set)
    assert beside.finish(host)
    assert host.ran == ["etcd"]


def test_an_interrupted_run_waits_for_nothing(host: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Remote()
    monkeypatch.setattr(beside, "state", SimpleNamespace(initialised=True, inventory=[host, other]))
    host.begin("etcd")
    gevent.sleep(0)
    beside.cut_off()
    assert not beside.finish(host)
    assert host.ran == []
    assert beside.finish(other)


def test_a_binary_arrives_before_its_link(host: Remote) -> None:
    host.begin("etcd", "kubelet")
    files = {"/opt/kubekeel/bin/kubelet": Link("../store/1/kubelet")}
    assert [command.get_raw_value().splitlines()[0] for command in converge.converge._inner(files=files)] == [
        "kubelet",
        "set -eu",
    ]


def test_a_binary_arrives_before_it_checks_its_settings(host: Remote) -> None:
    host.begin("containerd", "kubelet")
    check = Check({"/var/lib/kubelet/config.yaml": File(b"new")}, "kubelet --check $new")
    assert first(settings.check._inner({"kubelet": check})) == "kubelet"


def test_everything_has_arrived_before_the_deploy_of_a_host_is_recorded(host: Remote) -> None:
    host.begin("etcdctl")
    record = {"/etc/kubekeel/cluster.json": File(b"{}")}
    assert [command.get_raw_value().splitlines()[0] for command in node.note._inner({}, record)] == [
        "etcdctl",
        "set -eu",
    ]
