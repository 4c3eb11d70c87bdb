# make run | make test: the two commands. Everything else is a part of one of them.
SHELL := /bin/bash
.SHELLFLAGS := -e -u -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.ready-test
BENCH_READY := $(VENV)/.ready-bench
STATE ?= $(if $(VS_STATE),$(VS_STATE),$(CURDIR)/run-state)
PYTEST_ARGS ?=
BENCH_ARGS ?=
# Files side by side, emulated guests one after the other: tests/conftest.py.
TOGETHER := -n 2 --dist loadscope
ASAN_TREE := build/asan-tree
# The sanitizer run takes what runs our C, with guests (testpmd, QEMU), hosts and controllers as peers. Left out is what runs no C of ours,
# what starts the daemon past the harness that preloads the sanitizer, what counts memory, and what builds a program of its own. Of the
# control plane's tests (ofproto, daemon) only these call C; a fake stands for the datapath in the others, which would repeat the native run.
ASAN_TESTS := $(addprefix tests/unit/,datapath kernel vfio vhostuser daemon/test_appctl_trace.py) \
  $(addprefix tests/unit/ofproto/test_,agent10.py agent_datapath.py compose.py every_field.py flow_run.py group_table.py meter_table.py \
  queue_requests.py) tests/property tests/malformed tests/conformance tests/fuzz \
  $(addprefix tests/interop/test_,daemon_ledger.py daemon_life.py daemon_bridge.py daemon_openflow.py vhost_options.py testpmd.py \
  testpmd_offload.py hosts.py qemu.py qemu_iommu.py ovs_ofctl.py ovs_ofctl_groups.py ryu.py faucet.py chaos_controller.py chaos_kernel.py \
  daemon_qos.py of13_5_actions.py of13_5_groups.py of13_ext_bundles.py) \
  $(addprefix --ignore=tests/,$(addprefix fuzz/test_fuzz_,parse.py vring.py offload.py) \
  $(addprefix malformed/test_openflow_,bytes.py text.py) unit/datapath/test_token_rates.py \
  $(addprefix unit/vhostuser/test_,vhostuser_races.py iotlb_races.py offload_one_copy.py vhostuser_deaths.py))
C_FILES := $(shell find vswitchd tests -name '*.[ch]' -not -path '*/build/*' 2>/dev/null)

.PHONY: run test build peers pytest test-asan bench check format clean

run: build
	@exec $(PY) -m vswitchd --demo --state "$(STATE)"

# Hundreds of daemons and programs start: without compiled modules (some containers ask for that) each takes half as long again.
test test-asan bench: export PYTHONDONTWRITEBYTECODE :=

# All three parts run, whichever fails. pytest's summary line comes last, so that it is what a log ends with.
test: $(TEST_READY) build peers
	@mkdir -p build; failed=""; \
	$(PY) -m pytest $(TOGETHER) $(PYTEST_ARGS) 2>&1 | tee build/pytest.log || failed+=" tests"; \
	$(MAKE) test-asan || failed+=" test-asan"; \
	$(MAKE) check || failed+=" check"; \
	if [ -n "$$failed" ]; then echo "make: failed:$$failed"; fi; \
	tail -n 1 build/pytest.log; test -z "$$failed"

build: $(READY)
	@$(PY) vswitchd/datapath/build.py >/dev/null

# What runs needs little; what tests, checks and plots need comes on top when it is asked for.
LIST := import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb")); project = p["project"]; \
  print("\n".join(project["optional-dependencies"][sys.argv[1]] if sys.argv[1:] else \
  project["dependencies"] + p["build-system"]["requires"] + ["editables"]))
PIP := $(PY) -m pip install -qq --disable-pip-version-check

# A virtual environment runs where it was made, by the Python that made it: moved or left without, it is made again. (A link to one of
# another tree goes first: clearing it would empty theirs.)
WHOLE := grep -qsF " $$(pwd -P)/$(VENV)" $(VENV)/pyvenv.cfg && $(PY) -c 'import pip' 2>/dev/null
ifeq ($(wildcard $(READY)),$(READY))
ifneq ($(shell { $(WHOLE); } && echo whole),whole)
$(shell rm -f $(READY))
endif
endif

