# make demo: the drawn sample through every stage.  make test: the tests.  make reproduce: the full experiment (a GPU).
PYTHON ?= python3
SEED ?= 0
DRAWINGS = runs/demo/pretrain_on_drawings/seed$(SEED)
SAMPLE = --runs-root runs/demo --backbone resnet18 --seed $(SEED)

demo: $(DRAWINGS)/summary.json
	.venv/bin/python reproduce.py $(SAMPLE) --data-root data/sample --weights $(DRAWINGS)/checkpoint.pt --image-size 128 --short

$(DRAWINGS)/summary.json: | .venv/installed
	.venv/bin/python train_classifier/pretrain_on_drawings.py $(SAMPLE)

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
