# make demo: the drawn sample through every stage.  make test: the tests.  make reproduce: the full experiment (a GPU).
PYTHON ?= python3
SEED ?= 0
DEMO = --data-root data/sample --runs-root runs/demo --backbone resnet18 --weights drawings --image-size 128 --short

demo: .venv/installed
	.venv/bin/python reproduce.py $(DEMO) --seed $(SEED)

reproduce: .venv/installed
	.venv/bin/python reproduce.py --seed $(SEED)

test: .venv/installed-test
	.venv/bin/python -m pytest -q

lint: .venv/installed-test
	.venv/bin/ruff check . && .venv/bin/ruff format --check .

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

.venv/installed-test: requirements-test.txt .venv/installed
	.venv/bin/pip install -q -r requirements-test.txt
	touch $@

.PHONY: demo reproduce test lint
