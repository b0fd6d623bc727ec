# `make demo` runs the pipeline on real text, `make test` runs the tests; both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
DEMO := results/demo

.PHONY: help setup demo test test-slow lint docs clean

help:
	@echo "make setup      create .venv with everything for the demo and for development"
	@echo "make demo       create a corpus, index it, search it, score four systems on it (no download)"
	@echo "make test       run the tests"
	@echo "make test-slow  run the tests and the slow ones"
	@echo "make docs       build the pages of docs/ and an API reference, as HTML in results/site; checks all links"
	@echo "make lint       run ruff, mypy and the import contracts of pyproject.toml"

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is required: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "installing into .venv: some 3 GB, about two minutes on a fast connection"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@echo; echo "== 1. Create a corpus: docstrings of the installed packages =="
	$(BIN)/retrieve pydocs $(DEMO)/pydocs
	@echo; echo "== 2. Index it: BM25 in Lucene, all-MiniLM-L6-v2 vectors in FAISS, its token vectors for reranking =="
	$(BIN)/retrieve index $(DEMO)/pydocs --to $(DEMO)/index --overwrite --late-interaction
	@echo; echo "== 3. Search it: both legs, fused; each hit shows its rank in each leg =="
	$(BIN)/retrieve search $(DEMO)/index "compute the singular value decomposition of a matrix" -k 3
	@echo
	$(BIN)/retrieve search $(DEMO)/index "run a shell command and capture what it prints" -k 3 --reranker late-interaction
	@echo; echo "== 4. Score four systems on held-out queries =="
	$(BIN)/python benchmarks/run_beir.py --dataset $(DEMO)/pydocs --systems bm25,dense,hybrid,hybrid+rerank \
		--limit-queries 500 --candidates 20 --index $(DEMO)/index --output $(DEMO)

test: setup
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file .ci/mkdocs.yml
	@echo "results/site/index.html"

clean:
	rm -rf results .pytest_cache .ruff_cache .mypy_cache .hypothesis
