"""README.md, docs/ and the contributor's pages name only what exists."""

from __future__ import annotations

import ast
import re
import runpy
from dataclasses import fields, is_dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from kubekeel.cluster import HOST_KEYS, SETTINGS, Cluster, load
from kubekeel.pki import profiles
from kubekeel.preflight import Hindrance
from kubekeel.release import KUBERNETES_VERSIONS, PulledImage, release
from kubekeel.settings import defaults
from kubekeel.settings.groups import Dns
from kubekeel.settings.registries import Archives, Registry
from run.choices import ACTIONS
from tests.picture import PICTURE

PROJECT = Path(__file__).resolve().parents[2]
with pytest.MonkeyPatch.context() as _patch:
    # Read the file itself, without the lab's environment.
    _patch.delenv("KUBEKEEL_STATE_DIR", raising=False)
    SETTINGS_FILE = runpy.run_path(str(PROJECT / "group_data/all.py"))
CONTRIBUTORS = [PROJECT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "RELEASE.md")]
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *CONTRIBUTORS, *sorted((PROJECT / "docs").rglob("*.md"))]

_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_BLOCK = re.compile(r"^ *```.*\n(?P<text>(?:.*\n)*?) *```$", re.MULTILINE)
# A path within the project, not a user's own like ~/home/inventory.py.
_PYTHON_FILE = re.compile(r"(?<![\w/~.$-])[\w-]+(?:/[\w-]+)*\.py\b")
_MODULE = re.compile(r"python3? -m (?P<module>(?:lab|bench|kubekeel|run|tests)[\w.]*)")
# A path of the project in `code`, up to its arguments.
_PATH = re.compile(
    r"`(?P<path>(?:\.ci|actions|bench|docs|files|kubekeel|lab|operations|run|tasks|templates|tests)/[^`\s]+)"
)
_PLACEHOLDER = re.compile(r"[A-Z]{3,}")


def name(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def anchors(page: Path) -> set[str]:
    """Return the URL fragments of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: str) -> dict[str, list[str]]:
    """Return the rows of a page's tables by the `code` in their first cell."""
    rows = re.findall(r"^\| `([^`]+)` +\|(.*)\|$", (PROJECT / page).read_text(), re.MULTILINE)
    return {first: [cell.strip() for cell in rest.split(" | ")] for first, rest in rows}


def findings() -> set[str]:
    """Return the problems that the preflight's code names, without their values."""
    trees = [ast.parse(file.read_text()) for file in (PROJECT / "kubekeel/preflight").glob("*.py")]
    tuples = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Tuple) and len(node.elts) == 3]
    problems = [part for each in tuples for part in ast.walk(each.elts[0]) if isinstance(part, ast.Constant)]
    said = {str(each.value).strip() for each in problems if " " in str(each.value)}
    return said | {hindrance.value[0] for hindrance in Hindrance}


