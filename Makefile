# One entry point for people. Each target makes the virtual environment that it needs; a fresh
# machine needs Python 3.11 or newer, a C compiler and make, nothing else.

PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Extra arguments: make test ARGS="-k planner", make bench ARGS="--quick --only lloyd"
ARGS ?=
PIP_QUIET ?= --quiet
TEST_TIMEOUT ?= 900

# Tests run in so many processes, each file of them in one, and the C test is compiled in as many.
# Threads that wait sleep at once: they are more than there are CPUs, and one that spins keeps another
# from what it is waited for.
TEST_PROCESSES ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); \
	echo $$((n > 4 ? 4 : n)))
IN_PROCESSES := $(if $(filter-out 0 1,$(TEST_PROCESSES)),-n $(TEST_PROCESSES) --dist loadfile)
# $(call tested,NAME): pytest of the environment .venv-NAME in these processes
tested = OMP_WAIT_POLICY=passive .venv-$(1)/bin/pytest --timeout=$(TEST_TIMEOUT) $(IN_PROCESSES)

SOURCES := $(shell find src tools meson.build meson.options pyproject.toml README.md LICENSE \
	-type f -not -name '*.pyc' 2>/dev/null)
# What runs on the checked builds: all that calls a compiled module. Checks and emulated tiles change
# what valgrind counts and how fast a product is, need more room for addresses than a test leaves, and
# take time: the profile "ci" has no deadlines.
CHECKED_TESTS ?= $(addprefix tests/,kernels engine algorithms metrics cluster plan lab sources cli) \
	tests/test_joblib.py --hypothesis-profile=ci \
	--deselect tests/lab/test_cachegrind.py::test_simulated_is_what_cachegrind_counts \
	--deselect tests/lab/test_explain.py::test_measured_roofs_are_rates \
	--deselect tests/lab/test_materialise.py::test_a_process_without_memory_says_so \
	--deselect tests/cli/test_bench.py::test_valgrind_counts_beside_the_simulator

.PHONY: help venv demo test types test-docs test-native test-aarch64 bench bench-dask bench-single lint format docs debug-test
.PHONY: onnx-web sanitize sanitize-crowded sanitize-native record wheel clean

help: ## show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(firstword $(MAKEFILE_LIST)) \
		| sort | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

# --- environments -----------------------------------------------------------------------------
# .venv-NAME/created    the environment with what a build needs; made again, with its build/NAME,
#                       when the options change, because a configured build takes no new option
# .venv-NAME/installed  the environment with tilewise in it, not editable; made again when a
#                       source is newer. Builds run without isolation in build/NAME, so that
#                       they compile only what changed.

.venv-%/created: meson.options | check-python
	@echo "making $(@D)"
	rm -rf $(@D) build/$*
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python tools/build_requirements.py > $(@D)/build-requirements.txt
	$(@D)/bin/python -m pip install $(PIP_QUIET) -r $(@D)/build-requirements.txt
	touch $@

.PHONY: check-python
check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tilewise needs Python 3.11 or newer; try make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "this Python cannot make virtual environments; install its venv package"; exit 1; }

# $(call install,NAME,EXTRAS,more pip arguments): build and install into .venv-NAME
define install
	PATH="$(CURDIR)/.venv-$(1)/bin:$$PATH" .venv-$(1)/bin/python -m pip install $(PIP_QUIET) \
		--no-build-isolation --config-settings=build-dir=build/$(1) $(3) ".$(if $(2),[$(2)])"
	touch $@
endef

.venv-test/installed: .venv-test/created $(SOURCES)
	$(call install,test,test)

# Type checkers read the package that is installed beside them.
.venv-test/checkers: .venv-test/created tools/typing-requirements.txt
	.venv-test/bin/python -m pip install $(PIP_QUIET) -r tools/typing-requirements.txt
	touch $@

.venv-demo/installed: .venv-demo/created $(SOURCES)
	$(call install,demo,demo)

.venv-docs/installed: .venv-docs/created $(SOURCES)
	$(call install,docs,cli$(comma)dask$(comma)docs$(comma)io$(comma)lab)

.venv-bench/peers: .venv-bench/created benchmarks/requirements.txt
	.venv-bench/bin/python -m pip install $(PIP_QUIET) -r benchmarks/requirements.txt
	touch $@

.venv-bench/installed: .venv-bench/peers $(SOURCES)
	$(call install,bench)

# dask-ml may not install beside what the others need: its figures are left out then.
.venv-dask/installed: .venv-dask/created benchmarks/dask-requirements.txt $(SOURCES)
	.venv-dask/bin/python -m pip install $(PIP_QUIET) -r benchmarks/dask-requirements.txt \
		|| echo "dask-ml could not be installed; the rest is measured without it"
	$(call install,dask,dask)

