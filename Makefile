.PHONY: all test race bench bench-pull docs fmt packages ci

all: fmt test

fmt:
	gofmt -w $$(git ls-files '*.go')
	go vet ./...

test:
	go test ./...

race:
	go test -race ./...

# Speed, as ratios against a baseline in the same run. Nothing here is a test.
bench:
	go test -run '^$$' -bench . -benchtime 3x -timeout 30m ./record ./export ./policy ./flash ./retention ./ledger ./pull ./internal/simdevice

# The pull service beside rclone, lftp, rsync, sftp and scp, against a real OpenSSH
# server on loopback, in one run; docs/performance.md explains the tables.
bench-pull:
	go test -run '^$$' -bench '^Benchmark(Peers|Fleet|IdlePoll|KnownHosts)$$' -benchtime 1x -timeout 60m ./pull

# The generated documents: data dictionary, configuration reference, events, schema.
docs:
	go test ./record -run 'Dictionary|XSD' -update
	go test ./policy -run 'Documentation|TestSchema$$' -update
	go test ./event -run TestDocs -update

# A static program, a deb and an rpm in dist/. VERSION=1.2.3 names them.
packages:
	packaging/build $(or $(VERSION),0.0.0-dev) dist

ci:
	bash .ci/run
