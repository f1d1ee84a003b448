package ledger_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/ledger"
)

// copied copies a ledger that is open, as a crash would leave it.
func copied(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		text, err := os.ReadFile(from + suffix)
		ok(t, err)
		ok(t, os.WriteFile(to+suffix, text, 0o600))
	}
}

// flip flips one bit of a file and returns how to undo it.
func flip(t *testing.T, path string, bit int64) func() {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], bit/8)
	ok(t, err)
	b[0] ^= 1 << (bit % 8)
	_, err = f.WriteAt(b[:], bit/8)
	ok(t, err)
	return func() { flip(t, path, bit) }
}

// A closed ledger is sealed: any flipped bit is found, in bytes that hold
// nothing too. An open one that was written to is not.
func TestSeal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	filled(t, path, 20)
	sealed := func(want bool) {
		t.Helper()
		got, err := ledger.CheckSeal(path)
		ok(t, err)
		if got != want {
			t.Fatalf("sealed: %t, want %t", got, want)
		}
	}
	sealed(true)

	size := fileSize(t, path)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		bit := rnd.Int64N(size * 8)
		undo := flip(t, path, bit)
		if _, err := ledger.CheckSeal(path); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("bit %d: %v", bit, err)
		}
		undo()
	}
	for bit := range fileSize(t, path+"-sum") * 8 {
		undo := flip(t, path+"-sum", bit)
		if _, err := ledger.CheckSeal(path); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("bit %d of the seal: %v", bit, err)
		}
		undo()
	}
	sealed(true)

	// Reading leaves the seal alone; the first write takes it off before
	// anything else, and the last process to close makes it anew.
	a, err := ledger.Open(t.Context(), path)
	ok(t, err)
	sealed(true)
	b, err := ledger.Open(t.Context(), path)
	ok(t, err)
	_, err = a.Discover(t.Context(), start, []ledger.Key{key("r9", "act1101-20260102-030405.xml.gz")})
	ok(t, err)
	sealed(false)
	ok(t, a.Close())
	sealed(false)
	_, err = b.Discover(t.Context(), start, []ledger.Key{key("r9", "act1101-20260102-030406.xml.gz")})
	ok(t, err)
	ok(t, b.Close())
	sealed(true)
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	ok(t, err)
	return st.Size()
}

// Every flipped bit of a log that a crash left is found before SQLite opens it
// and takes it for the end.
func TestFlippedLog(t *testing.T) {
	dir := t.TempDir()
	live, dead := filepath.Join(dir, "live.db"), filepath.Join(dir, "dead.db")
	l, err := ledger.Open(t.Context(), live)
	ok(t, err)
	defer l.Close()
	for i := range 8 {
		_, err := l.Discover(t.Context(), start, []ledger.Key{key("r1", fmt.Sprintf("act1101-2026010%d-030405.xml.gz", i+1))})
		ok(t, err)
	}
	ok(t, ledger.CheckLog(live))
	copied(t, live, dead)
	ok(t, ledger.CheckLog(dead))
	size := fileSize(t, dead+"-wal")
	if size < 20_000 {
		t.Fatalf("the log has %d bytes", size)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 300 {
		bit := rnd.Int64N(size * 8)
		if i < 256 { // all of the header
			bit = int64(i)
		}
		undo := flip(t, dead+"-wal", bit)
		if err := ledger.CheckLog(dead); !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), "log") {
			t.Errorf("bit %d: %v", bit, err)
		}
		undo()
	}
	// A frame that was not written to its end is no damage.
	ok(t, os.Truncate(dead+"-wal", size-100))
	ok(t, ledger.CheckLog(dead))
}

func FuzzCheckLog(f *testing.F) {
	f.Add([]byte("\x37\x7f\x06\x82\x00\x2d\xe2\x18\x00\x00\x10\x00"))
	path := filepath.Join(f.TempDir(), "ledger.db")
	f.Fuzz(func(t *testing.T, log []byte) {
		ok(t, os.WriteFile(path+"-wal", log, 0o600))
		if err := ledger.CheckLog(path); err != nil && !errors.Is(err, ledger.ErrDamaged) {
			t.Error(err)
		}
	})
}