# Cython's checks and C's assertions on: an index out of bounds is an exception.
.venv-debug/installed: .venv-debug/created $(SOURCES)
	$(call install,debug,test,--config-settings=setup-args=-Dbounds_checks=true \
		--config-settings=setup-args=-Dcount_calls=true \
		--config-settings=setup-args=-Demulate_amx=true \
		--config-settings=setup-args=-Dbuildtype=debugoptimized \
		--config-settings=setup-args=-Db_ndebug=false)

# The address and undefined-behaviour sanitizers; the first report ends the process. The tiles of
# AMX are emulated, so that its kernels are watched on processors without it.
.venv-sanitize/installed: .venv-sanitize/created $(SOURCES)
	$(call install,sanitize,test,--config-settings=setup-args=-Doptimization=1 \
		--config-settings=setup-args=-Ddebug=true \
		--config-settings=setup-args=-Db_ndebug=false \
		--config-settings=setup-args=-Db_lundef=false \
		--config-settings=setup-args=-Db_sanitize=address$(comma)undefined \
		--config-settings=setup-args=-Demulate_amx=true \
		--config-settings=setup-args=-Dcount_calls=true \
		--config-settings=setup-args=-Dc_args=-fno-sanitize-recover=all)

.venv-lint/installed: tools/lint-requirements.txt | check-python
	@echo "making $(@D)"
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install $(PIP_QUIET) -r $<
	touch $@

.venv/installed: pyproject.toml tools/build_requirements.py tools/lint-requirements.txt \
		tools/typing-requirements.txt | check-python
	@echo "making $(@D)"
	rm -rf build/editable
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python tools/build_requirements.py > $(@D)/build-requirements.txt
	$(@D)/bin/python -m pip install $(PIP_QUIET) -r $(@D)/build-requirements.txt \
		-r tools/lint-requirements.txt -r tools/typing-requirements.txt
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(@D)/bin/python -m pip install $(PIP_QUIET) \
		--no-build-isolation --config-settings=build-dir=build/editable \
		--editable ".[all,test,docs]"
	touch $@

comma := ,

# --- what people run --------------------------------------------------------------------------

venv: .venv/installed ## a development environment in .venv, tilewise installed editable
	@echo "ready: source .venv/bin/activate"

demo: .venv-demo/installed ## quantise a photograph to 64 colours, scikit-learn beside it
	.venv-demo/bin/python examples/demo.py $(ARGS)

test: test-native .venv-test/installed .venv-test/checkers ## all tests and the examples in docstrings, installed
	$(call tested,test) $(ARGS)
	# Where there is no torch, modules of tilewise.cuda cannot be imported, and none has an example.
	TILEWISE_TUNING=off .venv-test/bin/pytest --timeout=$(TEST_TIMEOUT) --doctest-modules --ignore-glob='*/tilewise/cuda/_*' --pyargs tilewise

onnx-web: build/onnx-web/installed ## what runs exported models as a browser does: needs npm; tests use it if it is there

build/onnx-web/installed: tests/export/web/package.json
	rm -rf $(@D)
	mkdir -p $(@D)
	cp $< $(@D)/
	npm install --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	touch $@

types: .venv-test/installed .venv-test/checkers ## mypy and pyright on a program of users; stubs against compiled modules
	.venv-test/bin/pytest --timeout=$(TEST_TIMEOUT) tests/typing $(ARGS)

# The instruction sets of the kernels on this machine, as meson.build knows them.
NATIVE_ISAS := $(if $(filter x86_64 i%86,$(shell uname -m)),sse2 avx2 avx512,\
	$(if $(filter aarch64 arm64,$(shell uname -m)),neon,generic))
NATIVE := $(MAKE) --no-print-directory -j$(TEST_PROCESSES) -C tests/native

test-native: ## the C test of the kernels, compiled directly
	$(NATIVE) OUT=../../build/native/host ISAS="$(NATIVE_ISAS)"

test-aarch64: ## the same as an aarch64 program, under an emulator
	$(NATIVE) OUT=../../build/native/aarch64 ISAS=neon CC=aarch64-linux-gnu-gcc LINK=-static \
		RUN=qemu-aarch64

sanitize-native: ## the C test of the kernels under address and undefined-behaviour checks
	UBSAN_OPTIONS=print_stacktrace=1 $(NATIVE) OUT=../../build/native/sanitize EMULATE_AMX=1 \
		ISAS="$(NATIVE_ISAS)" SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all"

bench: .venv-bench/installed ## measure against the peers; ARGS="--quick --only lloyd" narrows it
	.venv-bench/bin/python benchmarks/run.py $(ARGS)

bench-dask: .venv-dask/installed ## measure a cluster of two processes against one, and dask-ml; under six minutes
	.venv-dask/bin/python benchmarks/dask_clusters.py $(ARGS)

bench-single: .venv-bench/installed ## measure answers to one row against scikit-learn, faiss and ONNX Runtime; three minutes
	.venv-bench/bin/python benchmarks/single_rows.py $(ARGS)

