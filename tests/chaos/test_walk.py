"""A random walk of actions and failures on one cluster, with checks after every step.

KUBEKEEL_WALK_SEED=NUMBER draws another order; the same number replays a walk. KUBEKEEL_WALK_STEPS=NUMBER ends it after
that many acts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kubekeel.cluster import Node
from kubekeel.pki import ENCRYPTION_KEYS, ROOTS
from tests.chaos.draws import draw
from tests.chaos.machines import act, acted, inventory_of, lose, refused, undo
from tests.lab_cluster import INVENTORY, STATE, server, service, the_cluster
from tests.support import (
    SLACK,
    Deploy,
    Writes,
    certificates,
    containers,
    deploy,
    deployed,
    harm,
    healthy_status,
    host_of,
    kill_unit,
    restart,
    run_kubectl,
    status,
    units_of,
    writing,
)

CLUSTER = the_cluster()
SEED = int(os.environ.get("KUBEKEEL_WALK_SEED", "1"))
STEPS = int(os.environ.get("KUBEKEEL_WALK_STEPS", "0"))
ROUNDS = 2
"""How often each act is done, each time in another order."""
PHRASE = "a passphrase of the walk"
SNAPSHOTS = "/var/lib/etcd-snapshots"
WRITES_PAUSE = 2.0
"""Seconds between two writes: a rotation rewrites every one of them, and a walk takes hours."""

pytestmark = [
    pytest.mark.timeout(6 * 3600),
    pytest.mark.skipif(len(CLUSTER.etcd) != 3, reason="needs the lab's own three hosts"),
]


@dataclass
class Walk:
    """The state of a walk: the inventory in use, and the `chance` of its present step.

    The users' pods on `disturbed` nodes may have ended in this step, and the `rotated` roots have other keys.
    """

    folder: Path
    chance: random.Random
    inventory: Path = INVENTORY
    settings: dict[str, object] = field(default_factory=dict)
    etcd: tuple[str, ...] = ()
    disturbed: set[str] = field(default_factory=set)
    rotated: set[str] = field(default_factory=set)

    def minion(self) -> Node:
        return self.chance.choice(CLUSTER.minions)

    def node(self) -> Node:
        return self.chance.choice(CLUSTER.nodes)

    def describe(self, groups: Mapping[str, Collection[str]] | None = None) -> None:
        """Write an inventory with the walk's settings and members, and these groups, for the next runs."""
        self.inventory = inventory_of(self.folder, etcd=self.etcd, settings=self.settings, groups=groups)

    def with_all_members(self) -> None:
        """Have all hosts of etcd in it again: with two members it needs both of them."""
        if self.etcd:
            self.etcd = ()
            self.describe()
            self.run("deploy.py")

    def cut(self, action: str, *arguments: str, last: int) -> None:
        """Kill an action at the beginning of an operation, one of the first `last`; then repeat it to its end."""
        operation = self.chance.randrange(1, last + 1)
        with Deploy(*arguments, action=action, inventory=self.inventory) as run:
            run.until(lambda: run.operations >= operation)
        self.run(action, *arguments)

    def run(self, action: str, *arguments: str) -> str:
        return acted(action, *arguments, inventory=self.inventory)


def deploy_again(walk: Walk) -> None:
    walk.run("deploy.py")


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
    walk.with_all_members()
    walk.run("actions/remove_node.py", "--data", f"node={node.name}")


def cut_a_removal(walk: Walk) -> None:
    node = walk.minion()
    walk.disturbed.add(node.name)
    walk.with_all_members()
    walk.cut("actions/remove_node.py", "--data", f"node={node.name}", last=8)


def add_a_host(walk: Walk) -> None:
    """Have the cluster do without a host for one deploy, then add the host as a new one."""
    node = walk.minion()
    walk.disturbed.add(node.name)
    walk.with_all_members()
    walk.run("actions/remove_node.py", "--data", f"node={node.name}")
    own = {"masters": CLUSTER.masters, "minions": CLUSTER.minions, "etcd": CLUSTER.etcd}
    walk.describe({group: [each.name for each in nodes if each != node] for group, nodes in own.items()})
    walk.run("deploy.py")
    assert f"node/{node.name}" not in run_kubectl("get", "nodes", "-o", "name").split()
    walk.describe()
    walk.run("deploy.py")
    assert f"node/{node.name}" in run_kubectl("get", "nodes", "-o", "name").split()


