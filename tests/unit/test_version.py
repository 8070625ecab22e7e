"""The version of Kubekeel: the same everywhere, and on hosts and in outputs, so that users can name it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace

from kubekeel.identity import VERSION
from kubekeel.render import PROJECT
from tests.example import files
from tests.status_example import node, status


def test_the_changelog_has_a_dated_section_for_the_version() -> None:
    sections = re.findall(r"^## \[(.+)\](.*)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    version, date = sections[1]
    assert version == VERSION
    assert re.fullmatch(r" - \d{4}-\d\d-\d\d", date)


def test_the_lock_file_and_the_readme_name_the_version() -> None:
    packages = tomllib.loads((PROJECT / "uv.lock").read_text())["package"]
    assert [each["version"] for each in packages if each["name"] == "kubekeel"] == [VERSION]
    assert f"version {VERSION}" in (PROJECT / "README.md").read_text()


def test_every_host_records_the_version_that_deployed_it() -> None:
    records = {path: text for path, text in files().items() if path.endswith("/etc/kubekeel/cluster.json")}
    assert len(records) == 5
    assert {json.loads(text)["kubekeel"] for text in records.values()} == {VERSION}


def test_status_as_json_has_the_version_of_this_clone_and_of_each_host() -> None:
    seen = json.loads(
        replace(status(node("m", 1, "masters", kubekeel_version="0.0.9")), kubekeel_version=VERSION).as_json()
    )
    assert (seen["kubekeel_version"], seen["nodes"][0]["kubekeel_version"]) == (VERSION, "0.0.9")