# On a machine with a GPU, with a Python that has torch, triton and what the tests need. To look for
# errors of memory: make test-cuda CUDA_RUN="compute-sanitizer --tool memcheck"
CUDA_PYTHON ?= $(PYTHON)
CUDA_RUN ?=

test-cuda: ## the tests of tilewise.cuda on a GPU, with the torch and triton of CUDA_PYTHON; minutes
	$(CUDA_PYTHON) tools/cuda_build.py
	env -u TRITON_INTERPRET PYTHONPATH="$(CURDIR)/src$${PYTHONPATH:+:$$PYTHONPATH}" $(CUDA_RUN) $(CUDA_PYTHON) -m pytest tests/cuda \
		-p no:cacheprovider --timeout=$(TEST_TIMEOUT) --durations=10 $(ARGS)

# torch and triton lie in a folder of their own: they take 2 GB, and other tests run without them.
build/interpreter/installed: tools/interpreter-requirements.txt .venv-test/created
	rm -rf $(@D)
	.venv-test/bin/python -m pip install $(PIP_QUIET) --target $(@D) -r $<
	touch $@

test-interpreter: .venv-test/installed build/interpreter/installed ## the tests of tilewise.cuda without a GPU, through Triton's interpreter
	PYTHONPATH="$(CURDIR)/build/interpreter" .venv-test/bin/pytest --timeout=$(TEST_TIMEOUT) \
		tests/cuda tests/benchmarks/test_cuda_clusters.py $(ARGS)

bench-cuda: ## measure a GPU against the libraries there and the CPU; ARGS="--seconds 300" ends it early
	$(CUDA_PYTHON) tools/cuda_build.py
	env -u TRITON_INTERPRET PYTHONPATH="$(CURDIR)/src$${PYTHONPATH:+:$$PYTHONPATH}" $(CUDA_PYTHON) benchmarks/cuda_clusters.py $(ARGS)

lint: .venv-lint/installed ## ruff, cython-lint and numpydoc; changes nothing
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	PATH="$(CURDIR)/.venv-lint/bin:$$PATH" cython-lint src
	find src -name '*.py' -print0 | xargs -0 .venv-lint/bin/numpydoc lint

format: .venv-lint/installed ## let ruff rewrite what it can
	.venv-lint/bin/ruff check --fix .
	.venv-lint/bin/ruff format .

record: .venv-test/installed ## run the lessons on a quiet machine and keep what the site shows of them
	.venv-test/bin/python docs/_ext/recording.py $(ARGS)

docs: .venv-docs/installed ## the documentation, in docs/_build/html
	.venv-docs/bin/sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

test-docs: docs ## every page, lesson and gallery program, and the site in a browser
	.venv-docs/bin/pytest --timeout=$(TEST_TIMEOUT) tests/docs $(ARGS)

debug-test: .venv-debug/installed ## what calls compiled modules, on a build that checks every index
	$(call counted,debug,$(call tested,debug) \
		-W error::pytest.PytestUnraisableExceptionWarning $(CHECKED_TESTS) $(ARGS))

# $(call counted,NAME,command): the command runs tests on build/NAME. If none are left out, every
# compiled module must have run. That is told with TEST_PROCESSES=1 only: of a whole run in several
# processes some end before they have written their counts.
define counted
	$(PYTHON) tools/kernel_calls.py build/$(1) --clear
	$(2)
	$(if $(ARGS)$(IN_PROCESSES),,$(PYTHON) tools/kernel_calls.py build/$(1))
endef

# CPython and numpy keep memory until exit, so leaks are not looked for here; libstdc++ comes
# first because the sanitizer must see the exceptions that scipy throws. A report that ends the
# process is written to its standard error, which pytest must not hold back.
define sanitized
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) \
	$$($(CC) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
	PYTHONMALLOC=malloc \
	$(call tested,sanitize) -p no:cacheprovider --capture=sys $(1) $(ARGS)
endef

sanitize: sanitize-native .venv-sanitize/installed ## the same under address and undefined-behaviour checks
	$(call counted,sanitize,$(call sanitized,$(CHECKED_TESTS)))

# Rows that repeat fill every list of candidates: where a buffer could be too small.
sanitize-crowded: .venv-sanitize/installed ## rows that repeat, under the same checks: a few minutes
	$(call sanitized,tests/engine/test_crowded.py)

wheel: .venv-wheel/created ## an sdist and a wheel of the last commit, in dist/
	.venv-wheel/bin/python -m pip install $(PIP_QUIET) build
	.venv-wheel/bin/python -m build --outdir dist .

clean: ## remove environments, builds and what the targets wrote
	rm -rf .venv .venv-* build build-* builddir dist demo-output docs/_build docs/_generated docs/auto_gallery docs/sg_execution_times.rst
	rm -rf .pytest_cache .ruff_cache .hypothesis benchmarks/results/local
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
