"""Runs of pyinfra on fake hosts, which give set answers and do nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kubekeel.preflight import COMMANDS
from kubekeel.status import UNITS
from lab.shape import keep_keys_in
from tests.flow import forked

PROJECT = Path(__file__).resolve().parents[2]

# The project's config.py with placeholders for the artifacts, which take a while to build, and with fake hosts.
# Their answers are in keys with an underscore, the only other keys that an inventory may have.
CONFIG = f"""
from pathlib import Path

from kubekeel.artifacts import Artifact, Image
from run import inventory, lock
from pyinfra.api import facts
from pyinfra.connectors.fake import FakeConnector

_file = Path(inventory.__file__)


class _Supply:
    own = {{}}

    def binary(self, name, arch):
        return Artifact(name, "v1", f"sha256-of-{{name}}", _file, lambda _: _file)

    def image(self, name, arch):
        return Image(name, f"kubekeel.local/{{name}}:v1", "sha256:1", _file, "1", lambda _: _file)


inventory.supply = lambda *arguments, **options: _Supply()
_init = FakeConnector.__init__


# A host prints the holder of its lease: this run, unless the inventory names another one.
def _answering(self, state, host):
    _init(self, state, host)
    holder = lock.holder()
    lease = host.data.get("_lease") or (holder.line if holder else "")
    answers = {{**(host.data.get("_answers") or {{}}), lock.LEASE: f"lease {{lease}}"}}
    if isinstance(answers.get("/proc/swaps"), str):
        answers["/proc/swaps"] += f"\\nlease {{lease}}"
    self.data["fake_responses"] = answers


FakeConnector.__init__ = _answering

_get_fact, _lookup = facts._get_fact, FakeConnector._lookup_response
# The facts of which a bare host says nothing.
_NOTHING = {{"Disk", "Imported", "Look", "Members", "Registries", "Seen", "Stored"}}


def _fact(state, host, fact, *arguments, **options):
    host.connector.fact = fact.__name__
    try:
        return _get_fact(state, host, fact, *arguments, **options)
    finally:
        host.connector.fact = ""


# An operation's command succeeds by default, but a fact that nobody described ends the run.
def _described(self, command):
    fact = getattr(self, "fact", "")
    if fact and fact not in _NOTHING and not any(matcher in command for matcher in self.data["fake_responses"]):
        raise LookupError(f"{{self.host.name}}: nobody described the fact {{fact}}")
    return _lookup(self, command)


facts._get_fact, FakeConnector._lookup_response = _fact, _described
{(PROJECT / "config.py").read_text()}
"""

# The look of a fit host.
FIT = "\n".join(
    (
        # With this, a limited run needs no member of etcd.
        "has_own_lease",
        *("uid 0", "kernel Linux 6.1.0", "system Some Linux", "systemd 252", "arch x86_64", "cgroup_v2"),
        "resolv_conf /etc/resolv.conf",
        *(
            "controllers cpu cpuset memory pids",
            "memory 4000",
            "disk /opt/kubekeel 9000",
            "disk /var/lib/containerd 9000",
        ),
        *(f"command {command}" for command in (*COMMANDS, "apt-get")),
    )
)

# The state of every unit on a bare host.
BARE = "\n".join(f"unit\t{unit}\tActiveState=inactive" for unit in sorted(UNITS))

INVENTORY = (
    f"_fit = {FIT!r}\n_bare = {BARE!r}\n"
    + """
import json as _json
import time as _time


def _host(name, number, changes="", fails="", says={}, **data):
    address = f"192.0.2.{number}"
    addresses = _json.dumps([{"addr_info": [{"local": address, "scope": "global"}]}])
    own = [f"clock {int(_time.time())}", f"hostname {name}", f"machine_id {name}", f"addresses {addresses}"]
    look = "\\n".join([changes, *own, _fit])
    failure = {fails: {"success": False, "stderr": f"{name} fails"}} if fails else {}
    nodes = {"get nodes -o jsonpath": "given\\t"}
    there = {"/proc/swaps": look, "ExecMainStartTimestamp": _bare, "auth status": "answered"}
    answers = {**there, **nodes, **says, **failure}
    return (f"@fake/{name}", {"address": address, "_answers": answers, **data})


def _ssh(name, number, port):
    ssh = {"ssh_hostname": "127.0.0.1", "ssh_port": port, "ssh_user": "root", "ssh_password": "x"}
    return (name, {"address": f"192.0.2.{number}", **ssh})
"""
)

FIT_HOSTS = """
etcd = masters = [_host("m", 1)]
minions = [_host("a", 2), _host("b", 3)]
"""


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a run by a user whose home is `home`; fake hosts answer at once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBEKEEL_")}
    at_once = {"PYINFRA_FAKE_DELAY": "0", "PYINFRA_FAKE_DELAY_JITTER": "0"}
    return {**kept, **at_once, "HOME": str(home), "PYINFRA_PROGRESS": "off"}


PYINFRA = (sys.executable, "-m", "pyinfra")


def wait_until(holds: Callable[[], object]) -> None:
    """Wait up to a minute until `holds`."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def command(home: Path, hosts: str, *arguments: str, file: str = "deploy.py", yes: bool = True) -> list[str]:
    """Return the arguments of a run of pyinfra on these fake hosts."""
    (home / "hosts.py").write_text(INVENTORY + hosts)
    keep_keys_in(home / "pki", home)
    config, inventory, deploy = (str(home / name) for name in ("config.py", "hosts.py", file))
    return [*(["-y"] if yes else []), "--config", config, inventory, deploy, *arguments]


def deploy(
    home: Path, hosts: str, *arguments: str, file: str = "deploy.py", yes: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run pyinfra on fake hosts."""
    return forked.run(command(home, hosts, *arguments, file=file, yes=yes), environment(home))
