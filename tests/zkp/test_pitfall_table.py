"""The document names a test for each pitfall: each is there."""

import re

from tests.programs import ROOT

ROW = re.compile(r"^\| ([^|]+) \| (`[^|]+`) \|$", re.MULTILINE)


def test_each_pitfall_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "zk.md").read_text("utf-8")
    section = text.split("## Pitfalls, each with its test\n")[1].split("\n## ")[0]
    rows = ROW.findall(section)
    assert len(rows) == section.count("\n| ") - 2, "a row names no test"
    for pitfall, told in rows:
        for place in re.findall(r"`([^`]+)`", told):
            path, _, name = place.partition("::")
            file = ROOT / (path if "/" in path else f"tests/zkp/{path}")
            assert file.is_file(), f"{pitfall}: {path}"
            assert not name or f"\ndef {name}(" in file.read_text("utf-8"), f"{pitfall}: {name}"
