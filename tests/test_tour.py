"""tour.ipynb: its cells are short, its pictures small, and it runs."""

import re

import pytest

from conftest import ROOT

TOUR = ROOT / "tour.ipynb"


@pytest.fixture
def tour():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (requirements-test.txt)")
    return nbformat.read(TOUR, as_version=4)


def test_cells_are_short_and_a_sentence_stands_before_each(tour):
    kinds = [cell.cell_type for cell in tour.cells]
    assert kinds[0] == "markdown" and kinds.count("code") > 10 and "code code" not in " ".join(kinds)
    for cell in tour.cells:
        assert len([line for line in cell.source.splitlines() if line]) <= 12, cell.source
    assert TOUR.stat().st_size < 400_000


def test_it_runs_and_each_step_is_better_than_the_cam(tour, tmp_path, monkeypatch):
    """In a kernel of its own; its runs go to the temporary folder, and the notebook is not written."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (requirements-test.txt)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (requirements-test.txt)")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = TOUR.read_bytes()
    nbclient.NotebookClient(tour, timeout=1800, resources={"metadata": {"path": str(ROOT)}}).execute()
    printed = "".join(output.get("text", "") for cell in tour.cells for output in cell.get("outputs", []))
    found = {name: int(value) for name, value in re.findall(r"^(\S.*?) +(\d+) %$", printed, re.M)}
    assert list(found) == ["CAM", "CAM+ECS", "CCAM", "dense CRF", "segmenter"]
    assert min(found["CCAM"], found["dense CRF"], found["segmenter"]) > found["CAM"], found
    assert len(list(tmp_path.rglob("summary.json"))) == 4 and TOUR.read_bytes() == before