$(READY): pyproject.toml deploy/build-deps.sh
	@PYTHON="$(PYTHON)" deploy/build-deps.sh
	@{ $(WHOLE); } || { echo "make: setting up $(VENV)"; if [ -L $(VENV) ]; then rm $(VENV); fi; $(PYTHON) -m venv --clear $(VENV); }
	@$(PY) -c '$(LIST)' >$(VENV)/requirements.txt
	@$(PIP) -r $(VENV)/requirements.txt || { echo "make: pip could not install these from its index: $$(\
	  tr '\n' ' ' <$(VENV)/requirements.txt)(a mirror or a certificate is set by pip config or PIP_INDEX_URL, PIP_CERT)" >&2; exit 1; }
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(TEST_READY): $(READY)
	@echo "make: adding what the tests need to $(VENV)"
	@$(PY) -c '$(LIST)' test >$(VENV)/requirements-test.txt
	@$(PIP) -r $(VENV)/requirements-test.txt
	@touch $@

# Without plots everything else of the bench still works, so a machine without an index gets a warning.
$(BENCH_READY): $(TEST_READY)
	@echo "make: adding what the plots of the bench need to $(VENV)"
	@$(PY) -c '$(LIST)' bench >$(VENV)/requirements-bench.txt
	@if $(PIP) -r $(VENV)/requirements-bench.txt; then touch $@; else echo "make: no plots: pip could not install matplotlib" >&2; fi

peers:
	@tests/peers/install.sh
	@if [ -x tests/peers/ryu_venv.sh ]; then tests/peers/ryu_venv.sh; fi

# A copy of the tree with its own extension under AddressSanitizer and UndefinedBehaviorSanitizer. Leaks are left
# out: the interpreter itself keeps memory to its end.
test-asan: $(TEST_READY) build
	@mkdir -p $(ASAN_TREE)
	@rm -rf $(ASAN_TREE)/tests $(ASAN_TREE)/ctl $(ASAN_TREE)/deploy
	@if [ -d $(ASAN_TREE)/vswitchd ]; then find $(ASAN_TREE)/vswitchd -type f ! -name '*.so' -delete; fi
	@for part in vswitchd ctl tests deploy; do \
	  mkdir -p $(ASAN_TREE)/$$part; (cd $$part && tar -cf - --exclude='*.so' --exclude=__pycache__ .) | \
	  tar -C $(ASAN_TREE)/$$part -xf -; done
	@cp pyproject.toml README.md $(ASAN_TREE)/
	@if [ -d .venv-ryu ]; then ln -sfn "$(CURDIR)/.venv-ryu" $(ASAN_TREE)/.venv-ryu; fi
	@VS_SANITIZE=1 $(PY) $(ASAN_TREE)/vswitchd/datapath/build.py >/dev/null
	@cd $(ASAN_TREE) && PYTHONPATH="$$PWD" PYTHONMALLOC=malloc VS_ASAN=1 \
	  ASAN_OPTIONS=detect_leaks=0:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	  LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so) $$($${CC:-cc} -print-file-name=libubsan.so)" \
	  "$(CURDIR)/$(PY)" -m pytest $(TOGETHER) $(if $(PYTEST_ARGS),$(PYTEST_ARGS),$(ASAN_TESTS))

bench: $(BENCH_READY) build peers
	@$(PY) -m tests.bench $(BENCH_ARGS)
	@$(PY) tests/bench/nic_loop.py
	@$(PY) tests/bench/openflow_tcp.py $(if $(findstring --quick,$(BENCH_ARGS)),50000,1000000)

check: $(TEST_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(if $(C_FILES),$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES))

format: $(TEST_READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix --exit-zero .
	$(if $(C_FILES),$(VENV)/bin/clang-format -i $(C_FILES))

clean:
	rm -rf build dist *.egg-info vswitchd/_core*.so run-state
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
