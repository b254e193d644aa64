# `make` alone prints this file's targets.

GO       ?= go
TOOL     := $(GO) tool -modfile=internal/tools/go.mod
FUZZTIME ?= 30s
SEEDS    ?= 20
SOAK     ?= 30m
ARGS     ?=
TAGS     ?=

.DEFAULT_GOAL := help
.PHONY: help build demo test race interop faults soak trails fuzz bench bench-cluster bench-media check fmt cover vuln ui prompts

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

build: ## build bin/tandem, one binary that needs libc (TAGS=static: none, and no Opus encoder)
	CGO_ENABLED=0 $(GO) build -trimpath -tags '$(TAGS)' -o bin/tandem ./cmd/tandem

demo: build ## build and run the demo: four phones, nothing to configure (ARGS="--password x" passes flags)
	exec bin/tandem demo $(ARGS)

test: ## install what the tests need (apt-get), then run all of them: make race, make interop
	internal/tools/install-peers.sh compiler phones browser
	@$(MAKE) --no-print-directory race interop

race: ## run the tests that need no other program, with the race detector
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 10m ./...

interop: ## run the tests with real phones: sipp, baresip, linphone, ffmpeg, a browser
	$(GO) test -count=1 -tags interop -parallel 4 -timeout 10m ./internal/interop/...
	$(GO) test -count=1 -tags interop -run "VideoCallsAreRecorded|OggRecordingsAreHeard" ./rtpengine

faults: ## play SEEDS (20) random histories of faults against three nodes in fake time, the log's and those of the whole service
	TANDEM_FAULTS="$(SEEDS)" $(GO) test -count=1 -timeout 60m -run TestRandomFaultsLoseNothing ./cluster
	TANDEM_FAULTS="$(SEEDS)" $(GO) test -count=1 -timeout 60m -run 'TestNothingThatSomebodyWasToldIsLost|TestNoCallIsRoutedByAMix' .

soak: ## load three real nodes for SOAK (30m) with registrations and calls: no leader may change, nothing may grow
	SOAK=$(SOAK) bench/run.sh cluster soak

bench-cluster: ## measure what is promised of three nodes on one machine (root; about half an hour; ARGS=quick for a smoke test)
	bench/run.sh cluster $(ARGS)

trails: ## send 100,000 random calls through random dialplans, and compare each with what explain says of it
	$(GO) test -count=1 -run TestTheExplainedWayIsTheOneThatCallsGo ./dialplan -rapid.checks=2000

fuzz: ## run every fuzz target for FUZZTIME each (30s); PKG=./auth for one package
	FUZZTIME=$(FUZZTIME) internal/tools/fuzz.sh $(PKG)

bench: ## measure Tandem beside Kamailio and rtpengine on this machine, and print the tables
	internal/tools/install-peers.sh servers
	bench/run.sh $(ARGS)

bench-media: ## the media half of it, and how soon a browser hears its first sound
	internal/tools/install-peers.sh compiler phones browser servers
	bench/run.sh media $(ARGS)
	$(GO) test -count=1 -tags interop -run '^$$' -bench FirstSound -benchtime 15x ./internal/interop

ui: ## build the browser phone from admin/phone/page into admin/phone/dist (needs Node and npm)
	npm ci --prefix admin/phone/page --ignore-scripts --no-audit --no-fund --loglevel=error
	node admin/phone/page/build.mjs

prompts: ## speak what the program says to callers, rtpengine/prompts/en.txt, into rtpengine/prompts/sounds (needs espeak-ng and sox)
	rtpengine/prompts/speak.sh

check: ## quick and always green: formatting, vet, staticcheck, architecture, dead code, tidy modules
	GO="$(GO)" internal/tools/check.sh

fmt: ## format all Go files
	$(TOOL) gofumpt -w .

cover: ## say how much of the code the tests reach
	@mkdir -p bin
	$(GO) test -coverpkg=./... -coverprofile=bin/cover.out ./... >/dev/null
	@$(GO) tool cover -func=bin/cover.out | tail -n 1
	@echo "more: $(GO) tool cover -html=bin/cover.out"

vuln: ## ask the Go vulnerability database about our dependencies (needs the internet)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.6.0 ./...