def move_between_groups(walk: Walk) -> None:
    """Make a minion a master, and a minion again."""
    node = walk.minion()
    walk.disturbed.add(node.name)
    masters, minions = ([each.name for each in group if each != node] for group in (CLUSTER.masters, CLUSTER.minions))
    walk.describe({"masters": [*masters, node.name], "minions": minions})
    walk.run("deploy.py")
    walk.describe()
    walk.run("deploy.py")


def replace_a_machine(walk: Walk) -> None:
    node = walk.minion()
    walk.disturbed.add(node.name)
    walk.with_all_members()
    lose(node)


def back_up(walk: Walk) -> None:
    phrase = walk.folder / "phrase"
    phrase.touch(0o600)
    phrase.write_text(PHRASE)
    backup = walk.folder / f"{len(list(walk.folder.glob('*.kubekeel')))}.kubekeel"
    passphrase = ("--data", f"passphrase_file={phrase}")
    walk.run("actions/backup.py", "--data", f"backup={backup}", *passphrase)
    refused(act("actions/restore.py", "--data", f"backup={backup}", *passphrase, inventory=walk.inventory), "confirm")


def rotate(walk: Walk) -> None:
    """Rotate the encryption key; then a run with an older copy of the keys is refused."""
    old = walk.folder / "old"
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(STATE, old)
    walk.rotated.add("encryption")
    walk.run("actions/rotate.py", "--data", "what=encryption")
    inventory = inventory_of(walk.folder / "elsewhere", etcd=walk.etcd, settings=walk.settings, state=old)
    refused(act("deploy.py", inventory=inventory), "encryption key")


def rotate_another(walk: Walk) -> None:
    root = walk.chance.choice([each for each in ROOTS if each != "encryption"])
    walk.rotated.add(root)
    walk.run("actions/rotate.py", "--data", f"what={root}")


def cut_a_rotation(walk: Walk) -> None:
    walk.rotated.add("encryption")
    walk.cut("actions/rotate.py", "--data", "what=encryption", last=40)


def cut_a_deploy(walk: Walk) -> None:
    for node in CLUSTER.nodes:
        undo(node)
    operation = walk.chance.randrange(1, 15)
    with Deploy(inventory=walk.inventory) as run:
        run.until(lambda: run.operations >= operation)


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


def fill_the_snapshots(walk: Walk) -> None:
    """Take the room for etcd's snapshots from a member, so that one fails there, and give it back."""
    node = walk.chance.choice([each for each in CLUSTER.etcd if not walk.etcd or each.name in walk.etcd])
    host = host_of(node)
    host.check_output(f"mount -t tmpfs -o size=1m,uid=etcd,gid=etcd,mode=700 tmpfs {SNAPSHOTS}")
    try:
        assert host.run("systemctl start etcd-snapshot").rc != 0
        assert any(node.name in problem for problem in status(inventory=walk.inventory)["problems"])
        refused(act("deploy.py", inventory=walk.inventory), node.name)
    finally:
        host.check_output(f"umount {SNAPSHOTS}")


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
    cut_a_removal,
    add_a_host,
    move_between_groups,
    replace_a_machine,
    back_up,
    rotate,
    rotate_another,
    cut_a_rotation,
    cut_a_deploy,
    kill,
    cut_power,
    flush_rules,
    delete_the_device,
    delete_the_node_object,
    fill_the_disk,
    fill_the_snapshots,
    deploy_without_keys,
)


@dataclass(frozen=True)
class Keys:
    """The keys here: SHA-256 of the roots' private files, encryption keys, and the newest generation of each root."""

    files: Mapping[str, str]
    encryption: frozenset[bytes]
    newest: Mapping[str, int]


def keys(seen: Mapping[str, Mapping[str, Collection[int]]]) -> Keys:
    """Return the keys in the state directory; `seen` is a status."""
    found = {name: digest for name, digest in certificates().items() if "/" not in name and name.endswith(".key")}
    return Keys(
        files={name: digest for name, digest in found.items() if name != ENCRYPTION_KEYS},
        encryption=frozenset((STATE / ENCRYPTION_KEYS).read_bytes().splitlines()),
        newest={root: max(numbers) for root, numbers in seen["generations"].items()},
    )


