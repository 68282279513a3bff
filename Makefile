# parley: what can be done here. `make` prints this list.
# Every target is one honest command; CI runs `make test` and nothing else.

GO       ?= go
RACE     ?= -race
PACKAGES := $(shell $(GO) list ./... 2>/dev/null)
APT      := pidgin-sipe libpurple0 libpurple-dev libglib2.0-dev libxml2-dev libxml2-utils gcc make pkg-config

.PHONY: help
help: ## print the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the programs into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/parley ./cmd/parley-verify ./cmd/parley-bench

.PHONY: man
man: ## write the manual pages into bin/man
	$(GO) run ./cmd/parley man bin/man

.PHONY: test
test: deps lint ## every test: lint, race tests, the real client (installs its packages on Debian as root)
	$(GO) test $(RACE) -vet=off -timeout 15m ./...

.PHONY: lint
lint: ## gofmt, vet, staticcheck, tidy go.mod
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt these:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

.PHONY: deps
deps: ## install what the tests of the real client and of XML need (Debian, root); elsewhere say what is missing
	@if pkg-config --exists purple glib-2.0 libxml-2.0 2>/dev/null && command -v gcc >/dev/null && command -v xmllint >/dev/null && ls /usr/lib/purple-2/libsipe.so >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(APT) >/dev/null; \
	else echo "the tests of the real client and of XML need these Debian packages: $(APT)"; [ -z "$$CI" ] || exit 1; fi

.PHONY: bench
bench: ## short benchmarks, each with its baseline in the same run; writes the table of docs/performance.md
	$(GO) run ./cmd/parley-bench all --short --write docs/performance.md

.PHONY: drill
drill: ## kill -9 of the leader under load, 20 rounds, separate processes
	$(GO) test -count=1 -timeout 30m -run TestKillLeader ./cmd/parley/... -drill.rounds=20 -v

.PHONY: soak
soak: ## long simulation of the pool with faults; the crash matrix of compliance, 1,000 runs and more; 12,000 alterations of a log
	$(GO) test -count=1 -timeout 30m -run 'TestCrashMatrix|TestSeeds' ./compliance -compliance.matrix=1000 -compliance.seeds=500 -v
	$(GO) test -count=1 -timeout 30m -run TestTamper ./log -tamper.n=12000 -v
	$(GO) test -count=1 -timeout 120m -run TestSeeds ./raftnode/sim -sim.seeds=2000 -v

.PHONY: fuzz
fuzz: ## a minute of fuzzing for each decoder
	$(GO) test -run XXX -fuzz FuzzParseEntry -fuzztime 60s ./log/event
	$(GO) test -run XXX -fuzz FuzzUnmarshal -fuzztime 60s ./log/event
	$(GO) test -run XXX -fuzz FuzzReadFrame -fuzztime 60s ./raftnode
	$(GO) test -run XXX -fuzz FuzzRequest -fuzztime 60s ./projections/chat/command
	$(GO) test -run XXX -fuzz FuzzReply -fuzztime 60s ./projections/chat/command
	$(GO) test -run XXX -fuzz FuzzDecode -fuzztime 60s ./sipfront/xccos
	$(GO) test -run XXX -fuzz FuzzParse -fuzztime 60s ./sipfront/xccos/xmltree
	$(GO) test -run XXX -fuzz FuzzText -fuzztime 60s ./sipfront/xccos/content
	$(GO) test -run XXX -fuzz FuzzCut -fuzztime 60s ./sipfront/flow
	$(GO) test -run XXX -fuzz FuzzParsePublish -fuzztime 60s ./sipfront/presence
	$(GO) test -run XXX -fuzz FuzzParse -fuzztime 60s ./sipfront/digest

.PHONY: vuln
vuln: ## known vulnerabilities in what we use (asks a database on the network)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...
