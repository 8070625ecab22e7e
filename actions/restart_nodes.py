"""Drain and restart hosts in turns: `pyinfra -y inventory.py actions/restart_nodes.py`.

--data command="apt-get -y full-upgrade" runs a command on each host before its reboot. With --data reboot=needed a host
reboots only if its packages require it, with --data reboot=never it does not. The same command continues after an
interruption.
"""

from dataclasses import replace
from datetime import UTC, datetime

from pyinfra import host, inventory, logger, state

from kubekeel.needs import registered
from kubekeel.restart import left
from kubekeel.upgrade import at_once
from operations.restart import Seen, restart_host, want
from operations.target import here, leads
from run.choices import restart
from run.inventory import cluster_of, node_of
from tasks import control_plane, etcd, preflight, turns

preflight.check()

cluster, node = cluster_of(inventory), node_of(host)
marks = {each.name: each.get_fact(Seen) for each in state.inventory.iter_activated_hosts()}
asked = restart({"command": host.data.get("command"), "reboot": host.data.get("reboot")})
wanted = replace(asked, hosts=tuple(sorted(marks)))
round, pending = left(wanted, marks, datetime.now(UTC))

if leads(node) and pending != set(marks):
    done = ", ".join(sorted(set(marks) - pending))
    logger.info(f"continues the interrupted restart: {', '.join(sorted(pending))}; restarted before: {done}")
if host.name in pending:
    target = here()
    services = [etcd.service(target)] if "etcd" in node.roles else []
    # Settings may have changed since the last deploy, and a restart does not deploy them.
    services += turns.services(target, control_plane.is_healthy) if node.roles & {"masters", "minions"} else []
    arguments = {
        "restart": wanted,
        "services": services,
        "member": "etcd" in node.roles,
        "drain_seconds": cluster.drain_timeout if registered(node, cluster) else None,
    }
    want(name="mark hosts to restart", restart=wanted, round=round)
    if node.roles == {"minions"}:
        restart_host(name="restart minions in batches", **arguments, _parallel=at_once(cluster))
    elif "masters" not in node.roles:
        restart_host(name="restart members of etcd one by one", **arguments, _serial=True)
    else:
        restart_host(name="restart masters one by one", **arguments, _serial=True)
