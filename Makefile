# Nines. "make help" lists the targets; CONTRIBUTING.md says when to run which.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SYSTEM      ?= examples/fleet/nines.yaml
ARGS        ?=
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTSUM   := gotest.tools/gotestsum@v1.13.0

# Both modules, so that no target forgets one.
MODULES := . service

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: go-version ## build bin/nines
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/nines ./cmd/nines

.PHONY: up
up: build packages ## build, then run the fleet on a real cluster on this machine
	bin/nines up -f $(SYSTEM) $(ARGS)

.PHONY: down
down: build ## stop what up started
	bin/nines down $(ARGS)

.PHONY: packages
packages: build ## install the Debian tools that are missing, or print the command
	bin/nines doctor --fix

.PHONY: test
test: engines ## unit and ground tests, from a bare machine (needs root)
	NINES_REQUIRE_POSTGRES=1 $(MAKE) unit
	$(MAKE) ground-test

.PHONY: engines
engines: packages ## compile the engines and make the root file systems that are missing
	bin/nines engines build

.PHONY: unit
unit: go-version ## unit tests of both modules
	rc=0; for m in $(MODULES); do ( cd $$m && $(GO) test -timeout 10m ./... ) || rc=1; done; exit $$rc

.PHONY: ground-test
ground-test: engines ## tests on real clusters (needs root); what failed is told again at the end
	$(GO) run $(GOTESTSUM) --format standard-verbose --hide-summary=skipped -- \
		-tags ground -count=1 -p 1 -timeout 30m ./ground/... ./drill/... ./render/prometheus ./cmd/nines

.PHONY: drill-suite
drill-suite: build ## every drill on the ground that runs, and one table (needs make up)
	bin/nines drill suite -f $(SYSTEM) $(ARGS)

.PHONY: race
race: go-version ## unit tests of both modules under the race detector (needs gcc)
	set -e; for m in $(MODULES); do ( cd $$m && CGO_ENABLED=1 $(GO) test -race -timeout 30m ./... ); done

.PHONY: check
check: format vet staticcheck architecture unit ## everything a change must pass before the ground tests

.PHONY: format
format: go-version ## fail on a file that gofmt would change
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted, run: gofmt -w" $$files >&2; exit 1; fi

.PHONY: vet
vet: go-version ## go vet, with the ground tests too
	set -e; for m in $(MODULES); do ( cd $$m && $(GO) vet ./... && $(GO) vet -tags ground ./... ); done

.PHONY: staticcheck
staticcheck: go-version ## staticcheck; staticcheck.conf gives the reasons
	set -e; for m in $(MODULES); do ( cd $$m && $(GO) run $(STATICCHECK) -tags ground ./... ); done

.PHONY: architecture
architecture: go-version ## hold the code against the import table in ARCHITECTURE.md
	$(GO) test -run '^TestArchitecture' .

.PHONY: bench
bench: build packages ## benchmarks of both modules and of the ground (needs root); docs/performance.md has a row for each
	bin/nines engines build
	set -e; for m in $(MODULES); do ( cd $$m && $(GO) test -run '^$$' -bench . -benchmem -timeout 20m ./... ); done
	$(GO) test -tags ground -run '^$$' -bench '^Benchmark(Ground|Engine)$$' -benchtime 1x -timeout 30m ./ground $(ARGS)

.PHONY: golden
golden: go-version ## rewrite the golden files; read the diff before you commit it
	set -e; for m in $(MODULES); do ( cd $$m && \
		dirs=$$(grep -rl --include='*_test.go' 'flag\.Bool.*"update"' . | xargs -r -n1 dirname | sort -u); \
		for d in $$dirs; do if [ $$m = . ]; then case $$d in ./service*) continue;; esac; fi; $(GO) test $$d -update; done ); done

.PHONY: go-version
go-version:
	@.ci/go-version
