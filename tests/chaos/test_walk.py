"""A random walk of actions and failures on one cluster, with checks after every step.

KUBEKEEL_WALK_SEED=NUMBER draws another order; the same number replays a walk.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kubekeel.cluster import Node
from kubekeel.pki import ENCRYPTION_KEYS
from tests.chaos.machines import act, acted, inventory_of, lose, refused, undo
from tests.lab_cluster import INVENTORY, STATE, server, the_cluster
from tests.support import (
    SLACK,
    Deploy,
    Writes,
    certificates,
    containers,
    deploy,
    deployed,
    harm,
    host_of,
    kill_unit,
    restart,
    run_kubectl,
    status,
    units_of,
    wait_healthy,
    writing,
)

CLUSTER = the_cluster()
SEED = int(os.environ.get("KUBEKEEL_WALK_SEED", "1"))
ROUNDS = 2
"""How often each act is done, each time in another order."""
PHRASE = "a passphrase of the walk"

pytestmark = [
    pytest.mark.timeout(7200),
    pytest.mark.skipif(len(CLUSTER.etcd) != 3, reason="needs the lab's own three hosts"),
]


@dataclass
class Walk:
    """The state of a walk: the inventory in use, and the `disturbed` nodes, whose users' pods may have ended."""

    folder: Path
    chance: random.Random
    inventory: Path = INVENTORY
    settings: dict[str, object] = field(default_factory=dict)
    etcd: tuple[str, ...] = ()
    disturbed: set[str] = field(default_factory=set)

    def minion(self) -> Node:
        return self.chance.choice(CLUSTER.minions)

    def node(self) -> Node:
        return self.chance.choice(CLUSTER.nodes)

    def describe(self) -> None:
        """Write an inventory with the walk's settings and members, for the next runs."""
        self.inventory = inventory_of(self.folder, etcd=self.etcd, settings=self.settings)

    def run(self, action: str, *arguments: str) -> str:
        return acted(action, *arguments, inventory=self.inventory)


def deploy_again(_: Walk) -> None:
    deployed()


def deploy_to_some(walk: Walk) -> None:
    walk.run("deploy.py", "--limit", walk.chance.choice(["minions", "etcd", walk.node().name]))


def look(walk: Walk) -> None:
    before = certificates()
    for action in ("actions/status.py", "actions/audit.py", "deploy.py --dry"):
        file, *options = action.split()
        done = act(file, *options, inventory=walk.inventory)
        assert "Traceback" not in done.stderr, done.stderr
    assert certificates() == before


def change_a_setting(walk: Walk) -> None:
    choices: dict[str, tuple[object, ...]] = {
        "kube_proxy_mode": ("nftables", "iptables"),
        "extra_api_names": ((), ("walk.example",)),
        "sign_client_certificates": (False, True),
    }
    name = walk.chance.choice(sorted(choices))
    walk.settings[name] = walk.chance.choice(choices[name])
    walk.describe()
    walk.run("deploy.py")


def change_etcd(walk: Walk) -> None:
    """Take a minion out of the group etcd, or put it back."""
    away = [node for node in CLUSTER.etcd if walk.etcd and node.name not in walk.etcd]
    if away:
        walk.etcd = ()
        walk.describe()
        return
    gone = next(node for node in reversed(CLUSTER.etcd) if node not in CLUSTER.masters)
    walk.etcd = tuple(node.name for node in CLUSTER.etcd if node != gone)
    walk.describe()
    refused(act("deploy.py", inventory=walk.inventory), f"member={gone.name}")
    walk.run("actions/remove_member.py", "--data", f"member={gone.name}")


def remove_a_node(walk: Walk) -> None:
    node = walk.minion()
    walk.disturbed.add(node.name)
    if walk.etcd and node.name in walk.etcd:
        # etcd with two members needs both of them.
        walk.etcd = ()
        walk.describe()
        walk.run("deploy.py")
    walk.run("actions/remove_node.py", "--data", f"node={node.name}")


def replace_a_machine(walk: Walk) -> None:
    node = walk.minion()
    walk.disturbed.add(node.name)
    if walk.etcd:
        walk.etcd = ()
        walk.describe()
        walk.run("deploy.py")
    lose(node)


def back_up(walk: Walk) -> None:
    phrase = walk.folder / "phrase"
    phrase.touch(0o600)
    phrase.write_text(PHRASE)
    backup = walk.folder / f"{len(list(walk.folder.iterdir()))}.kubekeel"
    passphrase = ("--data", f"passphrase_file={phrase}")
    walk.run("actions/backup.py", "--data", f"backup={backup}", *passphrase)
    refused(act("actions/restore.py", "--data", f"backup={backup}", *passphrase, inventory=walk.inventory), "confirm")


def rotate(walk: Walk) -> None:
    """Rotate the encryption key; then a run with an older copy of the keys is refused."""
    old = walk.folder / "old"
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(STATE, old)
    walk.run("actions/rotate.py", "--data", "what=encryption")
    inventory = inventory_of(walk.folder / "elsewhere", etcd=walk.etcd, settings=walk.settings, state=old)
    refused(act("deploy.py", inventory=inventory), "encryption key")


def cut_a_deploy(walk: Walk) -> None:
    for node in CLUSTER.nodes:
        undo(node)
    with Deploy(inventory=walk.inventory) as run:
        run.until(lambda: run.operations >= walk.chance.randrange(1, 15))


