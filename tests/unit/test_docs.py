"""README.md, docs/ and the contributor's pages name only what exists."""

from __future__ import annotations

import ast
import re
import runpy
from dataclasses import fields, is_dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from kubekeel.artifacts.__main__ import main as bundle
from kubekeel.cluster import HOST_KEYS, SETTINGS, Cluster, load
from kubekeel.pki import ROOTS, profiles
from kubekeel.preflight import DISKS, Hindrance
from kubekeel.preflight.between import Measured, Way, tried
from kubekeel.preflight.between import table as measured
from kubekeel.preflight.network import reached
from kubekeel.preflight.system import resource_faults
from kubekeel.release import GO_MINIMUM, KUBERNETES_VERSIONS, MINORS, PulledImage, release
from kubekeel.settings import Refused, defaults
from kubekeel.settings.groups import Dns
from kubekeel.settings.registries import Archives, Registry
from kubekeel.status import SNAPSHOT_PERIOD, UNITS
from kubekeel.upgrade import plan
from run.choices import ACTIONS, ALL
from tests.hosts import cluster, fit
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
# The lab's machines, which are those of the sample inventory.
LAB = {"master": "192.168.1.165", "minion1": "192.168.1.166", "minion2": "192.168.1.167"}


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


def cells_of(text: str) -> list[list[str]]:
    """Return the cells of a text's tables, row by row, without their headings."""
    lines = [*text.splitlines(), ""]
    rows = [line for line, below in pairwise(lines) if line.startswith("| ") and not below.startswith("|-")]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows]


def first_table(page: str, after: str) -> list[list[str]]:
    """Return the cells of the first table after a text of a page."""
    found = re.search(r"(^\|.*\n)+", (PROJECT / page).read_text().partition(after)[2], re.MULTILINE)
    assert found
    return cells_of(found[0])


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


Template = tuple[str | None, ...]
"""A text of the code; None stands for a value in it."""


@cache
def templates() -> set[Template]:
    """Return all texts of the code that may be messages."""
    code = [file for folder in ("kubekeel", "run", "operations") for file in (PROJECT / folder).rglob("*.py")]
    nodes = [node for file in code for node in ast.walk(ast.parse(file.read_text()))]
    formatted = {tuple(map(constant, node.values)) for node in nodes if isinstance(node, ast.JoinedStr)}
    scripts = {(line,) for file in (PROJECT / "files").rglob("*.sh") for line in file.read_text().splitlines()}
    return formatted | scripts | {(text,) for node in nodes if (text := constant(node))}


