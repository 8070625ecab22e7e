"""The folder `manifests` beside the inventory: a run applies, keeps and prunes its objects, and names refused ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab_cluster import KubectlFailed, run_kubectl
from tests.support import deploy, deployed, settled, with_changes

TEAM = "apiVersion: v1\nkind: Namespace\nmetadata: {name: site-team}\n"
COLOURS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours, namespace: site-team}\ndata: {sky: blue}\n"
DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec:
  group: example.org
  names: {kind: Thing, plural: things}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
THING = "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: one, namespace: site-team}\n"
SCALE = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: site-team}
spec: {maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
"""
KUSTOMIZATION = "namespace: site-team\nresources: [more.yaml]\n"
MORE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\ndata: {a: b}\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder beside an inventory of the lab's hosts, and delete its objects afterwards."""
    with_changes(tmp_path)
    folder = tmp_path / "manifests"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
    folder.mkdir()
    deployed(inventory=tmp_path / "inventory.py")
    settled()
    assert not exists("namespace/site-team")


def exists(what: str, *namespace: str) -> bool:
    return bool(run_kubectl(*namespace, "get", what, "--ignore-not-found", "-o", "name").strip())


def colour() -> str:
    found = json.loads(run_kubectl("-n", "site-team", "get", "configmap", "colours", "-o", "json"))
    return str(found["data"]["sky"])


def test_objects_are_applied_in_order_kept_and_pruned_and_others_stay(site: Path, image: str) -> None:
    inventory = site.parent / "inventory.py"
    container = {"name": "web", "image": image, "command": ["python3", "-c", "import time; time.sleep(1e6)"]}
    labels = {"app": "web"}
    web = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "site-team"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    (site / "10-team.yaml").write_text(f"{TEAM}---\n{COLOURS}")
    (site / "20-things.yaml").write_text(f"{DEFINITION}---\n{THING}")
    (site / "30-web.json").write_text(json.dumps(web))
    (site / "40-more").mkdir()
    (site / "40-more/kustomization.yaml").write_text(KUSTOMIZATION)
    (site / "40-more/more.yaml").write_text(MORE)
    deployed(inventory=inventory)
    assert colour() == "blue"
    assert exists("things.example.org/one", "-n", "site-team")
    assert exists("configmap/more", "-n", "site-team")
    ready = run_kubectl("-n", "site-team", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
    assert ready == "1"
    assert deployed(inventory=inventory).changes == []

    run_kubectl("-n", "site-team", "create", "configmap", "mine", "--from-literal=a=b")
    run_kubectl("-n", "site-team", "patch", "configmap", "colours", "-p", '{"data": {"sky": "red", "sea": "green"}}')
    deployed(inventory=inventory)
    assert colour() == "blue"

    missing = deploy()
    assert missing.status == 1
    assert "manifests/ is missing beside the inventory" in missing.output
    assert colour() == "blue"

    (site / "15-scale.yaml").write_text(SCALE.replace("autoscaling/v2", "autoscaling/v1"))
    deployed(inventory=inventory)
    (site / "15-scale.yaml").write_text(SCALE)
    (site / "20-things.yaml").write_text(DEFINITION)
    (site / "30-web.json").unlink()
    deployed(inventory=inventory)
    assert not exists("things.example.org/one", "-n", "site-team")
    assert not exists("deployment/web", "-n", "site-team")
    assert exists("configmap/mine", "-n", "site-team")
    assert exists("hpa/web", "-n", "site-team")
    assert deployed(inventory=inventory).changes == []


def test_a_refused_object_is_named_with_its_file_and_line(site: Path) -> None:
    wrong = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: site-team}\nspec: {ports: []}\n"
    (site / "10-team.yaml").write_text(f"{TEAM}---\n{wrong}")
    run = deploy(inventory=site.parent / "inventory.py")
    assert run.status == 1
    assert "manifests/10-team.yaml, line 5: is refused (" in run.output
    assert "spec.ports" in run.output
    with pytest.raises(KubectlFailed, match="NotFound"):
        run_kubectl("-n", "site-team", "get", "service", "web")
    # The refused run had applied the namespace; without its manifest, the next run deletes it.
    (site / "10-team.yaml").unlink()
    deployed(inventory=site.parent / "inventory.py")
    assert not exists("namespace/site-team")


def test_an_object_of_kubekeel_is_not_overwritten(site: Path) -> None:
    before = run_kubectl("-n", "kube-system", "get", "configmap", "coredns", "-o", "yaml")
    own = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: coredns, namespace: kube-system}\ndata: {Corefile: mine}\n"
    (site / "10-dns.yaml").write_text(own)
    run = deploy(inventory=site.parent / "inventory.py")
    assert run.status == 1
    assert "manifests/10-dns.yaml, line 1: is an object of Kubekeel's own" in run.output
    assert run_kubectl("-n", "kube-system", "get", "configmap", "coredns", "-o", "yaml") == before
