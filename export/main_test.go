package export

import (
	"fmt"
	"os"
	"testing"

	"acctpull/internal/durable"
)

// TestMain lets the test binary be the child that some tests start.
func TestMain(m *testing.M) {
	for env, child := range map[string]func(string) error{
		memoryEnv:  memoryChild,
		crashEnv:   crashChild,
		replaceEnv: replaceChild,
		compactEnv: compactChild,
	} {
		if arg := os.Getenv(env); arg != "" {
			if err := child(arg); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// fileSum is the hash of a file.
func fileSum(path string) (string, error) {
	sum, _, err := durable.Sum(path)
	return sum, err
}