def constant(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def matched(message: str, template: Template) -> int:
    """Return how many characters of a message a template's own text has; -1 if the message does not begin like it."""
    if not (message and template):
        return -1 if message else 0
    head, *rest = template
    if head is None:
        return max(matched(message[length:], tuple(rest)) for length in range(1, len(message) + 1))
    if not message.startswith(head):
        return len(message) if head.startswith(message) else -1
    after = matched(message[len(head) :], tuple(rest))
    return after if after < 0 else after + len(head)


def is_said(message: str) -> bool:
    """Whether the code has the message, or a longer one; its values may be others."""
    if any(message in (text or "") for template in templates() for text in template):
        return True
    parts = (template[first:] for template in templates() for first in range(len(template)))
    return any(2 * matched(message, part) > len(message) for part in parts)


@pytest.mark.parametrize(
    ("page", "beginning", "column"),
    [
        ("docs/preflight.md", "## What a run checks", 1),
        ("docs/preflight.md", "Some findings are only warnings", 0),
        ("docs/preflight.md", "## Which cluster a host belongs to", 0),
        ("docs/troubleshooting.md", "## A run ends early", 0),
        ("docs/operations/nodes.md", "## etcd's members", 0),
    ],
)
def test_the_messages_that_a_page_explains_are_those_of_the_code(page: str, beginning: str, column: int) -> None:
    messages = [each for row in first_table(page, beginning) for each in re.findall(r"`([^`]+)`", row[column])]
    # Some begin with a host's name, and end with an example's value. The last one is pyinfra's.
    said = {re.sub(r"^(\w+: |\.\.\. )| \(.*", "", each).partition("...")[0].strip() for each in messages}
    assert sorted(each for each in said - {"Over 0% of hosts failed"} if not is_said(each)) == []


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


def test_the_page_of_artifacts_names_the_catalogues_versions_and_binaries() -> None:
    table_of_components = first_table("docs/artifacts.md", "## Components and versions")
    rows = {first.lower().replace(" ", "-"): cells for first, *cells in table_of_components}
    newest = release(KUBERNETES_VERSIONS[0])
    shown = {component.name: rows[component.name] for component in newest.components}
    for component in newest.components:
        version, binaries = shown[component.name]
        assert component.version in version or component.name == "kubernetes", component.name
        # No host gets kubeadm: the benchmark needs it.
        named = {binary.name for binary in component.binaries} - {"kubeadm"}
        assert "image" in binaries or named == {word.split()[0] for word in binaries.split(", ")[: len(named)]}
    for image in newest.images:
        if isinstance(image, PulledImage):
            assert image.upstream.rpartition(":")[2] in rows["the-dashboard"][0], image.name


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
    specs = [file for folder in ("chaos", "vm") for file in (PROJECT / "tests" / folder).glob("test_*.py")]
    texts = {f"{file.parent.name}/{file.stem}": file.read_text() for file in specs}
    chaos = sorted(name for name in texts if name.startswith("chaos/"))
    assert [name for name in chaos if not any(re.search(rf"{name}\b", proof) for proof in proofs)] == []
    named = [each for proof in proofs for each in re.findall(r"((?:chaos|vm)/test_\w+): `(\w+)`", proof)]
    assert [(name, test) for name, test in named if f"def {test}(" not in texts.get(name, "")] == []


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


def remedy(parse) -> str:
    """Return what the refusal of a setting's value advises."""
    try:
        parse(...)
    except Refused as refusal:
        return refusal.faults[0].remedy
    return ""


def test_the_rows_of_settings_have_their_values_and_limits() -> None:
    rows, missing = table("docs/settings.md"), []
    for field in (each for each in fields(Cluster) if "parse" in each.metadata):
        setting, advice = field.metadata["name"] or field.name, remedy(field.metadata["parse"])
        values = re.findall(r"('[^']+'|None)(?=,|$)", advice) if advice.startswith("take one of ") else []
        values += re.findall(r"whole number from (\d+ to \d+)", advice)
        row = " ".join(rows.get(setting, []))
        missing += [(setting, value) for value in values if value.replace("'", '"') not in row]
    assert missing == []


def test_the_page_of_upgrades_has_the_defaults_of_its_settings() -> None:
    rows, all_rows = table("docs/operations/upgrade.md"), table("docs/settings.md")
    settings = rows.keys() & set(SETTINGS)
    assert len(settings) == 3
    assert {name: rows[name][0] for name in settings} == {name: all_rows[name][0] for name in settings}


@pytest.mark.parametrize("action", [action for action, each in ACTIONS.items() if each.data])
def test_the_pages_show_every_argument_of_an_action(action: str) -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    shown = set(re.findall(r"--data (\w+)=", text)) | table("docs/operations/upgrade.md").keys()
    assert sorted(ACTIONS[action].data - shown) == []


def test_the_table_of_environment_variables_has_all_that_users_may_set() -> None:
    code = [file.read_text() for folder in ("kubekeel", "run", "lab") for file in (PROJECT / folder).rglob("*.py")]
    # A run sets the first one, the lab the second one.
    used = set(re.findall(r'"(KUBEKEEL_[A-Z_]+)"', "\n".join(code))) - {"KUBEKEEL_FOLDER", "KUBEKEEL_OUTSIDE"}
    assert used == {name for name in table("docs/settings.md") if name.startswith("KUBEKEEL_")}


def test_the_pages_name_every_port_between_hosts() -> None:
    said = [first for first, *_ in first_table("docs/how-it-works.md", "Firewalls between your hosts")]
    made = cluster(metrics=True)
    used = {str(port) for node in made.nodes for _, port, _ in reached(node, made)}
    assert set(re.findall(r"\d{4,5}", " ".join(said))) == used
    metrics = [where for _, where, *_ in first_table("docs/operations/metrics.md", "Each component")]
    assert set(re.findall(r"\d{4,5}", " ".join(metrics))) == used - {"2379", "2380", "8472"}


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        ("docs/how-it-works.md", "| `/etc/systemd/system/*.service`", "|\n"),
        ("docs/troubleshooting.md", "The units are", "The control plane"),
    ],
)
def test_the_pages_list_every_unit(page: str, before: str, after: str) -> None:
    part = (PROJECT / page).read_text().partition(before)[2].partition(after)[0]
    words = set(re.findall(r"[a-z-]+", re.sub(r"\]\([^)]*\)", "", part)))
    assert [unit for unit in UNITS if unit not in words] == []


def test_the_tour_names_files_that_hosts_have() -> None:
    text = (PROJECT / "docs/tour.md").read_text()
    parts = re.findall(r"\*\*Files\.\*\*(.*?)\n\n", text, re.DOTALL)
    named = set(re.findall(r"`(/[^`]+)`", " ".join(parts)))
    there = {line.split()[0] for line in (PROJECT / "tests/rendered/all/FILES").read_text().splitlines()}
    there |= {str(path) for file in there for path in Path(file).parents}
    # These appear while flanneld and pods run.
    made = {"/run/flannel/subnet.env", "/var/lib/flannel/subnet.env", "/etc/cni/net.d/10-flannel.conflist"}
    assert len(named) > 15
    assert sorted(named - there - made - {"/etc/resolv.conf"}) == []


