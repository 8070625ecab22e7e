"""The dashboard kube-web-view, in a browser through `kubectl proxy`."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from kubekeel.needs import registered
from tests.lab_cluster import STATE, wait_until

ACCOUNT = "system:serviceaccount:kube-system:dashboard"
CHROMIUM = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1440,700",
)

# Other distributions may not package Chromium.
IS_DEBIAN = platform.freedesktop_os_release().get("ID") == "debian"
in_a_browser = pytest.mark.skipif(not IS_DEBIAN and not shutil.which("chromedriver"), reason="no Chromium here")


@pytest.fixture(scope="module", autouse=True)
def kube_web_view(kubectl) -> None:
    """Skip these specs if the cluster has another dashboard, or none."""
    deployments = json.loads(kubectl("-n", "kube-system", "get", "deployments", "-o", "json"))["items"]
    containers = [
        deployment["spec"]["template"]["spec"]["containers"][0]["name"]
        for deployment in deployments
        if deployment["metadata"]["name"] == "dashboard"
    ]
    if containers != ["kube-web-view"]:
        pytest.skip(f"the cluster's dashboard is {containers or None}")


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """Yield the dashboard's URL at a `kubectl proxy` that runs for this module."""
    proxy = subprocess.Popen(
        ["kubectl", "proxy", "--port=0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": str(STATE / "admin.conf")},
    )  # fmt: skip
    assert proxy.stdout is not None
    address = re.search(r"127\.0\.0\.1:\d+", proxy.stdout.readline())[0]
    yield f"http://{address}/api/v1/namespaces/kube-system/services/dashboard:http/proxy/"
    proxy.terminate()
    proxy.wait()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (*CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    chrome = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield chrome
    chrome.quit()


def follow(browser: webdriver.Chrome, link: str) -> None:
    """Click the link with this text, and wait until its page is complete."""
    before = browser.find_element(By.TAG_NAME, "html").id
    browser.find_element(By.LINK_TEXT, link).click()
    wait_until(lambda: browser.find_element(By.TAG_NAME, "html").id != before, 60, f"the page behind {link!r}")
    wait_until(lambda: browser.execute_script("return document.readyState") == "complete", 60, "the whole page")


@in_a_browser
def test_the_pages_of_all_nodes_are_reached_by_links(browser, dashboard, cluster, tmp_path) -> None:
    names = [node.name for node in cluster.nodes if registered(node, cluster)]
    browser.get(dashboard)
    follow(browser, "Nodes")
    follow(browser, "Show CPU/Memory Usage")
    shown = {link.text for link in browser.find_elements(By.CSS_SELECTOR, "main td a")}
    assert shown >= set(names)
    pictures = Path(os.environ.get("KUBEKEEL_SCREENSHOTS", tmp_path))
    assert browser.save_screenshot(str(pictures / "dashboard.png"))
    for name in names:
        follow(browser, name)
        assert name in browser.find_element(By.TAG_NAME, "h1").text
        assert browser.current_url.startswith(dashboard)
        follow(browser, "Nodes")


LOADED = """
return performance.getEntriesByType("resource").map(entry => [entry.name, entry.responseStatus])
"""


@in_a_browser
def test_all_resources_of_a_page_come_from_the_cluster(browser, dashboard) -> None:
    browser.get(dashboard)
    loaded = dict(browser.execute_script(LOADED))
    assert {Path(name.partition("?")[0]).suffix for name in loaded} >= {".css", ".js"}
    assert {name: status for name, status in loaded.items() if not name.startswith(dashboard) or status != 200} == {}


def test_the_dashboard_shows_no_secrets(dashboard) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{dashboard}clusters/local/namespaces/kube-system/secrets", timeout=60)


def test_the_dashboards_account_can_read_what_its_pages_show(kubectl) -> None:
    for resource in ("nodes", "pods", "services", "deployments.apps", "nodes.metrics.k8s.io", "storageclasses"):
        assert kubectl("auth", "can-i", "list", resource, "--all-namespaces", f"--as={ACCOUNT}").strip() == "yes"


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        *((verb, "secrets") for verb in ("get", "list", "watch")),
        *((verb, "pods") for verb in ("create", "update", "patch", "delete", "deletecollection")),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("delete", "nodes"),
        ("patch", "deployments.apps"),
        ("create", "clusterrolebindings"),
        ("impersonate", "users"),
    ],
)
def test_the_dashboards_account_reads_no_secrets_and_changes_nothing(kubectl, verb, resource) -> None:
    with pytest.raises(AssertionError, match=": no\n"):
        kubectl("auth", "can-i", verb, resource, "--all-namespaces", f"--as={ACCOUNT}")


CONFINED = """
import os
print(os.getuid(), os.getgid())
print(*(line.split()[1] for line in open("/proc/1/status") if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))))
try:
    open("/tmp/new", "w")
except OSError as error:
    print(error.strerror)
"""


def test_the_dashboard_runs_without_privileges_and_cannot_write_files(kubectl) -> None:
    output = kubectl("-n", "kube-system", "exec", "deployment/dashboard", "--", "python3", "-c", CONFINED)
    assert output.splitlines() == ["65532 65532", f"{'0' * 16} {'0' * 16} 1", "Read-only file system"]
