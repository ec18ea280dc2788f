# make demo: the drawn sample through every stage.  make test: the tests.  make reproduce: the full experiment (a GPU).
PYTHON ?= python3
SEED ?= 0
DEMO = reproduce.py --runs-root runs/demo --data-root data/sample --backbone mobilenet_v2 \
	--weights data/drawings-mobilenet_v2.pt --image-size 160 --short --test-only --jobs 2 --seed $(SEED)

demo: .venv/installed
	.venv/bin/python $(DEMO)

picture: .venv/installed
	.venv/bin/python $(DEMO) --rows 4 --sheet benchmarks/results/sheet.jpg

reproduce: .venv/installed
	.venv/bin/python reproduce.py --seed $(SEED)

test: .venv/installed-test
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist loadfile

lint: .venv/installed-test
	.venv/bin/ruff check . && .venv/bin/ruff format --check .

audit: .venv/installed
	.venv/bin/pip install -q pip-audit && .venv/bin/pip-audit --local --skip-editable

.venv/installed: requirements.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

.venv/installed-test: requirements-test.txt .venv/installed
	.venv/bin/pip install -q -r requirements-test.txt
	touch $@

.PHONY: demo picture reproduce test lint audit
