# make demo: the drawn sample through every stage; FLAGS="--no-amp --runs-root runs/fp32" in fp32.  make test: the tests.  make reproduce: the full experiment (a GPU).
# make test-oldest, test-newest: the tests with each package at the lower bound of requirements*.txt, and at its newest.
# make wheels: whether each Python finds every package ready-made, without a compiler.
PYTHON ?= python3
SEED ?= 0
DEMO = reproduce.py --runs-root runs/demo --data-root data/sample --backbone mobilenet_v2 \
	--weights data/drawings-mobilenet_v2.pt --image-size 160 --short --test-only --jobs 2 --seed $(SEED) $(FLAGS)

COMPILED = .venv/bin/pip install -q -r requirements-compiled.txt || echo "no C++ compiler: tests with pydensecrf2 are skipped"
BOTH_CORES = -q -n 2 --dist loadfile --no-loadscope-reorder

demo: .venv/installed
	.venv/bin/python $(DEMO)

picture: .venv/installed
	.venv/bin/python $(DEMO) --sheet benchmarks/results/sheet.jpg

reproduce: .venv/installed
	.venv/bin/python reproduce.py --seed $(SEED)

test: .venv/installed-test
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest $(BOTH_CORES)

test-oldest:
	$(PYTHON) -m venv --clear .venv-oldest
	sed -n 's/>=/==/p' requirements.txt requirements-optional.txt requirements-test.txt requirements-compiled.txt > .venv-oldest/requirements.txt
	.venv-oldest/bin/pip install -q -r .venv-oldest/requirements.txt
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest $(BOTH_CORES)

test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/pip install -q -r requirements-test.txt -r requirements-compiled.txt
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest $(BOTH_CORES)

wheels: .venv/installed
	for version in 3.10 3.11 3.12 3.13 3.14; do .venv/bin/pip install -q --dry-run --ignore-installed --target .venv/none \
		--only-binary :all: --python-version $$version -r requirements.txt -r requirements-optional.txt || exit 1; done

lint: .venv/installed-test
	.venv/bin/ruff check . && .venv/bin/ruff format --check .

audit: .venv/installed
	.venv/bin/pip install -q pip-audit && .venv/bin/pip-audit --local --skip-editable

.venv/installed: requirements.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

.venv/installed-test: requirements-test.txt requirements-optional.txt requirements-compiled.txt .venv/installed
	.venv/bin/pip install -q -r requirements-test.txt
	$(COMPILED)
	touch $@

.PHONY: demo picture reproduce test test-oldest test-newest wheels lint audit
