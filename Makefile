# One place for everything that is done to this repository. `make` lists it.
# Needs Go, make, gcc (for the race detector), git and bash; all other tools are
# fetched at pinned versions into bin/tools.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One release of the Collector: go.mod, the manifests and the builder agree.
COLLECTOR_VERSION := v0.160.0
GOLANGCI_LINT_VERSION := v2.15.0

GO ?= go
BUILDER := bin/tools/builder-$(COLLECTOR_VERSION)
GOLANGCI_LINT := bin/tools/golangci-lint-$(GOLANGCI_LINT_VERSION)

# Binaries, vet and lint compile alike, so that they share Go's build cache.
PLAIN := CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false'
GO_BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false

# What goes into the binaries. Folders count, so that a removed file is noticed.
SOURCES := go.mod $(shell find exporter internal -name testdata -prune -o \
	\( -type d -o -type f ! -name '*_test.go' ! -name '*.md' \) -print)

# $(call step,what,command): says what it does, and how long that took.
step = @echo "==> $(1)"; start=$$SECONDS; $(2); echo "    done in $$((SECONDS - start)) s"

##@ Every day

.PHONY: build
build: bin/otelcol-wandb bin/otel-wandb ## build bin/otelcol-wandb (the collector) and bin/otel-wandb (the tool)
	@echo "==> $^ are up to date"

# With ONLINE=1 the runs are uploaded while they run: to a stand-in W&B, or to the
# real one of WANDB_BASE_URL and WANDB_API_KEY.
.PHONY: demo
demo: bin/otelcol-wandb bin/otel-wandb bin/examples/workflow bin/examples/demo ## a training workflow becomes W&B runs, on this machine, in seconds
	@bin/examples/demo $(if $(ONLINE),-online)

.PHONY: test
test: ## build, vet, lint and every test under the race detector
	@start=$$SECONDS; \
	$(MAKE) build; $(MAKE) vet; $(MAKE) lint; $(MAKE) test-race; \
	echo "==> everything passed in $$((SECONDS - start)) s"

.PHONY: lint
lint: $(GOLANGCI_LINT) check ## linters, formatting, and the rules of this repository
	$(call step,lint,$(PLAIN) $(GOLANGCI_LINT) run ./...)

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## format all Go files (gofumpt)
	$(call step,format,$(GOLANGCI_LINT) fmt ./...)

##@ Parts of `make test`

.PHONY: vet
vet: ## go vet
	$(call step,vet,$(PLAIN) $(GO) vet ./...)

# vet has run: no need for the subset that `go test` runs by itself.
.PHONY: test-race
test-race: bin/otelcol-wandb bin/otel-wandb ## every test under the race detector
	$(call step,test with the race detector,CGO_ENABLED=1 $(GO) test -buildvcs=false -vet=off -race ./...)

.PHONY: check
check: ## rules no linter knows: reasons of dependencies, where names are spelled
	$(call step,check the rules of this repository,.ci/check-dependencies && .ci/check-names)

##@ Long and thorough

# Each has a short form in `make test`.

# N is how many kills; TORTURE_SEED repeats the moments of an earlier run.
N ?= 20
.PHONY: torture
torture: bin/otelcol-wandb ## kill the collector under load N times, then look what is lost or doubled
	$(call step,torture,TORTURE_N=$(N) $(PLAIN) $(GO) test -count=1 -timeout=2h -run 'Killed|Survives' -v ./exporter/internal/torture)

# In make test it is 50,000 rows, and the collector is away for 2 s and not 10.
.PHONY: million
million: bin/otelcol-wandb ## a million rows through the bridge and the collector, three times (minutes)
	$(call step,a million rows,BRIDGED_LONG=1 $(PLAIN) $(GO) test -count=1 -timeout=1h -v ./exporter/internal/bridged)

BENCHTIME ?= 2s
.PHONY: bench-bridge
bench-bridge: ## what the bridge costs a program, beside what OpenTelemetry's SDK takes for the same
	$(call step,benchmark the bridge,$(PLAIN) $(GO) test -run '^$$' -bench 'Cost' -benchtime $(BENCHTIME) ./bridge)

.PHONY: bench-upload
bench-upload: bin/otelcol-wandb ## how long a task's start and a row take to W&B, one run and ten (minutes)
	$(call step,benchmark the upload,LATENCY_LONG=1 $(PLAIN) $(GO) test -count=1 -timeout=1h -v ./exporter/internal/uploadlatency)

