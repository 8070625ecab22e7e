"""The recipes of docs/recipes/: their files work in the folder `manifests`, and their pages link all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubekeel.files import File
from kubekeel.manifests import read
from kubekeel.settings.registries import registries
from tests.registry import shown_command, shown_settings

RECIPES = Path(__file__).resolve().parents[2] / "docs/recipes"
FOLDERS = sorted(path for path in RECIPES.iterdir() if path.is_dir())
PAGES = sorted(RECIPES.glob("*.md"))

_IMAGE = re.compile(r"[a-z0-9.-]+\.[a-z]+/[a-z0-9/_-]+:v?\d[\w.-]*")


def name(path: Path) -> str:
    return path.name


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def documents(folder: Path) -> Iterator[Any]:
    for path in files(folder):
        yield from filter(None, yaml.safe_load_all(path.read_text()))


def images(value: Any) -> Iterator[str]:
    """Yield every value of a key `image` in a document."""
    if isinstance(value, dict):
        yield from (each for key, each in value.items() if key == "image")
        for each in value.values():
            yield from images(each)
    elif isinstance(value, list):
        for each in value:
            yield from images(each)


def test_every_recipe_has_a_page_that_the_index_links() -> None:
    assert [page.stem for page in PAGES] == [folder.name for folder in FOLDERS]
    index = (RECIPES.parent / "recipes.md").read_text()
    assert [page.name for page in PAGES if f"(recipes/{page.name})" not in index] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_the_files_of_a_recipe_are_accepted_unchanged(folder: Path) -> None:
    tree = read(folder) or {}
    assert any(isinstance(entry, File) for entry in tree.values())


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_the_page_of_a_recipe_links_each_file(folder: Path) -> None:
    page = (RECIPES / f"{folder.name}.md").read_text()
    linked = set(re.findall(r"\]\(([^)#]+)\)", page))
    assert [str(file) for file in files(folder) if str(file.relative_to(RECIPES)) not in linked] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_the_page_of_a_recipe_names_the_spec_that_proves_it(folder: Path) -> None:
    specs = "".join(file.read_text() for file in RECIPES.parents[1].glob("tests/c*/test_recipes.py"))
    (spec,) = re.findall(r"Proved by `(\w+)`", (RECIPES / f"{folder.name}.md").read_text())
    assert f"def {spec}(" in specs


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_images_have_a_registry_and_a_version(folder: Path) -> None:
    found = [image for document in documents(folder) for image in images(document)]
    assert [image for image in found if not _IMAGE.fullmatch(image)] == []
    replaced = [each for document in documents(folder) for each in document.get("images", ())]
    assert [each for each in replaced if not _IMAGE.fullmatch(f"{each['name']}:{each.get('newTag')}")] == []


def test_pods_of_recipes_set_resources_and_have_no_rights() -> None:
    deployments = [each for folder in FOLDERS for each in documents(folder) if each.get("kind") == "Deployment"]
    assert len(deployments) == 2
    for deployment in deployments:
        spec = deployment["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        for container in spec["containers"]:
            assert {"requests", "limits"} <= container["resources"].keys()
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "readinessProbe" in container


def test_the_files_of_all_recipes_fit_into_one_folder_in_order() -> None:
    entries = [path.name for folder in FOLDERS for path in folder.iterdir()]
    assert len(set(entries)) == len(entries)
    order = ["10-storage.yaml", "20-metallb", "25-addresses.yaml", "30-registry", "40-monitoring", "50-team.yaml"]
    assert sorted(entries) == order


def test_the_page_of_the_registry_shows_valid_settings_and_a_fitting_certificate() -> None:
    page = RECIPES / "registry.md"
    (service,) = (each for each in documents(RECIPES / "registry") if each.get("kind") == "Service")
    address = service["spec"]["clusterIP"]
    taken = registries(shown_settings(page))
    assert taken["registry.internal"].mirrors == (f"https://{address}:5000",)
    assert f"IP:{address}," in shown_command(page)
    assert taken[f"{address}:5000"].ca in shown_command(page)
