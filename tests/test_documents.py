"""What the documents say is there: every command exists and parses, links lead somewhere, tables are those measured."""

import re
import runpy
import shlex
import subprocess

import pytest

from benchmarks import render
from conftest import ROOT, SCRIPTS
from src import cli

LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True).stdout.split()
DOCUMENTS = {path: (ROOT / path).read_text(encoding="utf-8") for path in LISTED or ("README.md", "instruction.md")}
TEXT = "\n".join(DOCUMENTS.values()).replace("\\\n", " ")
CODE = re.findall(r"^```\w*\n(.*?)^```|`([^`\n]+)`", TEXT, re.S | re.M)
LINES = [line.partition("  #")[0].strip() for block, span in CODE for line in (block or span).splitlines()]
COMMANDS = sorted({line.removeprefix("torchrun --nproc_per_node 8 ").removeprefix("python ") for line in LINES
                   if re.match(r"(python|torchrun .*) [\w/-]+\.py", line)})  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_and_parses(command):
    path, *flags = shlex.split(command)
    script = runpy.run_path(str(ROOT / path), run_name="a test")
    if "cli" in script:
        cli.override(script, flags)
    else:
        assert not flags


def test_every_script_is_named():
    assert set(SCRIPTS) <= {command.split()[0] for command in COMMANDS}
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"(?:`|^)make (\w+)", TEXT, re.M)) <= set(targets)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_to_files_and_headings(path):
    for target in re.findall(r"\]\(([^)#]*(?:#[^)]*)?)\)", DOCUMENTS[path]):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            file = ((ROOT / path).parent / file) if file else ROOT / path
            assert file.exists(), target
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.M) if heading else []
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert not heading or heading in anchors, target


@pytest.mark.parametrize("path", DOCUMENTS)
def test_lines_are_short(path):
    for line in DOCUMENTS[path].splitlines():
        assert len(line) <= 160 or line.startswith("|"), f"{path}: {line[:60]}"


def test_the_first_pages_are_short():
    assert len(DOCUMENTS["README.md"].splitlines()) <= 120 and len(DOCUMENTS["instruction.md"].splitlines()) <= 200


@pytest.mark.parametrize("path", DOCUMENTS)
def test_tables_are_those_of_the_results(path):
    assert render.render(DOCUMENTS[path]) == DOCUMENTS[path], "run: python benchmarks/render.py"