def test_the_page_of_security_lists_every_key_that_can_be_rotated() -> None:
    rows = first_table("docs/security.md", "## Rotating keys")
    assert [first.strip("`") for first, *_ in rows] == [*ROOTS, ALL]


def test_the_page_of_artifacts_lists_every_option_of_a_bundle(capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["python3 -m kubekeel.artifacts", "bundle", "--help"])
    with pytest.raises(SystemExit, match="0"):
        bundle()
    options = set(re.findall(r"^ +(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    assert {row.split()[0] for row in table("docs/artifacts.md") if row.startswith("--")} == options


@pytest.mark.parametrize(("page", "folder"), [("README.md", "docs"), ("docs/operations.md", "docs/operations")])
def test_a_page_links_every_page_below_it(page: str, folder: str) -> None:
    there, text = (PROJECT / page).parent, (PROJECT / page).read_text()
    links = {(there / link.partition("#")[0]).resolve() for link in _LINK.findall(text)}
    assert {each for each in (PROJECT / folder).glob("*.md") if each not in links} == set()


def sample(page: str, beginning: str) -> list[str]:
    """Return the lines of the code block of a page that begins with this text."""
    (block,) = (block for block in _BLOCK.findall((PROJECT / page).read_text()) if block.startswith(beginning))
    return block.splitlines()


@pytest.mark.parametrize("page", ["docs/operations/upgrade.md", "docs/tour.md"])
def test_the_sample_of_a_plan_is_what_a_run_prints(page: str) -> None:
    before = {"kubelet": "v1.36.3", "containerd": "v2.4.2"}
    master = {**before, **dict.fromkeys(("kube-apiserver", "kube-controller-manager", "kube-scheduler"), "v1.36.3")}
    runs = {"master": master, "minion1": before, "minion2": before}
    assert sample(page, "upgrade of") == plan(lab(), {name: {**seen, "etcd": "v3.7.3"} for name, seen in runs.items()})


def test_the_sample_of_a_check_is_what_it_prints() -> None:
    ports = {node.name: dict.fromkeys(tried(node, lab()), "reached") for node in lab().nodes}
    there = Way(1500, 0.4, 1500, ports["minion1"])
    back = Way(1500, 0.4, 1400, {**ports["master"], 10250: "lost"})
    measures = {"master": Measured({"minion1": there}, [2.1]), "minion1": Measured({"master": back})}
    assert sample("docs/preflight.md", "FROM") == measured(measures)


def lab() -> Cluster:
    """Return the cluster of the sample inventory."""
    groups = {"etcd": [*LAB], "masters": ["master"], "minions": ["minion1", "minion2"]}
    settings = {key: value for key, value in SETTINGS_FILE.items() if key in SETTINGS}
    return load(groups, {name: {"address": address} for name, address in LAB.items()}, settings)


def test_the_pages_name_the_memory_and_the_disk_that_hosts_need() -> None:
    page, readme = ((PROJECT / name).read_text() for name in ("docs/preflight.md", "README.md"))
    weak = replace(fit("m"), machine=replace(fit("m").machine, memory=1), disks=dict.fromkeys(DISKS, 1))
    needs = [problem for node in cluster().nodes[:2] for problem, *_ in resource_faults(node, weak, {})]
    assert [need for need in needs if not {*re.findall(r"\d+ MiB", need)} <= {*re.findall(r"\d+ MiB", page)}] == []
    memory = [int(size) / 1000 for size in re.findall(r"(\d+) MiB of memory", " ".join(needs))]
    assert "{} GB of memory for a master, {} GB for any other host".format(*memory) in readme


_MINORS = f"{', '.join(MINORS[:-1])} and {MINORS[-1]}"
FIGURES = (
    ("README.md", f"minor versions of Kubernetes, {_MINORS}"),
    ("docs/settings.md", f"any patch release of {_MINORS}"),
    ("docs/artifacts.md", f"any patch release of {_MINORS}"),
    ("docs/artifacts.md", f"Go {GO_MINIMUM} or newer"),
    ("docs/operations/status.md", f"no snapshot of the last {2 * SNAPSHOT_PERIOD // 3600} hours"),
)


@pytest.mark.parametrize(("page", "figure"), FIGURES)
def test_a_page_has_the_figure_of_the_code(page: str, figure: str) -> None:
    assert figure in " ".join((PROJECT / page).read_text().split())


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