def kill(walk: Walk) -> None:
    node = walk.node()
    kill_unit(host_of(node), walk.chance.choice([unit for unit in units_of(node) if unit != "etcd" or not walk.etcd]))


def cut_power(walk: Walk) -> None:
    node = walk.node()
    walk.disturbed.add(node.name)
    restart(node)


def flush_rules(walk: Walk) -> None:
    host_of(walk.node()).check_output("nft flush ruleset")


def delete_the_device(walk: Walk) -> None:
    host_of(walk.node()).check_output("ip link delete flannel.1")


def delete_the_node_object(walk: Walk) -> None:
    node = walk.minion()
    # Its pods are deleted with it, and controllers make new ones.
    walk.disturbed.add(node.name)
    run_kubectl("delete", "node", node.name)


def fill_the_disk(walk: Walk) -> None:
    node = walk.minion()
    host = host_of(node)
    host.check_output("rm -f /opt/kubekeel/store/*/kubelet; mount -t tmpfs -o size=2m tmpfs /opt/kubekeel/incoming")
    try:
        refused(act("deploy.py", inventory=walk.inventory), node.name)
    finally:
        host.check_output("umount /opt/kubekeel/incoming")


def deploy_without_keys(walk: Walk) -> None:
    """Deploy from another clone, whose folder of keys is empty."""
    empty = walk.folder / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    inventory = inventory_of(walk.folder / "elsewhere", etcd=walk.etcd, state=empty)
    done = act("deploy.py", *walk.chance.choice([(), ("--dry",)]), inventory=inventory)
    refused(done, "ca.key")
    assert not any(path.is_file() for path in empty.rglob("*.key"))


ACTS: tuple[Callable[[Walk], None], ...] = (
    deploy_again,
    deploy_to_some,
    look,
    change_a_setting,
    change_etcd,
    remove_a_node,
    replace_a_machine,
    back_up,
    rotate,
    cut_a_deploy,
    kill,
    cut_power,
    flush_rules,
    delete_the_device,
    delete_the_node_object,
    fill_the_disk,
    deploy_without_keys,
)


def draw(chance: random.Random) -> Iterator[Callable[[Walk], None]]:
    for _ in range(ROUNDS):
        yield from chance.sample(ACTS, len(ACTS))


def authorities() -> dict[str, str]:
    """Return the keys that no act may change or lose, by file: all but the encryption keys, which are rotated."""
    keys = {name: digest for name, digest in certificates().items() if "/" not in name and name.endswith(".key")}
    return {name: digest for name, digest in keys.items() if name != ENCRYPTION_KEYS}


def users_containers(namespace: str) -> dict[str, dict[str, str]]:
    return {node.name: containers(host_of(node), namespace) for node in CLUSTER.nodes}


def check(walk: Walk, writes: Writes, kept: dict[str, str], pods: dict[str, dict[str, str]]) -> None:
    """Check the cluster after a step; `kept` and `pods` are the keys and the users' containers before it."""
    seen = status(inventory=walk.inventory)
    quiet = seen["healthy"] and not seen["notes"]
    healed = deploy(inventory=walk.inventory)
    assert healed.status == 0, healed.output
    assert not quiet or healed.changes == [], f"status said that all is well, and a deploy did {healed.changes}"
    wait_healthy(120 * SLACK, inventory=walk.inventory)
    assert deploy(inventory=walk.inventory).changes == []
    notes = status(inventory=walk.inventory)["notes"]
    assert [note for note in notes if not (walk.etcd and "even number of members" in note)] == []
    acknowledged = set(writes.good)
    assert acknowledged & writes.lost() == set(), "acknowledged writes are lost"
    assert authorities().items() >= kept.items(), "keys changed, or are lost"
    run_kubectl("-n", writes.namespace, "rollout", "status", "daemonset/web", "--timeout=180s")
    now = users_containers(writes.namespace)
    for name, there in pods.items():
        assert name in walk.disturbed or now[name].items() >= there.items(), f"pods of users restarted on {name}"


def daemon(image: str) -> str:
    """Return a user's DaemonSet as JSON."""
    pod = server("web", "", image)
    del pod["spec"]["nodeName"]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod["spec"]}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web"}, "spec": spec})


def test_no_act_loses_anything_and_one_deploy_repairs_the_cluster(namespace, image, tmp_path) -> None:
    run_kubectl("-n", namespace, "apply", "-f", "-", given=daemon(image))
    run_kubectl("-n", namespace, "rollout", "status", "daemonset/web", "--timeout=180s")
    chance = random.Random(SEED)
    walk = Walk(tmp_path, chance)
    done: list[str] = []
    begun = time.monotonic()
    try:
        with (
            harm(f"random walk, seed {SEED}", "no write or key lost, no pod restarted, healed by one deploy") as row,
            writing(namespace) as writes,
        ):
            for step in draw(chance):
                done.append(step.__name__)
                kept, pods, walk.disturbed = authorities(), users_containers(namespace), set()
                try:
                    step(walk)
                    check(walk, writes, kept, pods)
                except BaseException:
                    print(f"KUBEKEEL_WALK_SEED={SEED} fails at step {len(done)}: {' '.join(done)}")
                    print(json.dumps({"settings": walk.settings, "etcd": walk.etcd}, default=str))
                    raise
            row.seen = f"{len(done)} acts, {len(writes.good)} writes, {time.monotonic() - begun:.0f} s"
    finally:
        # Restore the lab's own cluster, also after a failure.
        deploy()
