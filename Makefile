# Spillway. `make` prints this help; docs/ says the rest.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null)
# Of the commit and not of the day: two builds of one commit are the same.
DATE     ?= $(shell TZ=UTC0 git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)
COMMAND  := github.com/spillwaydb/spillway/cmd/spillway/command
LDFLAGS  := -X $(COMMAND).version=$(VERSION) -X $(COMMAND).commit=$(COMMIT) -X $(COMMAND).buildDate=$(DATE)
PLATFORMS ?= linux/amd64 linux/arm64
BIN      := bin/spillway
DEMOFLAGS  ?=
BENCHFLAGS ?=
TESTFLAGS  ?=
RELEASE    ?= unreleased
# Each package may take this long; a hang must end with stack traces and not with the CI job. Most tests wait for PostgreSQL, so more
# of them run at once than there may be processors.
TIMEOUT  ?= 30m

.PHONY: help build demo test test-long versions roundtrip faults mutants test-race test-server check fmt vet lint workflowcheck vulncheck imports replay record fuzz release dist reproducible bench many-values torture soak servers postgres docs tidy clean

help: ## print this help
	@echo "Spillway moves old rows of a PostgreSQL table to Parquet files, each row exactly once."; echo
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  make demo DEMOFLAGS='--rows 1000000 --keep'     make test TESTFLAGS='-run TestDemo'"

build: ## build bin/spillway
	@mkdir -p bin
	$(GO) build -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/spillway

demo: postgres build ## see it work: a table, three flushes, one killed, and the proof
	./$(BIN) demo $(DEMOFLAGS)

test: postgres servers ## run every test, and say at the end what failed
	@said="$$(mktemp)"; trap 'rm -f "$$said"' EXIT; \
	$(MAKE) -k test-race test-server 2>&1 | tee "$$said" || { echo; echo "What failed:"; scripts/failures "$$said"; exit 1; }

# The race detector runs wherever it pays. Packages that link the Temporal server are left out: compiling the server with
# -race takes longer than all the tests together, and the code of ours that they add has its own race tests.
test-race: ## run the tests of packages that do not link the Temporal server, with -race
	@pkgs="$$(scripts/testpkgs race)"; $(GO) test -race -v -parallel 4 -timeout $(TIMEOUT) $(TESTFLAGS) $$pkgs

test-server: ## run the tests of packages that link the Temporal server
	@pkgs="$$(scripts/testpkgs server)"; $(GO) test -v -timeout $(TIMEOUT) $(TESTFLAGS) $$pkgs

test-long: postgres ## run the long forms: an independent reader over 2 million rows
	SPILLWAY_LONG=1 $(GO) test -count=1 -v -timeout 30m ./tests/reader

versions: ## run what depends on PostgreSQL on every major version, with servers from npm; VERSIONS="17 18" on some
	@GO="$(GO)" scripts/versions $(or $(VERSIONS),14 15 16 17 18)

roundtrip: postgres ## move 500 random tables of all types and read them back; SPILLWAY_ROUNDTRIP_SEED=n makes one again
	SPILLWAY_ROUNDTRIP_TABLES=$${SPILLWAY_ROUNDTRIP_TABLES:-500} $(GO) test -count=1 -v -timeout 60m -run TestRandomTables ./tests/roundtrip

faults: postgres ## walk every fault point with every fault and every way on, and print what was covered (docs/reliability.md)
	SPILLWAY_LONG=1 $(GO) test -count=1 -v -parallel 4 -timeout 60m -run 'TestWalks|TestEnded|TestBucket' ./tests/faults
	$(GO) test -count=1 -v -timeout 20m -run TestFaultsOfActivities ./jobmanager/temporaljobs

mutants: postgres ## plant bugs into the protocol, one by one, and print which walk catches each
	SPILLWAY_MUTANTS=1 $(GO) test -count=1 -v -timeout 60m -run TestMutants ./tests/faults

check: fmt vet lint workflowcheck vulncheck imports test ## what CI runs: format, vet, staticcheck, workflowcheck, govulncheck, import rules, tests

fmt: ## fail if a file is not formatted by gofmt
	@out="$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))"; \
	if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi; echo "gofmt: ok"

vet: ## go vet
	$(GO) vet ./...

lint: ## staticcheck
	$(GO) tool staticcheck ./...

workflowcheck: ## fail if a workflow can be non-deterministic
	$(GO) tool workflowcheck ./workflows/...

vulncheck: ## govulncheck: fail if the product calls what has a known hole; says so where its database cannot be reached
	@GO="$(GO)" scripts/vulncheck