# In make test it is 20 runs and a day. That W&B gets a week's rows of 100 runs is in
# make test too (exporter/internal/pace); here the engine and its bound are in it.
.PHONY: outage
outage: ## a week without W&B, on a simulated clock: 100 runs, and only so much may wait for it
	$(call step,a week without W&B,OUTAGE_LONG=1 $(PLAIN) $(GO) test -count=1 -timeout=1h -run AWeekWithoutWandb -v ./exporter/internal/engine)

# BENCH holds options: make bench BENCH='-n 20000 -reps 1'
.PHONY: bench
bench: bin/otelcol-wandb ## what the exporter costs, beside a pipeline that keeps nothing (minutes)
	$(call step,benchmark,$(PLAIN) $(GO) run ./exporter/internal/bench $(BENCH))

# FUZZTIME is for each target; FUZZ picks some by name.
FUZZTIME ?= 30s
FUZZ ?= .
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each
	$(call step,fuzz,grep -rhoE --include='*_test.go' --exclude-dir=bin -H '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func /:/' | sort | \
		while IFS=: read -r file name; do [[ $$name =~ $(FUZZ) ]] || continue; \
			echo "    $$name"; $(PLAIN) $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "$$(dirname "$$file")"; done)

# SOAK is how long.
SOAK ?= 5m
.PHONY: soak
soak: bin/otelcol-wandb ## mixed load on one collector for SOAK: its memory and files must not grow
	$(call step,soak,SOAK=$(SOAK) $(PLAIN) $(GO) test -count=1 -timeout=24h -run Soak -v ./exporter/internal/torture)

##@ More

.PHONY: build-full
build-full: bin/otelcol-wandb-full ## build bin/otelcol-wandb-full, the wide distribution (minutes)

.PHONY: clean
clean: ## remove bin/, tools included
	rm -rf bin

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- Files -------------------------------------------------------------------

bin/otel-wandb: $(SOURCES)
	$(call step,build $@,$(GO_BUILD) -o $@ ./exporter/cmd/otel-wandb)

bin/examples/workflow: go.mod $(wildcard examples/workflow/*.go) $(shell find bridge internal -name '*.go' ! -name '*_test.go')
	$(call step,build $@,$(GO_BUILD) -o $@ ./examples/workflow)

bin/examples/demo: go.mod $(wildcard examples/workflow/demo/*.go) $(wildcard internal/wandbtest/*.go)
	$(call step,build $@,$(GO_BUILD) -o $@ ./examples/workflow/demo)

# The builder writes Go code and a module of its own; compiling is left to the go
# command, which compiles again only what changed. -mod=mod: when the exporter
# takes a new dependency, the generated go.sum follows.
bin/otelcol-wandb: bin/distribution/main.go $(SOURCES)
	$(call step,build $@ (some minutes the first time),cd bin/distribution && $(GO_BUILD) -mod=mod -ldflags '-s -w' -o ../$(@F) .)

bin/otelcol-wandb-full: bin/distribution-full/main.go $(SOURCES)
	$(call step,build $@ (some minutes the first time),cd bin/distribution-full && $(GO_BUILD) -mod=mod -ldflags '-s -w' -o ../$(@F) .)

bin/distribution/main.go: collector-config/manifest.yaml
bin/distribution-full/main.go: collector-config/manifest-full.yaml
bin/distribution/main.go bin/distribution-full/main.go: go.mod $(BUILDER)
	@mkdir -p $(@D)
	$(call step,generate the collector from $(filter %.yaml,$^),cd collector-config && ../$(BUILDER) --config $(notdir $(filter %.yaml,$^)) --skip-compilation >../$(@D)/builder.log 2>&1 || { cat ../$(@D)/builder.log; exit 1; })

$(BUILDER):
	$(call step,install the Collector builder $(COLLECTOR_VERSION),$(call install,go.opentelemetry.io/collector/cmd/builder@$(COLLECTOR_VERSION)))

$(GOLANGCI_LINT):
	$(call step,install golangci-lint $(GOLANGCI_LINT_VERSION) (a minute or two),$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)))

# $(call install,module@version): into bin/tools, under a name with the version,
# so that a new pin installs anew.
install = mkdir -p bin/tools && GOBIN=$(CURDIR)/bin/tools $(GO) install -buildvcs=false $(1) && mv bin/tools/$(notdir $(firstword $(subst @, ,$(1)))) $@
