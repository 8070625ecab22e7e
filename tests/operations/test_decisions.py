"""From a look at a host to the exact commands that it gets."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace

import pytest

from kubekeel.artifacts import Artifact, Image
from kubekeel.etcd_access import Access, Wanted
from kubekeel.files import Directory, Entry, File, Link, Seen
from kubekeel.nodes import CONTROL_PLANE, DRAINED, NodeState
from kubekeel.render import SYSCTLS
from kubekeel.service import Service
from operations import addons, converge, etcd, members, node, nodes, store, wait
from operations.converge import Look, UnitSeen
from operations.etcd import AccessSeen
from operations.kubectl import KUBECTL
from operations.store import ImageSeen, Imported, Stored
from tests.hosts import OLD, as_described, cluster
from tests.operations.commands import RUNNING, STARTED, Commands, Described, Host

YOUNG = 300.0


FILES: dict[str, Entry] = {"/etc/d": Directory(), "/etc/d/config": File(b"new"), "/bin/d": Link("../store/1/d")}
HOT: dict[str, Entry] = {"/etc/d/d.crt": File(b"certificate", hot=True)}
DAEMON = Service(unit="d", files={**FILES, **HOT}, ready="d --healthy")
RESTART = "systemctl restart --no-block d.service"


def unit(paths: dict[str, Seen], state: UnitSeen = RUNNING) -> dict[type, object]:
    return {Look: Described(paths, {"d": state})}


def test_a_service_in_its_desired_state_is_left_alone(commands: Commands) -> None:
    assert commands(converge, "converge", unit(as_described(DAEMON.files)), [DAEMON]) == []


def test_on_a_bare_host_a_service_is_written_started_and_waited_for(commands: Commands) -> None:
    write, start = commands(converge, "converge", unit({}, UnitSeen()), [DAEMON])
    assert "tar -x" in write
    assert [line for line in start.splitlines() if "systemctl" in line][:3] == [
        "systemctl daemon-reload",
        "systemctl enable --quiet d.service",
        RESTART,
    ]
    assert DAEMON.ready in start


def test_only_differing_files_are_written(commands: Commands) -> None:
    seen = as_described(DAEMON.files) | {"/etc/d/config": Seen("f", 0o644, "root:root", OLD, digest="other")}
    write, _ = commands(converge, "converge", unit(seen), [DAEMON])
    assert [line for line in write.splitlines() if line.startswith("mv")] == [
        "mv -fT /etc/d/.config.kubekeel-new /etc/d/config"
    ]


def test_a_service_older_than_its_files_is_restarted_even_if_this_run_wrote_none(commands: Commands) -> None:
    (start,) = commands(converge, "converge", unit(as_described(DAEMON.files, changed=YOUNG)), [DAEMON])
    assert RESTART in start


@pytest.mark.parametrize("roll", [False, True])
def test_a_running_service_that_does_not_start_at_boot_is_enabled_without_a_restart(
    commands: Commands, roll: bool
) -> None:
    disabled = unit(as_described(DAEMON.files), replace(RUNNING, enabled=False))
    assert commands(converge, "converge", disabled, [DAEMON], roll=roll) == ["systemctl enable --quiet d.service"]


def test_a_member_that_does_not_start_at_boot_is_enabled_without_a_restart(commands: Commands) -> None:
    service = replace(DAEMON, unit="etcd")
    conditions = {"blank": False, "timer": True}
    seen = Described(as_described(service.files), {"etcd": replace(RUNNING, enabled=False)}, conditions)
    enabled = commands(members, "member", {Look: seen}, service, {}, cluster())
    assert enabled == ["systemctl enable --quiet etcd.service"]
    well = replace(seen, units={"etcd": RUNNING})
    assert commands(members, "member", {Look: well}, service, {}, cluster()) == []


def test_what_a_service_needs_before_it_restarts_happens_after_its_files_are_written(commands: Commands) -> None:
    daemon = replace(DAEMON, before="end its children")
    write, start = commands(converge, "converge", unit({}), [daemon])
    assert daemon.before not in write
    assert start.index(daemon.before) < start.index(RESTART)
    assert commands(converge, "converge", unit(as_described(daemon.files)), [daemon]) == []


def test_a_renewed_certificate_is_written_without_a_restart(commands: Commands) -> None:
    seen = as_described(FILES) | {"/etc/d/d.crt": Seen("f", 0o600, "root:root", OLD, digest="older")}
    (write,) = commands(converge, "converge", unit(seen), [DAEMON])
    assert "systemctl" not in write
    young = as_described(FILES) | as_described(HOT, changed=YOUNG)
    assert commands(converge, "converge", unit(young), [DAEMON]) == []


Waits = Callable[[bool], list[str]]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Return a function that makes all waits succeed or fail, and lists their scripts."""

    def run(ends_well: bool) -> list[str]:
        started: list[str] = []

        def ask(_host: object, script: str, _patience: int = 0) -> tuple[bool, SimpleNamespace]:
            started.append(script)
            return ends_well, SimpleNamespace(output_lines=["it does not serve", "because"])

        def worded(condition: str, patience: int, *_complaint: str, **_more: str) -> str:
            return f"wait for {condition}, at most {patience} s of standing still"

        monkeypatch.setattr(wait, "state", SimpleNamespace(is_executing=True))
        monkeypatch.setattr(wait, "ask", ask)
        monkeypatch.setattr(converge, "until", worded)
        return started

    return run