def check_keys(walk: Walk, before: Keys, now: Keys) -> None:
    """Check that a step lost no key, and changed only those that it rotated, into newer ones."""
    of_rotated = {ROOTS[root][0] for root in walk.rotated}
    kept = {name: digest for name, digest in before.files.items() if name not in of_rotated}
    assert now.files.items() >= kept.items(), "keys changed, or are lost"
    assert now.files.keys() >= before.files.keys(), "keys are lost"
    assert "encryption" in walk.rotated or now.encryption >= before.encryption, "encryption keys are lost"
    for root, number in before.newest.items():
        assert now.newest[root] >= number + (root in walk.rotated), f"the generation of {root} is not newer"


def users_containers(namespace: str) -> dict[str, dict[str, str]]:
    return {node.name: containers(host_of(node), namespace) for node in CLUSTER.nodes}


def notes(walk: Walk, seen: Mapping[str, list[str]]) -> list[str]:
    """Return the notes of a status, without the one that an etcd with two members always gets."""
    return [note for note in seen["notes"] if not (walk.etcd and "even number of members" in note)]


def reach_pods(namespace: str) -> None:
    """Check that each node reaches each of the users' pods, and their service."""
    pods = json.loads(run_kubectl("-n", namespace, "get", "pods", "-l", "app=web", "-o", "json"))["items"]
    web = json.loads(run_kubectl("-n", namespace, "get", "service", "web", "-o", "json"))["spec"]
    stay = [pod["status"]["podIP"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    assert len(stay) == len(CLUSTER.minions)
    fetch = "curl --silent --show-error --fail --retry 20 --retry-delay 1 --retry-all-errors --max-time 5"
    for address in (*(f"{each}:8080" for each in stay), f"{web['clusterIP']}:80"):
        for node in CLUSTER.nodes:
            host_of(node).check_output(f"{fetch} http://{address}")


def check(walk: Walk, writes: Writes, before: Keys, pods: dict[str, dict[str, str]]) -> Keys:
    """Check the cluster after a step, and return the present keys.

    `before` and `pods` are the keys and the users' containers before the step.
    """
    seen = status(inventory=walk.inventory)
    quiet = seen["healthy"] and not notes(walk, seen)
    healed = deployed(inventory=walk.inventory)
    assert not quiet or healed.changes == [], f"status said that all is well, and a deploy did {healed.changes}"
    last = healthy_status(120 * SLACK, inventory=walk.inventory)
    assert notes(walk, last) == []
    assert deployed(inventory=walk.inventory).changes == []
    acknowledged = set(writes.good)
    assert acknowledged & writes.lost() == set(), "acknowledged writes are lost"
    present = keys(last)
    check_keys(walk, before, present)
    run_kubectl("-n", writes.namespace, "rollout", "status", "daemonset/web", "--timeout=180s")
    reach_pods(writes.namespace)
    now = users_containers(writes.namespace)
    for name, there in pods.items():
        assert name in walk.disturbed or now[name].items() >= there.items(), f"pods of users restarted on {name}"
    return present


def daemon(image: str) -> str:
    """Return a user's DaemonSet as JSON."""
    pod = server("web", "", image)
    del pod["spec"]["nodeName"]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod["spec"]}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web"}, "spec": spec})


def test_no_act_loses_anything_and_one_deploy_repairs_the_cluster(namespace, image, tmp_path) -> None:
    run_kubectl("-n", namespace, "apply", "-f", "-", given=f"{daemon(image)}\n---\n{json.dumps(service())}")
    run_kubectl("-n", namespace, "rollout", "status", "daemonset/web", "--timeout=180s")
    acts = draw(ACTS, SEED, ROUNDS, STEPS)
    walk = Walk(tmp_path, random.Random(SEED))
    done: list[str] = []
    begun = time.monotonic()
    try:
        with (
            harm(f"random walk, seed {SEED}", "no write or key lost, no pod restarted, healed by one deploy") as row,
            writing(namespace, WRITES_PAUSE) as writes,
        ):
            kept = keys(status())
            for step, walk.chance in acts:
                done.append(step.__name__)
                walk.disturbed, walk.rotated = set(), set()
                pods = users_containers(namespace)
                try:
                    step(walk)
                    kept = check(walk, writes, kept, pods)
                except BaseException:
                    replay = f"KUBEKEEL_WALK_SEED={SEED} KUBEKEEL_WALK_STEPS={len(done)}"
                    print(f"{replay} is the shortest walk that fails: {' '.join(done)}")
                    print(json.dumps({"settings": walk.settings, "etcd": walk.etcd}, default=str))
                    raise
            row.seen = f"{len(done)} acts, {len(writes.good)} writes, {time.monotonic() - begun:.0f} s"
    finally:
        # Restore the lab's own cluster, also after a failure.
        deploy()
