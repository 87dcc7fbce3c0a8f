# Durable DEA. `make` lists what there is to make; Go, git, make and bash are all that it needs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO    ?= go
BIN   := $(CURDIR)/bin
TOOLS := $(BIN)/tools

# The modules: the lean root, and the one that holds Temporal's server. Apps in examples/ are modules of their own,
# as a user's app is.
MODULES  := . devserver
EXAMPLES := $(patsubst %/go.mod,%,$(wildcard examples/*/go.mod))

# How long `make fuzz` fuzzes each target.
FUZZTIME ?= 5m

# How long one `go test` may take before it prints where it hangs.
TEST_TIMEOUT ?= 15m

.PHONY: help
help: ## show this list
	@echo "Durable DEA: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build every program into bin/
	$(GO) build -o $(BIN)/ ./worker ./starter
	CGO_ENABLED=0 $(GO) build -o $(BIN)/ ./wardend
	CGO_ENABLED=0 $(GO) build -o $(BIN)/dea-runner ./runner
	CGO_ENABLED=0 $(GO) build -o $(BIN)/staticd ./buildpacks/static/staticd
	cd devserver && $(GO) build -o $(BIN)/devserver .

.PHONY: demo
demo: build ## push examples/hello to a stack of its own and leave it up until Ctrl-C
	@scripts/demo.sh

.PHONY: demo-check
demo-check: build ## the demo with an end: everything it started must be gone
	@scripts/demo.sh --check

.PHONY: test
test: build test-unit test-alone test-fuzz test-integration ## all tests, the integration tests on real processes included

# -vet=off: `make lint` vets, once; it does not see the examples.
.PHONY: test-unit
test-unit: ## the tests of each module and of the examples, without the integration tests
	packages=$$($(GO) list ./... | grep -v /integration) && $(GO) test -vet=off -timeout $(TEST_TIMEOUT) $$packages
	cd devserver && $(GO) test -vet=off -timeout $(TEST_TIMEOUT) ./...
	@for app in $(EXAMPLES); do (cd $$app && GOWORK=off $(GO) test ./...); done

# What a user of the root module gets is its go.mod alone, without the versions that go.work lifts.
.PHONY: test-alone
test-alone: ## build and vet the root module without go.work
	GOWORK=off $(GO) build -o /dev/null ./...
	GOWORK=off $(GO) vet ./...

# What reads a socket, for a moment; `go test` alone tries only what is known already.
.PHONY: test-fuzz
test-fuzz: ## fuzz each target of what reads a socket for some seconds
	@GO=$(GO) scripts/fuzz.sh 3s ./warden/... ./wardend/... ./internal/directory ./internal/execwire ./devserver/...

.PHONY: fuzz
fuzz: ## fuzz every target there is, FUZZTIME each (5m)
	@GO=$(GO) scripts/fuzz.sh $(FUZZTIME) ./... ./devserver/...

# -count=1: what these tests run is in bin/, where Go's test cache does not look.
.PHONY: test-integration
test-integration: build ## the integration tests alone
	$(GO) test -vet=off -count=1 -timeout $(TEST_TIMEOUT) ./integration/...

.PHONY: lint
lint: ## vet, golangci-lint, workflowcheck, govulncheck, go mod tidy -diff
	@GO=$(GO) TOOLS=$(TOOLS) scripts/lint.sh $(MODULES)

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## format every Go file
	@for module in $(MODULES); do (cd $$module && $(TOOLS)/golangci-lint fmt ./...); done

# It needs unzip and curl, for what it does by hand, and for instances in real containers root and crun or runc. Instances
# that do nothing are watched for ten minutes, with both kinds of containers.
.PHONY: bench
bench: build ## measure activities, pushes, stagings and instances, and write docs/benchmarks.json
	$(GO) run ./integration/bench -out docs/benchmarks.json

# It needs root, crun or runc, and a machine that does nothing else.
.PHONY: bench-wardend
bench-wardend: ## measure wardend's real containers, and write docs/benchmarks.json
	CGO_ENABLED=0 $(GO) build -o $(BIN)/ ./wardend
	CGO_ENABLED=0 $(GO) build -o $(BIN)/conformance/tool ./wardend/internal/conformance/tool
	$(GO) run ./wardend/bench

# What `make test` does with a hundred containers.
.PHONY: soak-wardend
soak-wardend: ## make 1,000 real containers while wardend is killed, and look for what is left
	WARDEND_SOAK=1000 $(GO) test -vet=off -count=1 -timeout 60m -v -run '^TestSoak$$' ./wardend

.PHONY: generate
generate: $(TOOLS)/buf $(TOOLS)/protoc-gen-go ## write the generated code anew
	PATH="$(TOOLS):$$PATH" $(GO) generate ./...

.PHONY: histories
histories: build ## record the histories that the replay tests run anew
	@scripts/histories.sh

.PHONY: clean
clean: ## remove what was built and what the demo left
	rm -rf $(BIN) tmp

# The tools are pinned in a module of their own, so that no tool's dependency ever reaches the project's.
TOOL_buf           := github.com/bufbuild/buf/cmd/buf
TOOL_golangci-lint := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
TOOL_govulncheck   := golang.org/x/vuln/cmd/govulncheck
TOOL_protoc-gen-go := google.golang.org/protobuf/cmd/protoc-gen-go
TOOL_workflowcheck := go.temporal.io/sdk/contrib/tools/workflowcheck
LINT_TOOLS         := $(addprefix $(TOOLS)/,golangci-lint govulncheck workflowcheck)

lint: $(LINT_TOOLS)

$(TOOLS)/%: tools/go.mod tools/go.sum
	cd tools && GOWORK=off $(GO) build -o $@ $(TOOL_$*)
	@touch $@