def idle(age: float) -> dict[type, object]:
    """Return a service that has run for `age` seconds and does not serve."""
    return unit(as_described(DAEMON.files), UnitSeen(active=True, started=STARTED, age=age))


def test_waiting_for_a_service_that_is_starting_is_not_a_change(commands: Commands, waits: Waits) -> None:
    waited = waits(True)
    assert commands(converge, "converge", idle(age=5), [DAEMON]) == []
    (started,) = waited
    assert DAEMON.ready in started
    assert "at most 115 s of standing still" in started


def test_a_service_that_does_not_serve_in_time_is_restarted(commands: Commands, waits: Waits) -> None:
    waited = waits(False)
    (restart,) = commands(converge, "converge", idle(age=86400), [DAEMON])
    assert RESTART in restart
    assert DAEMON.ready in restart
    (started,) = waited
    assert "at most 10 s of standing still" in started


def test_a_member_that_does_not_serve_is_refused_and_not_restarted(commands: Commands, waits: Waits) -> None:
    waits(False)
    (refusal,) = commands(converge, "converge", idle(age=86400), [DAEMON], roll=True)
    assert RESTART not in refusal
    assert "it does not serve\nbecause" in refusal
    assert refusal.endswith("&& exit 1")


def test_a_run_waits_for_nothing_before_it_is_confirmed(
    commands: Commands, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = waits(True)
    monkeypatch.setattr(wait, "state", SimpleNamespace(is_executing=False))
    assert commands(converge, "converge", idle(age=86400), [DAEMON])
    assert waited == []


def test_the_step_that_advances_a_wait_is_not_part_of_a_look(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    here = {"cwd": tmp_path, "env": {"PATH": f"{tmp_path}:/usr/bin:/bin"}}
    learner = replace(DAEMON, ready="echo asked >>did; grep -q promoted did", advance="echo promoted >>did")
    fact: dict[str, object] = {}
    look = Described.look
    described = unit(as_described(DAEMON.files), UnitSeen(active=True))
    monkeypatch.setattr(Described, "look", lambda host, **asked: fact.update(asked) or look(host, **asked))
    (wait,) = commands(converge, "converge", described, [learner])
    assert fact["conditions"] == {"d": learner.ready}
    subprocess.run(["sh", "-c", wait], check=True, **here)  # type: ignore[call-overload]
    assert (tmp_path / "did").read_text().split() == ["asked", "promoted", "asked"]


# systemd starts the unit again after each try; the newest one has not failed yet.
JOURNAL = """\
no iptables here
d.service: Scheduled restart job, restart counter is at 1.
begun again
"""


def test_a_failure_shows_the_journal_of_the_last_try_that_ended(commands: Commands, tmp_path: Path) -> None:
    for name, text in {"systemctl": '[ "$1" != is-active ]', "journalctl": f"printf %s {shlex.quote(JOURNAL)}"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    seen = unit(as_described(DAEMON.files), UnitSeen())
    (start,) = commands(converge, "converge", seen, [replace(DAEMON, patience=1)])
    here = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", start], env=here, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    ended, _, newest = done.stdout.partition("Its newest lines:\n")
    assert ended.endswith("Its last try that ended:\nno iptables here\n")
    assert "begun again" in newest


@pytest.mark.parametrize(
    "crt", [Seen("f", 0o600, "root:root", OLD, digest="expired"), *as_described(HOT, YOUNG).values()]
)
def test_a_service_that_does_not_serve_is_restarted_for_a_newer_certificate(commands: Commands, crt: Seen) -> None:
    seen = unit(as_described(FILES) | {"/etc/d/d.crt": crt}, UnitSeen(active=True, started=STARTED))
    assert RESTART in commands(converge, "converge", seen, [DAEMON])[-1]
    assert RESTART not in commands(converge, "converge", seen, [DAEMON], roll=True)[-1]


def test_a_running_member_is_restarted_only_in_its_turn(commands: Commands) -> None:
    young = unit(as_described(DAEMON.files, changed=YOUNG))
    assert commands(converge, "converge", young, [DAEMON], roll=True) == ["systemctl daemon-reload"]
    down = unit(as_described(DAEMON.files), UnitSeen())
    assert RESTART in commands(converge, "converge", down, [DAEMON], roll=True)[0]


def test_a_restart_in_turn_waits_until_the_others_are_healthy(commands: Commands) -> None:
    young = unit(as_described(DAEMON.files, changed=YOUNG))
    gate, start = commands(converge, "restart_in_turn", young, DAEMON, "all --healthy", "/previous")
    assert "'all --healthy'" in gate
    assert RESTART in start


KUBELET = Artifact("kubelet", "v1", "aa", Path("/cache/aa"), lambda _: Path("/cache/packed-aa"))
RUNC = Artifact("runc", "v1", "bb", Path("/cache/bb"), lambda _: Path("/cache/packed-bb"))


def test_a_binary_that_the_host_has_is_not_sent_again(commands: Commands) -> None:
    assert commands(store, "store", {Stored: {"aa/kubelet", "bb/runc"}}, [KUBELET, RUNC]) == []
    (sent,) = commands(store, "store", {Stored: {"aa/kubelet", "00/runc"}}, [KUBELET, RUNC])
    assert "tee runc.gz" in sent
    assert "kubelet" not in sent


def test_each_binary_is_sent_once(commands: Commands) -> None:
    first, second = commands(store, "store", {Stored: set()}, [KUBELET, RUNC])
    assert "tee kubelet.gz" in first
    assert "tee runc.gz" in second


def test_the_binaries_that_may_come_later_are_begun_after_the_others(commands: Commands) -> None:
    sent, begun = commands(store, "store", {Stored: set()}, [KUBELET, RUNC], beside={"kubelet"})
    assert "tee runc.gz" in sent
    assert begun == "_begin"
    assert commands(store, "store", {Stored: {"aa/kubelet", "bb/runc"}}, [KUBELET, RUNC], beside={"kubelet"}) == []


def test_a_binary_is_installed_only_after_its_sha256_is_checked(commands: Commands) -> None:
    (sent,) = commands(store, "store", {Stored: set()}, [RUNC])
    assert sent.index("= 'packed-bb  -' ] ||") < sent.index("mv -f runc /opt/kubekeel/store/bb/runc")


PAUSE = Image(
    "pause", "kubekeel.local/pause:v1", "sha256:cc", Path("/cache/cc"), "dd", lambda _: Path("/cache/packed-dd")
)


def imported(commands: Commands, there: dict[str, ImageSeen], image: Image) -> list[str]:
    return commands(store, "import_images", {Imported: there}, [image])


def test_an_image_is_imported_unless_the_host_has_it(commands: Commands) -> None:
    assert imported(commands, {PAUSE.reference: ImageSeen("sha256:cc", pinned=True)}, PAUSE) == []
    (sent,) = imported(commands, {PAUSE.reference: ImageSeen("sha256:older", pinned=True)}, PAUSE)
    assert sent.index("'packed-dd  -'") < sent.index("images import")
    assert "io.cri-containerd.pinned=pinned" in sent


def test_images_that_come_beside_are_begun_at_once_unless_the_host_has_them(commands: Commands) -> None:
    assert commands(store, "import_images", {Imported: {}}, [PAUSE], beside=True) == ["_begin"]
    there = {PAUSE.reference: ImageSeen("sha256:cc", pinned=True)}
    assert commands(store, "import_images", {Imported: there}, [PAUSE], beside=True) == []


def test_an_image_that_an_interrupted_run_left_unpinned_is_pinned_and_not_sent(commands: Commands) -> None:
    (pin,) = imported(commands, {PAUSE.reference: ImageSeen("sha256:cc", pinned=False)}, PAUSE)
    assert pin.startswith("/opt/kubekeel/bin/ctr -n k8s.io images label kubekeel.local/pause:v1 ")
    assert "io.cri-containerd.pinned=pinned" in pin


def test_an_image_that_is_set_unpinned_is_imported_without_a_pin(commands: Commands) -> None:
    loose = replace(PAUSE, pinned=False)
    (sent,) = imported(commands, {}, loose)
    assert "images import" in sent
    assert "pinned" not in sent
    for pinned in (True, False):
        assert imported(commands, {PAUSE.reference: ImageSeen("sha256:cc", pinned)}, loose) == []
    assert store.there([loose]) == store.there([])


# The output of ctr.
IMAGES = """\
REF TYPE DIGEST SIZE PLATFORMS LABELS
kubekeel.local/pause:v1 application/vnd.oci.image.manifest.v1+json sha256:cc 1.2 MiB linux/amd64 \
io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned
sha256:dd application/vnd.oci.image.manifest.v1+json sha256:cc 1.2 MiB linux/amd64 io.cri-containerd.image=managed
"""


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("printed", "holds"),
    [(IMAGES, True), (IMAGES.replace("=pinned", "="), False), (IMAGES.replace("sha256:cc", "sha256:older"), False)],
    ids=["present", "not pinned", "another one"],
)
def test_images_are_present_only_if_they_are_the_desired_ones_and_pinned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str, holds: bool
) -> None:
    (tmp_path / "images").write_text(printed)
    listed = store.IMAGES.replace("/opt/kubekeel/bin/ctr -n k8s.io images ls", f"cat {tmp_path}/images")
    assert listed != store.IMAGES
    seen = store.Imported().process(shell(listed).stdout.splitlines())
    assert (seen[PAUSE.reference] == ImageSeen(PAUSE.digest, pinned=True)) == holds
    monkeypatch.setattr(store, "IMAGES", listed)
    assert (shell(store.there([PAUSE])).returncode == 0) == holds


NODE: dict[str, Entry] = {
    "/etc/modules-load.d/kubekeel.conf": File(b"vxlan\n"),
    SYSCTLS: File(b"net.ipv4.ip_forward = 1\n"),
}
FIT = {"users", "packages", "modules", "sysctls"}
MEANS = {
    "packages": "apt_get='kmod nftables'",
    "users": "useradd --system",
    "modules": "modprobe -q",
    "sysctls": f"sysctl -q -p {SYSCTLS}",
}


def prepare(commands: Commands, paths: dict[str, Seen], holds: Sequence[str] | set[str]) -> list[str]:
    wanted = {"nft": "nftables", "modprobe": "kmod"}
    seen = Described(paths, conditions={name: name in holds for name in FIT})
    return commands(node, "prepare", {Look: seen}, NODE, wanted)


def test_a_fit_host_is_left_alone(commands: Commands) -> None:
    assert prepare(commands, as_described(NODE), FIT) == []


@pytest.mark.parametrize("lacking", sorted(FIT))
def test_a_host_gets_only_what_it_lacks(commands: Commands, lacking: str) -> None:
    (command,) = prepare(commands, as_described(NODE), FIT - {lacking})
    assert MEANS[lacking] in command


def test_a_bare_host_gets_packages_then_files_then_modules_and_sysctls(
    commands: Commands,
) -> None:
    packages, users, files, modules, sysctls = prepare(commands, {}, [])
    assert "tar -x" in files
    for name, command in (("packages", packages), ("users", users), ("modules", modules), ("sysctls", sysctls)):
        assert MEANS[name] in command


MANIFESTS = {"coredns.yaml": b"kind: Deployment", "rbac.yaml": b"kind: ClusterRoleBinding"}
APPLIED: dict[str, Entry] = {
    addons.ADDONS: Directory(0o700),
    **{f"{addons.ADDONS}/{name}": File(text) for name, text in MANIFESTS.items()},
}
UNMANAGED: dict[str, Entry] = {"/etc/systemd/network/00-kubekeel.network": File(b"")}


def test_network_daemons_reload_the_list_of_devices_to_ignore(commands: Commands) -> None:
    write, reload = commands(node, "prepare", {Look: Described(conditions=dict.fromkeys(FIT, True))}, UNMANAGED, {})
    assert "tar -x" in write
    assert "networkctl reload" in reload


DONE = {"authorized", "applied", "alone", "available"}
TAINTS = {f"{CONTROL_PLANE}:NoSchedule": ""}
STATES = {"master": NodeState({CONTROL_PLANE: "", "disk": "ssd"}, taints=TAINTS)}
THERE = nodes.Seen(STATES, {"master": frozenset({"disk"})})


def apply(commands: Commands, paths: dict[str, Seen], holds: set[str], there: nodes.Seen | None = THERE) -> list[str]:
    seen = Described(paths, {}, {name: name in holds for name in DONE}, addons.ObjectsSeen(nodes=there))
    return commands(
        addons, "addons", {addons.ObjectsLook: seen}, MANIFESTS, STATES, ["left"], ["changed"], lambda: b"secret"
    )


def test_add_ons_in_their_desired_state_are_left_alone(commands: Commands) -> None:
    assert apply(commands, as_described(APPLIED), DONE) == []


def test_a_new_cluster_authorizes_its_administrators_before_they_apply_the_rest(commands: Commands) -> None:
    write, authorize, rest, wait = apply(commands, {}, {"alone"})
    assert "tar -x" in write
    assert "--kubeconfig=/dev/stdin" in authorize
    assert authorize.endswith("rbac.yaml")
    assert "secret" not in authorize
    assert rest.endswith(f"apply --server-side --force-conflicts --field-manager=kubekeel -f {addons.ADDONS}")
    assert "the add-ons are not available" in wait


def test_a_node_that_an_interrupted_run_drained_takes_pods_again(commands: Commands) -> None:
    drained = nodes.Seen({**STATES, "changed": NodeState({DRAINED: ""})}, THERE.recorded)
    (command,) = apply(commands, as_described(APPLIED), DONE, drained)
    assert f"{KUBECTL} uncordon changed" in command


def test_unwanted_add_ons_are_deleted_before_the_rest_is_applied(commands: Commands) -> None:
    delete, rest, wait = apply(commands, as_described(APPLIED), DONE - {"alone"})
    assert "delete --ignore-not-found -f $file && rm $file" in delete
    assert " apply " in rest
    assert "the add-ons are not available" in wait


def test_waiting_for_add_ons_to_become_available_is_not_a_change(commands: Commands, waits: Waits) -> None:
    waited = waits(True)
    assert apply(commands, as_described(APPLIED), DONE - {"available"}) == []
    assert "the add-ons are not available" in waited[0]
    waits(False)
    (refusal,) = apply(commands, as_described(APPLIED), DONE - {"available"})
    assert "it does not serve\nbecause" in refusal


@pytest.mark.parametrize(
    ("rollouts", "available"),
    [
        ("NewReplicaSetAvailable NewReplicaSetAvailable", True),
        ("NewReplicaSetAvailable ReplicaSetUpdated", False),
        ("ProgressDeadlineExceeded", False),
    ],
)
def test_add_ons_are_available_only_when_their_rollout_is_complete(
    tmp_path: Path, rollouts: str, available: bool
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\ncase $* in *jsonpath*) printf '%s\\n' {rollouts} ;; esac\n")
    kubectl.chmod(0o755)
    script = addons.AVAILABLE.replace(addons.KUBECTL, str(kubectl))
    assert (subprocess.run(["sh", "-c", script], check=False).returncode == 0) is available


def test_objects_that_others_changed_are_applied_again(commands: Commands) -> None:
    rest, wait = apply(commands, as_described(APPLIED), DONE - {"applied"})
    assert " apply " in rest
    assert "the add-ons are not available" in wait


def kubectl_of(script: str) -> list[str]:
    """Return the arguments of each call of kubectl."""
    return [line.partition("admin.conf ")[2] for line in script.splitlines() if "kubectl" in line]


def test_a_node_gets_its_missing_labels_and_its_missing_taint(commands: Commands) -> None:
    bare = nodes.Seen({"master": NodeState({})}, {})
    (script,) = apply(commands, as_described(APPLIED), DONE, bare)
    assert kubectl_of(script) == [
        "apply --server-side --force-conflicts --field-manager=kubekeel -f -",
        f"label --overwrite nodes master disk=ssd {CONTROL_PLANE}=",
        f"taint --overwrite nodes master {CONTROL_PLANE}:NoSchedule",
    ]
    assert '"data": {"master": "disk"}' in script


def test_the_labels_of_a_node_stay_recorded_until_they_are_removed(commands: Commands) -> None:
    there = nodes.Seen(
        {"master": NodeState({**STATES["master"].labels, "zone": "1"}, taints={f"{CONTROL_PLANE}:NoSchedule": ""})},
        {"master": frozenset({"zone"})},
    )
    (script,) = apply(commands, as_described(APPLIED), DONE, there)
    first, label, last = [line for line in script.splitlines() if "kubectl" in line]
    assert '"data": {"master": "disk zone"}' in first
    assert label.endswith("nodes master zone-")
    assert '"data": {"master": "disk"}' in last


def test_the_node_of_a_host_that_no_longer_runs_pods_is_deleted(commands: Commands) -> None:
    there = nodes.Seen({**STATES, "left": NodeState({}), "stranger": NodeState({})}, THERE.recorded)
    (script,) = apply(commands, as_described(APPLIED), DONE, there)
    assert kubectl_of(script) == ["delete nodes --ignore-not-found left"]


def test_a_failed_list_of_nodes_is_requested_again_and_not_taken_for_empty(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "host", Host({nodes.Nodes: None}))
    (refusal,) = apply(commands, as_described(APPLIED), DONE, None)
    assert "the API does not list its nodes" in refusal
    monkeypatch.setattr(nodes, "host", Host({nodes.Nodes: THERE}))
    assert apply(commands, as_described(APPLIED), DONE, None) == []


NODE_LINE = """node\tm\t{"a":"b"}\t{"c":"d"}\t"""


@pytest.mark.parametrize(
    ("lists", "tells", "there"),
    [
        ("exit 1", "exit 1", None),
        (f"echo '{NODE_LINE}'", "exit 1", None),
        (f"echo '{NODE_LINE}'", "true", nodes.Seen({"m": NodeState({"a": "b"}, {"c": "d"})}, {})),
        ("true", """echo '{"m":"disk"}'""", nodes.Seen({}, {"m": frozenset({"disk"})})),
    ],
    ids=["refused", "the first only", "no label recorded", "no node"],
)
def test_nodes_are_seen_only_if_the_cluster_lists_them(
    tmp_path: Path, lists: str, tells: str, there: nodes.Seen | None
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\ncase $* in *' nodes '*) {lists} ;; *) {tells} ;; esac\n")
    kubectl.chmod(0o755)
    script = nodes.LOOK.replace("/opt/kubekeel/bin/kubectl", str(kubectl))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert nodes.read_look(done.stdout.splitlines()) == there


