"""The house: dependencies run one way, names do not hide modules, files stay short."""

import ast

import pytest

from conftest import ROOT

# From the bottom up: a file imports only what stands before it.
ORDER = (
    "src", "src.metrics", "src.maps", "src.files", "src.locks", "src.manifest", "src.checkpoints", "src.distributed",
    "src.compute", "src.runner", "src.cli", "src.provenance", "src.agreement", "src.records",
    "src.runs", "src.drawings", "src.data",
    "src.models", "src.postprocessing", "src.report", "src.scoring", "src.training", "src.methods", "src.expected_time",
    "src.export", "src.prediction", "src.predicted", "src.portable", "experiments", "scripts", "reproduce",
    "benchmarks",
)  # fmt: skip
FILES = sorted(p.relative_to(ROOT).as_posix() for folder in ("src", "train_*", "benchmarks")
               for p in ROOT.glob(f"{folder}/**/*.py")) + ["experiments.py", "reproduce.py"]  # fmt: skip


def room(module):
    """The entry of ORDER that a module belongs to; None for other packages."""
    found = [name for name in ORDER if module == name or (module.startswith(name + ".") and name != "src")]
    return found[-1] if found else None


def imports(path):
    """Modules of this project that a file imports, in full."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            there = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
                      or (ROOT / name.replace(".", "/")).is_dir() else node.module for name in there}  # fmt: skip
    return {name for name in found if room(name)}


@pytest.mark.parametrize("path", FILES)
def test_dependencies_run_one_way(path):
    here = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    here = room(here) or "scripts"
    for module in imports(path):
        assert ORDER.index(room(module)) <= ORDER.index(here), f"{path} imports {module}"


def test_no_cycle_within_a_folder():
    files = {path.removesuffix(".py").replace("/", "."): path for path in FILES if path.startswith("src/")}
    reads = {module: imports(path) & files.keys() for module, path in files.items()}
    while leaves := [module for module, needs in reads.items() if not needs & reads.keys()]:
        for module in leaves:
            del reads[module]
    assert not reads, f"a cycle among {sorted(reads)}"


def test_src_knows_no_script_and_no_table():
    for path in FILES:
        if path.startswith("src/"):
            text = (ROOT / path).read_text()
            strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
            code = [s for s in strings if isinstance(s, str) and "\n" not in s]
            assert not [s for s in code if s.startswith("train_") or "Table" in s], path


@pytest.mark.parametrize("path", FILES)
def test_names_do_not_hide_modules_and_files_are_short(path):
    text = (ROOT / path).read_text()
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assert node.id not in modules, f"{path}, line {node.lineno}: {node.id}"
        elif isinstance(node, ast.arg):
            assert node.arg not in modules, f"{path}, line {node.lineno}: {node.arg}"
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert node.name not in modules, f"{path}, line {node.lineno}: {node.name}"