def test_every_finding_of_the_preflight_is_explained() -> None:
    said = findings()
    assert len(said) > 30
    explained = " ".join(re.findall(r"`([^`]*)`", (PROJECT / "docs/preflight.md").read_text()))
    assert {each for each in said if each not in explained} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_project_lead_somewhere(page) -> None:
    broken = []
    for target in _LINK.findall(page.read_text()):
        path, _, fragment = target.partition("#")
        if "://" in target:
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (fragment and fragment not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_the_page_of_artifacts_names_the_catalogues_versions() -> None:
    text = (PROJECT / "docs/artifacts.md").read_text()
    newest = release(KUBERNETES_VERSIONS[0])
    for component in newest.components:
        assert component.version in text, component.name
    for image in newest.images:
        if isinstance(image, PulledImage):
            assert image.upstream.rpartition(":")[2] in text, image.name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_name_files_that_exist(page) -> None:
    text = "\n".join(_BLOCK.findall(page.read_text()))
    modules = [module.replace(".", "/") for module in _MODULE.findall(text)]
    files = [PROJECT / file for file in _PYTHON_FILE.findall(text)]
    assert [file for file in files if not file.exists()] == []
    assert [
        each for each in modules if not any((PROJECT / f"{each}{end}").exists() for end in (".py", "/__main__.py"))
    ] == []


@pytest.mark.parametrize("page", CONTRIBUTORS, ids=name)
def test_the_contributors_pages_name_paths_and_modules_that_exist(page) -> None:
    text = page.read_text()
    paths = [path for path in _PATH.findall(text) if not _PLACEHOLDER.search(path)]
    assert [path for path in paths if not (PROJECT / path).exists()] == []
    modules = [module.replace(".", "/") for module in _MODULE.findall(text)]
    assert [
        each for each in modules if not any((PROJECT / f"{each}{end}").exists() for end in (".py", "/__main__.py"))
    ] == []


def test_the_contributors_page_lists_every_folder_of_code() -> None:
    rows = {row.rstrip("/").split("/")[0] for row in table("CONTRIBUTING.md")}
    folders = {file.relative_to(PROJECT).parts[0] for file in PROJECT.glob("*/*.py")} | {
        "files",
        "templates",
        "vagrant",
    }
    assert folders - {"group_data", ".venv"} <= rows


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_that_a_page_names_exists(page) -> None:
    tests = "\n".join(file.read_text() for file in (PROJECT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page.read_text()))
    files = set(re.findall(r"`((?:tests/)?(?:[a-z]+/)?test_[a-z_]+\.py)`", page.read_text()))
    assert sorted(each for each in named if f"def {each}(" not in tests) == []
    assert sorted(each for each in files if not list((PROJECT / "tests").rglob(each.removeprefix("tests/")))) == []


def test_every_spec_of_failures_has_a_row_on_their_page() -> None:
    rows = [line for line in (PROJECT / "docs/operations/survival.md").read_text().splitlines() if line.startswith("|")]
    proofs = [row.rpartition(" | ")[2] for row in rows]
    files = {file.stem: file.read_text() for file in (PROJECT / "tests/chaos").glob("test_*.py")}
    assert [name for name in sorted(files) if not any(re.search(rf"chaos/{name}\b", proof) for proof in proofs)] == []
    named = [each for proof in proofs for each in re.findall(r"chaos/(test_\w+): `(\w+)`", proof)]
    assert [(file, test) for file, test in named if f"def {test}(" not in files.get(file, "")] == []


def test_every_claim_of_the_security_page_has_a_test_or_a_control() -> None:
    page = (PROJECT / "docs/security.md").read_text()
    _, _, part = page.partition("## Who may attack from where")
    part, _, _ = part.partition("### Sandboxing of units")
    headers = ("| What", "| The attacker", "| **")
    rows = [row.split(" | ") for row in part.splitlines() if row.startswith("| ") and not row.startswith(headers)]
    assert len(rows) > 28
    assert [claim for claim, *_, proof in rows if "test_" not in proof and "control" not in proof] == []


def test_every_setting_is_explained_with_its_default() -> None:
    rows = table("docs/settings.md")
    assert set(SETTINGS) <= rows.keys()
    said = {setting: rows[setting][0] for setting in SETTINGS}
    values = {**defaults(Cluster), **SETTINGS_FILE}
    shown = {setting: {} if is_dataclass(value) else value for setting, value in values.items()}
    assert said == {setting: f"`{shown[setting]!r}`".replace("'", '"') for setting in SETTINGS}


@pytest.mark.parametrize("group", [Dns, Registry, Archives], ids=lambda group: group.__name__)
def test_every_key_of_a_group_of_settings_is_explained(group: type) -> None:
    text = (PROJECT / "docs/settings.md").read_text()
    keys = [field.metadata["name"] or field.name for field in fields(group)]
    assert [key for key in keys if f"`{key}`" not in text and f'"{key}"' not in text] == []


def test_every_key_of_a_host_is_explained() -> None:
    assert set(HOST_KEYS) <= table("docs/settings.md").keys()


def test_every_action_is_named_in_the_documentation() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert [name(action) for action in (PROJECT / "actions").glob("*.py") if name(action) not in text] == []


def test_the_pages_list_the_actions_that_only_look() -> None:
    looks = {action for action, each in ACTIONS.items() if each.looks}
    pages = (PROJECT / "docs/preflight.md", PROJECT / "CHANGELOG.md")
    text = " ".join(word for page in pages for word in page.read_text().split())
    lists = re.findall(r"((?:(?:and )?`\w+\.py`,? )+)(?:and )?(?:every run with|runs with|run at any time)", text)
    assert [set(re.findall(r"\w+\.py", each)) for each in lists] == [looks] * 3


def test_the_tour_lists_the_units_of_a_node_with_all_roles() -> None:
    block = (PROJECT / "docs/tour.md").read_text().partition("systemctl list-units")[2].partition("## ")[0]
    command, _, output = block.partition("```output")
    units = {file.name: file.read_text() for file in (PROJECT / "tests/rendered/all/etc/systemd/system").glob("*.*er*")}
    descriptions = {unit: re.findall("^Description=(.*)$", text, re.MULTILINE)[0] for unit, text in units.items()}
    # The timer starts this one.
    del descriptions["etcd-snapshot.service"]
    assert sorted(re.findall(r"[\w-]+\.(?:service|timer)", command)) == sorted(descriptions)
    lines = re.findall(r"^(\S+) +loaded active (?:running|waiting) (.*)$", output, re.MULTILINE)
    assert dict(lines) == descriptions


def test_the_tour_lists_every_certificate() -> None:
    settings = {key: value for key, value in SETTINGS_FILE.items() if key in SETTINGS}
    groups = {role: ["master"] for role in ("etcd", "masters")}
    cluster = load(groups, {"master": {"address": "192.168.1.165"}}, settings)
    usages = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}
    wanted = [
        (
            profile.authority,
            {"master": "the node's name"}.get(profile.common_name, profile.common_name.replace(":master", ":<name>")),
            ", ".join(profile.organizations),
            ", ".join(usages[usage] for usage in profile.usages),
        )
        for profile in profiles(cluster.masters[0], cluster, "kubekeel:cluster-admins")
    ]
    said = [tuple(cell.strip("`") for cell in row[:4]) for row in table("docs/tour.md").values() if len(row) == 6]
    assert sorted(said) == sorted(wanted)


def test_the_picture_of_a_first_run_shows_the_operations_of_today() -> None:
    picture = "".join(ElementTree.parse(PICTURE).getroot().itertext()).replace("\xa0", " ")
    shown = set(re.findall(r"^ +[a-z -]+ \| (\S+(?: \S+)*)  ", picture, re.MULTILINE))
    named = {name for file in PROJECT.glob("tasks/*.py") for name in re.findall(r'name="([^"]+)"', file.read_text())}
    assert len(shown) > 10
    assert shown <= named


@pytest.mark.parametrize("folder", ["tasks", "actions"])
def test_operations_are_named_by_a_verb_and_an_object(folder: str) -> None:
    named = {
        name for file in PROJECT.glob(f"{folder}/*.py") for name in re.findall(r'\bname="([^"]+)"', file.read_text())
    }
    assert len(named) > 10
    assert [name for name in named if " " not in name or re.search(r"\b(it|its|them|what)\b", name)] == []