def test_an_etcd_without_a_quorum_is_not_taken_for_an_empty_one(commands: Commands) -> None:
    (refusal,) = commands(
        etcd, "grant_access", {AccessSeen: Access()}, Wanted("{}", IPv4Network("10.0.0.0/8"), 24, {}, {})
    )
    assert "no quorum of etcd answers" in refusal
    assert "etcdctl" not in refusal


def test_an_etcd_that_takes_no_writes_ends_a_deploy_with_what_to_do(commands: Commands) -> None:
    lines = ["answered", "auth true", "alarm memberID:26 alarm:CORRUPT", "alarm memberID:27  alarm:NOSPACE"]
    wanted = Wanted("{}", IPv4Network("10.0.0.0/8"), 24, {}, {})
    [refusal] = commands(etcd, "grant_access", {AccessSeen: AccessSeen().process(lines)}, wanted)
    assert "etcd takes no writes (alarm CORRUPT of member 1a); remove that member: actions/remove_member.py" in refusal
    assert "etcd takes no writes (alarm NOSPACE of member 1b); delete the objects that fill it, then run" in refusal
    assert refusal.endswith("&& exit 1")


def test_rights_in_etcd_for_hundreds_of_nodes_fit_into_commands_that_a_shell_takes(commands: Commands) -> None:
    network = IPv4Network("10.0.0.0/8")
    names = [f"machine-room-{number}" for number in range(300)]
    wanted = Wanted("{}", network, 24, dict.fromkeys(names, "192.168.1.2"), dict.fromkeys(names, '{"PublicIP": "1"}'))
    grants = commands(etcd, "grant_access", {AccessSeen: Access(answered=True)}, wanted)
    assert sum(command.count(" role add ") for command in grants) == len(names) + 1
    for command in grants:
        subprocess.run(["sh", "-n", "-c", shlex.quote(command)], check=True)
