package ledger

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// What fails because a write was stopped says that it was stopped, whatever name
// the driver has for it: rows that are closed under a reader have none.
func TestStoppedWrite(t *testing.T) {
	l, err := Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	closed := errors.New("sql: Rows are closed")
	err = l.write(ctx, "plan", func(*transaction) error { cancel(); return closed })
	if !errors.Is(err, context.Canceled) || !errors.Is(err, closed) {
		t.Errorf("stopped: %v", err)
	}
	if err := l.write(t.Context(), "plan", func(*transaction) error { return closed }); !errors.Is(err, closed) || errors.Is(err, context.Canceled) {
		t.Errorf("not stopped: %v", err)
	}
}