imports: ## fail if a room imports what it may not (docs/architecture.md)
	$(GO) test -count=1 -v ./tests/imports/

replay: ## record the histories that workflows replays, once per release: RELEASE=v1.2.0 (docs/decisions/0009)
	@rm -f workflows/testdata/replay/unreleased-*.json
	$(GO) test -count=1 -v ./jobmanager/temporaljobs -run TestRecord -record '$(RELEASE)'
	$(GO) test -count=1 ./workflows -run 'Replay|Histories'

release: ## the first step of a release: RELEASE=v1.2.0; what to do then it prints (docs/upgrade.md)
	@[[ "$(RELEASE)" =~ ^v[0-9]+\.[0-9]+\.[0-9]+$$ ]] || { echo "RELEASE=$(RELEASE): expected a version, as in RELEASE=v1.2.0"; exit 2; }
	@[ -z "$$(git tag -l '$(RELEASE)')" ] || { echo "the tag $(RELEASE) exists"; exit 2; }
	@[ -z "$$(git status --porcelain)" ] || { echo "there are changes that are not committed"; exit 2; }
	@$(MAKE) replay RELEASE=$(RELEASE)
	@echo; echo "Now: git add -A workflows/testdata/replay && git commit && git tag $(RELEASE), then: make dist"

dist: ## build static binaries of the checked-out tag for $(PLATFORMS) into dist/, with licences and checksums
	@rm -rf dist; mkdir -p dist; for p in $(PLATFORMS); do \
	  f=dist/spillway-$(VERSION)-$${p%/*}-$${p#*/}; echo "$$f"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid= $(LDFLAGS)' -o "$$f" ./cmd/spillway; done
	$(GO) run ./tests/licences > dist/LICENSES
	@cd dist && sha256sum spillway-$(VERSION)-* LICENSES | tee SHA256SUMS

many-values: postgres ## flush 100 000 partition values and print the memory that it takes
	SPILLWAY_MANY_VALUES=100000 $(GO) test -count=1 -v -timeout 60m ./internal/flush -run TestMemoryOfManyValues

torture: postgres servers ## kill, freeze and starve processes under load: DURATION=10m AIM=kills SEED=1 RESULTS=tests/torture/results/runs.jsonl
	SPILLWAY_LONG=$(LONG) $(GO) test -count=1 -v -timeout 0 ./tests/torture -run '$(or $(TESTS),TestTorture)' -duration $(or $(DURATION),10m) -round 60s \
		-aim $(or $(AIM),all) -seed $(or $(SEED),0) -results '$(if $(RESULTS),$(abspath $(RESULTS)))'

soak: postgres ## flush without a pause and look for what grows: DURATION=30m PROFILES=folder
	$(GO) test -count=1 -v -timeout 0 ./tests/torture -run TestSoak -soak $(or $(DURATION),30m) -profiles '$(if $(PROFILES),$(abspath $(PROFILES)))' -results '$(if $(RESULTS),$(abspath $(RESULTS)))'

bench: postgres build ## measure: prints a table and writes a JSON file (docs/benchmarks.md)
	$(GO) build -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/bench ./tests/bench
	./bin/bench -spillway $(BIN) -json bin/bench.json $(BENCHFLAGS)

record: postgres ## record a newcomer's path, from a clean clone and a cold build, into docs/guides/first-table.txt
	@GO="$(GO)" scripts/record

fuzz: ## fuzz every target for a minute each; FUZZTIME=10m for longer. What it finds is kept in testdata/fuzz
	@GO="$(GO)" scripts/fuzz $${FUZZTIME:-1m}

# Nothing in the binary tells where or when it was built.
reproducible: ## build a release twice, from two folders, and fail if the bytes differ
	@GO="$(GO)" VERSION="$(VERSION)" COMMIT="$(COMMIT)" DATE="$(DATE)" PLATFORMS="$$($(GO) env GOOS)/$$($(GO) env GOARCH)" scripts/reproducible

servers: ## build the object stores that tests talk to; cold, that takes longer than a test may
	@cd tests/servers && for s in versitygw fake-gcs-server; do $(GO) tool -n $$s; done

postgres: ## install PostgreSQL's server binaries if they are missing and a package manager may
	@scripts/postgres

docs: ## write what is generated of docs/: acceptance, configuration, cli, and the results of tests/torture in reliability
	$(GO) test ./tests/docs -run 'TestAcceptance|TestReliability' -update
	$(GO) test ./cmd/spillway/command -run TestReference -update

tidy: ## go mod tidy
	$(GO) mod tidy

clean: ## remove what was built
	rm -rf bin dist
