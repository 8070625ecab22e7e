"""The benchmark's controls: all exist, pass good evidence, and name faults in bad evidence."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kubekeel.cis import COLLECT, CONTROLS, Evidence, Result, hosts, judge
from tests.unit.evidence import (
    CLUSTER,
    GOOD,
    with_configuration,
)

# The benchmark's own numbering: how many controls each section has.
SECTIONS = {
    **{"1.1": 21, "1.2": 30, "1.3": 7, "1.4": 2, "2": 7, "3.1": 3, "3.2": 2, "4.1": 10, "4.2": 14, "4.3": 1},
    **{"5.1": 13, "5.2": 12, "5.3": 2, "5.4": 2, "5.5": 1, "5.6": 4},
}


BY_ID = {control.id: control for control in CONTROLS}


def fault(number: str, evidence: Evidence) -> str:
    check = BY_ID[number].check
    assert check is not None
    return check(evidence)


def with_arguments(component: str, *changed: str) -> Evidence:
    """Return good evidence with arguments replaced by name; one without "=" is removed."""
    names = {argument.partition("=")[0] for argument in changed}
    kept = [argument for argument in GOOD.arguments[component] if argument.partition("=")[0] not in names]
    added = [argument for argument in changed if "=" in argument]
    return replace(GOOD, arguments={**GOOD.arguments, component: (*kept, *added)})


def with_file(path: str, mode: int | None = None, owner: str | None = None) -> Evidence:
    seen = GOOD.files.get(path, GOOD.files["/etc/etcd/etcd.conf"])
    changed = replace(seen, mode=seen.mode if mode is None else mode, owner=owner or seen.owner)
    return replace(GOOD, files={**GOOD.files, path: changed})


def with_row(kind: str, *row: str) -> Evidence:
    return replace(GOOD, rows={**GOOD.rows, kind: (*GOOD.rows[kind], row)})


# The table


def test_every_control_of_the_benchmark_exists_once() -> None:
    expected = [f"{section}.{number}" for section, count in SECTIONS.items() for number in range(1, count + 1)]
    assert [control.id for control in CONTROLS] == expected
    assert len(expected) == 131


def test_65_controls_are_scored_38_more_are_tested_and_28_are_manual() -> None:
    assert sum(control.scored for control in CONTROLS) == 65
    assert sum(control.check is not None and not control.scored for control in CONTROLS) == 38
    assert sum(control.check is None for control in CONTROLS) == 28


def test_scored_controls_have_a_check_and_manual_ones_a_note() -> None:
    assert not [control.id for control in CONTROLS if control.scored and (control.note or not control.check)]
    assert all(control.note for control in CONTROLS if not control.check)


# Checks


@pytest.mark.parametrize("number", [control.id for control in CONTROLS if control.check and control.id != "1.2.1"])
def test_good_evidence_passes(number: str) -> None:
    assert fault(number, GOOD) == ""


@pytest.mark.parametrize("number", [control.id for control in CONTROLS if control.check])
def test_a_host_without_evidence_passes_no_control(number: str) -> None:
    assert fault(number, Evidence())


@pytest.mark.parametrize("number", ["1.1.9", "1.1.10"])
def test_a_kubelet_whose_pods_have_no_network_yet_has_none_of_its_files(number: str) -> None:
    files = {path: seen for path, seen in GOOD.files.items() if not path.startswith("/etc/cni/")}
    assert fault(number, replace(GOOD, files=files)) == ""


WRONG = [
    (
        "1.1.1",
        with_file("/etc/kubernetes/manifests/kube-apiserver.yaml", 0o644),
        "kube-apiserver.yaml must have mode 600",
    ),
    (
        "1.1.2",
        with_file("/etc/kubernetes/manifests/kube-apiserver.yaml", owner="root:adm"),
        "must be root:root's (root:adm)",
    ),
    ("1.1.3", with_configuration("kubelet", staticPodPath="/other"), "/other/kube-controller-manager.yaml is missing"),
    ("1.1.9", with_file("/var/lib/cni/networks/flannel/10.244.0.2", 0o644), "must have mode 600 or less (644)"),
    ("1.1.11", with_file("/var/lib/etcd", 0o750), "/var/lib/etcd must have mode 700 or less (750)"),
    ("1.1.12", with_file("/var/lib/etcd", owner="root:root"), "must be etcd:etcd's (root:root)"),
    ("1.1.13", with_file("/etc/kubernetes/super-admin.conf", 0o640), "super-admin.conf must have mode 600"),
    ("1.1.19", with_file("/etc/kubernetes/pki/etcd/ca.crt", owner="etcd:etcd"), "pki/etcd/ca.crt must be root:root's"),
    ("1.1.20", with_file("/etc/kubernetes/pki/ca.crt", 0o664), "must have mode 644 or less (664)"),
    ("1.1.21", with_file("/etc/kubernetes/pki/sa.key", 0o640), "sa.key must have mode 600 or less (640)"),
    ("1.2.1", GOOD, "anonymous requests are answered at /livez"),
    ("1.2.1", with_arguments("kube-apiserver", "--authentication-config"), "are answered at every path"),
    ("1.2.2", with_arguments("kube-apiserver", "--token-auth-file=/tokens"), "must not be set (/tokens)"),
    ("1.2.4", with_arguments("kube-apiserver", "--kubelet-client-key"), "--kubelet-client-key must be set (not set)"),
    ("1.2.6", with_arguments("kube-apiserver", "--authorization-mode=RBAC,AlwaysAllow"), "must not have AlwaysAllow"),
    ("1.2.7", with_arguments("kube-apiserver", "--authorization-mode=RBAC"), "must have Node (RBAC)"),
    ("1.2.8", with_arguments("kube-apiserver", "--authorization-mode=Node"), "must have RBAC (Node)"),
    ("1.2.10", with_arguments("kube-apiserver", "--enable-admission-plugins=AlwaysAdmit"), "must not have AlwaysAdmit"),
    (
        "1.2.12",
        with_arguments("kube-apiserver", "--disable-admission-plugins=ServiceAccount"),
        "not have ServiceAccount",
    ),
    ("1.2.14", with_arguments("kube-apiserver", "--enable-admission-plugins"), "must have NodeRestriction (not set)"),
    ("1.2.15", with_arguments("kube-apiserver", "--profiling"), "--profiling must be false (not set)"),
    ("1.2.17", with_arguments("kube-apiserver", "--audit-log-maxage=29"), "must be 30 or more (29)"),
    ("1.2.18", with_arguments("kube-apiserver", "--audit-log-maxbackup=9", "10"), "must be 10 or more (9)"),
    ("1.2.21", with_arguments("kube-apiserver", "--service-account-lookup=false"), "must be true or unset (false)"),
    ("1.2.28", replace(GOOD, providers=("secretbox", "identity")), "must be aescbc, kms or secretbox (identity)"),
    ("1.2.28", replace(GOOD, providers=()), "must be aescbc, kms or secretbox (none)"),
    ("1.2.29", with_arguments("kube-apiserver", "--tls-cipher-suites"), "must have strong suites only (not set)"),
    ("1.2.29", with_arguments("kube-apiserver", "--tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA"), "strong suites only"),
    (
        "1.3.6",
        with_arguments("kube-controller-manager", "--feature-gates=RotateKubeletServerCertificate=false"),
        "not have",
    ),
    (
        "1.3.7",
        with_arguments("kube-controller-manager", "--bind-address=0.0.0.0"),
        "must be 127.0.0.1 or unset (0.0.0.0)",
    ),
    ("2.2", with_arguments("etcd", "--client-cert-auth=false"), "etcd --client-cert-auth must be true (false)"),
    ("2.3", with_arguments("etcd", "--auto-tls=true"), "etcd --auto-tls must be false or unset (true)"),
    ("2.5", with_arguments("etcd", "--peer-client-cert-auth"), "must be true (not set)"),
    (
        "2.7",
        with_arguments("etcd", "--trusted-ca-file=/etc/kubernetes/pki/ca.crt"),
        "must not be the cluster's authority",
    ),
    ("2.7", replace(GOOD, digests=dict.fromkeys(GOOD.digests, "aa")), "/etc/etcd/pki/ca.crt must not be the cluster's"),
    (
        "4.1.1",
        with_file("/etc/systemd/system/kubelet.service", 0o644),
        "kubelet.service must have mode 600 or less (644)",
    ),
    ("4.1.3", with_file("/etc/kubernetes/kube-proxy.conf", 0o644), "kube-proxy.conf must have mode 600"),
    ("4.1.8", with_file("/etc/kubernetes/pki/ca.crt", owner="nobody:nogroup"), "must be root:root's (nobody:nogroup)"),
    (
        "4.2.1",
        with_configuration("kubelet", authentication={}),
        "authentication.anonymous.enabled must be False (not set)",
    ),
    ("4.2.1", with_arguments("kubelet", "--anonymous-auth=true"), "kubelet --anonymous-auth must be False (True)"),
    (
        "4.2.2",
        with_configuration("kubelet", authorization={"mode": "AlwaysAllow"}),
        "must not be AlwaysAllow (AlwaysAllow)",
    ),
    ("4.2.4", with_configuration("kubelet", readOnlyPort=10255), "readOnlyPort must be 0 or unset (10255)"),
    ("4.2.5", with_configuration("kubelet", streamingConnectionIdleTimeout="0s"), "must not be 0 (0s)"),
    ("4.2.7", with_arguments("kubelet", "--hostname-override=other"), "must not be set (other)"),
    ("4.2.8", with_configuration("kubelet", eventRecordQPS=0), "eventRecordQPS must be 1 or more, or unset (0)"),
    (
        "4.2.11",
        with_configuration("kubelet", featureGates={"RotateKubeletServerCertificate": False}),
        "or unset (False)",
    ),
    ("4.2.12", with_configuration("kubelet", tlsCipherSuites=["TLS_RSA_WITH_RC4_128_SHA"]), "strong suites only"),
    ("4.2.13", with_configuration("kubelet", podPidsLimit=-1), "podPidsLimit must be 1 or more (-1)"),
    ("4.3.1", with_configuration("kube-proxy", metricsBindAddress="0.0.0.0:10249"), "must be on the loopback address"),
    ("5.1.1", with_row("clusterrolebindings", "/ops", "cluster-admin", "Group::ops "), "ops (for Group::ops)"),
    ("5.1.2", with_row("anyone", "list secrets", "yes"), "list secrets (anyone may)"),
    ("5.1.3", with_row("roles", "ops/all", "", '[{"verbs":["*"]}]'), "ops/all (*)"),
    ("5.1.4", with_row("anyone", "create pods", ""), "create pods (anyone may)"),
    ("5.1.5", with_row("serviceaccounts", "ops/default", ""), "ops/default (mounts its token)"),
    (
        "5.1.5",
        with_row("rolebindings", "ops/x", "view", "ServiceAccount:ops:default "),
        "ops/x (ServiceAccount:ops:default)",
    ),
    (
        "5.1.6",
        with_row("pods", "kube-system/p", "", "", "", "", "dns", "/false "),
        "mounts the token of dns without asking",
    ),
    ("5.2.2", with_row("pods", "ops/p", "", "", "", "", "", "/false true/ "), "ops/p (privileged)"),
    ("5.2.3", with_row("pods", "ops/p", "true", "", "", "", "", "/false "), "ops/p (hostPID)"),
    ("5.2.4", with_row("pods", "ops/p", "", "true", "", "", "", "/false "), "ops/p (hostIPC)"),
    ("5.2.5", with_row("pods", "ops/p", "", "", "true", "", "", "/false "), "ops/p (hostNetwork)"),
    ("5.2.6", with_row("pods", "ops/p", "", "", "", "", "", "/false / "), "ops/p (may escalate)"),
]


@pytest.mark.parametrize(("number", "evidence", "message"), WRONG, ids=[row[0] for row in WRONG])
def test_a_failed_control_names_the_fault_and_the_value_seen(number: str, evidence: Evidence, message: str) -> None:
    assert message in fault(number, evidence)


@pytest.mark.parametrize("number", ["5.1.1", "5.1.2", "5.1.3", "5.1.5", "5.1.6", "5.2.2"])
def test_objects_that_could_not_be_listed_do_not_pass(number: str) -> None:
    assert "could not be listed" in fault(number, replace(GOOD, rows={}))


@pytest.mark.parametrize("number", ["4.1.7", "4.1.8", "4.2.1", "4.2.2", "4.2.3", "4.2.9", "4.2.12"])
def test_a_kubelet_without_a_server_needs_no_access_control(number: str) -> None:
    assert fault(number, with_configuration("kubelet", enableServer=False, authentication={}, authorization={})) == ""


# Judging


def state_of(number: str, results: tuple[Result, ...]) -> str:
    return next(result.state for result in results if result.control.id == number)


def test_each_control_is_judged_on_its_own_hosts() -> None:
    assert hosts("masters", CLUSTER) == ("m",)
    assert hosts("etcd", CLUSTER) == ("e",)
    assert hosts("kubelets", CLUSTER) == hosts("proxies", CLUSTER) == ("m", "w")
    assert hosts("proxies", replace(CLUSTER, register_masters=False)) == ("w",)


def test_a_good_cluster_passes_all_but_manual_controls_and_health_paths() -> None:
    results = judge(CLUSTER, dict.fromkeys("mew", GOOD))
    assert sum(result.state == "passed" for result in results) == 65 + 38 - 1
    assert state_of("1.2.1", results) == "by choice"
    assert state_of("5.3.1", results) == "by hand"


def test_one_bad_host_fails_a_control_and_is_named() -> None:
    results = judge(CLUSTER, {"m": GOOD, "e": GOOD, "w": with_configuration("kubelet", readOnlyPort=10255)})
    [failed] = [result for result in results if result.state == "failed"]
    assert failed.control.id == "4.2.4"
    assert failed.faults == {"w": "kubelet readOnlyPort must be 0 or unset (10255)"}


def test_hosts_that_were_not_seen_pass_no_control() -> None:
    results = judge(CLUSTER, {"w": GOOD})
    assert state_of("1.2.2", results) == state_of("2.1", results) == state_of("5.1.2", results) == "not seen"
    assert state_of("4.2.1", results) == "passed"


# The script


@contextmanager
def process(name: str, *arguments: str) -> Iterator[int]:
    """Yield the ID of a shell process that pretends to be `name`."""
    command = [name, "-c", "sleep 60; true", *arguments]
    with subprocess.Popen(command, executable="/bin/sh", start_new_session=True) as running:
        try:
            yield running.pid
        finally:
            os.killpg(running.pid, signal.SIGKILL)


def collected(commands: Path, **units: int) -> Evidence:
    """Return what COLLECT finds on this computer with these units' main processes, and without containers."""
    known = "\n".join(f"*{unit}.service) echo {number} ;;" for unit, number in units.items())
    systemctl = commands / "systemctl"
    systemctl.write_text(f'#!/bin/sh\ncase "$*" in\n{known}\n*MainPID*) echo 0 ;;\nesac\n')
    systemctl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", COLLECT], capture_output=True, text=True, check=False, env=environment)
    return Evidence.read(done.stdout.splitlines())


def test_a_process_that_pretends_to_be_etcd_does_not_hide_the_real_one(tmp_path: Path) -> None:
    with (
        process("etcd", "--client-cert-auth=false") as real,
        process("etcd", "--client-cert-auth=true"),
        process("/usr/bin/etcd", "--client-cert-auth=true"),
    ):
        seen = collected(tmp_path, etcd=real)
    assert seen.argument("etcd", "client-cert-auth") == "false"


def test_files_that_the_process_of_a_pod_names_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("a: secret")
    with process("kubelet", f"--config={secret}", f"--kubeconfig={secret}"):
        seen = collected(tmp_path)
    assert not seen.configurations
    assert str(secret) not in seen.files


def test_the_script_runs_on_any_host() -> None:
    done = subprocess.run(["sh", "-c", COLLECT], capture_output=True, text=True, check=False)
    assert Evidence.read(done.stdout.splitlines()).kubelet_unit in ("", "/etc/systemd/system/kubelet.service")
    assert "yntax" not in done.stderr
