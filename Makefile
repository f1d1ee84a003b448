.PHONY: all test race bench docs fmt ci

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

# The generated documents: data dictionary, configuration reference, events, schema.
docs:
	go test ./record -run 'Dictionary|XSD' -update
	go test ./policy -run 'Documentation|TestSchema$$' -update
	go test ./event -run TestDocs -update

ci:
	bash .ci/run
