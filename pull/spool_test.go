package pull

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/internal/depot"
	"acctpull/ledger"
)

// awayDepot is a depot behind a line that can be down.
type awayDepot struct {
	depot.Depot
	down bool
}

func (d *awayDepot) Publish(ctx context.Context, files []depot.File) ([]depot.Placement, error) {
	if d.down {
		return nil, errors.New("the store is away")
	}
	return d.Depot.Publish(ctx, files)
}

// While the store is away files are fetched all the same and wait in the spool:
// what expires on the device meanwhile is not lost, nothing is fetched twice,
// and when the store is back everything is stored once.
func TestSpool(t *testing.T) {
	r := newRig(t, scpQuirks{})
	away := &awayDepot{Depot: depot.NewDir(r.data), down: true}
	r.o.Depot = away
	for i := range 3 {
		r.put(actName(i), strings.Repeat("x", 10+i)+"\n", 1)
	}
	spool := filepath.Join(dirsOf(r.data, "router1").collect, spoolDir)
	waiting := func(want int) {
		t.Helper()
		if names, err := os.ReadDir(spool); err != nil || len(names) != want {
			t.Fatalf("%d files wait, want %d: %v", len(names), want, err)
		}
	}
	if res, err := r.pull(SFTP); err == nil || res.Count(Stored) != 0 {
		t.Fatalf("%s %v", brief(res), err)
	}
	waiting(3)

	// One expires on the device, one more comes.
	if err := os.Remove(filepath.Join(r.act, actName(0))); err != nil {
		t.Fatal(err)
	}
	r.put(actName(3), "later\n", 2)
	res, err := r.pull(SFTP)
	if err == nil || res.Count(Lost) != 0 || res.Count(Stored) != 0 || res.Count(Failed) != 3 {
		t.Fatalf("%s %v", brief(res), err)
	}
	waiting(4)
	if res, err = r.pull(SFTP); err != nil || res.Count(Failed) != 4 || !strings.Contains(res.Files[0].Reason, "the store is away") {
		t.Fatalf("nothing new: %s %v", brief(res), err)
	}

	// The disk spoils one that is still on the device.
	names, err := os.ReadDir(spool)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n.Name(), actName(1)) {
			writeFile(t, filepath.Join(spool, n.Name()), []byte("spoiled\n"), 0o640)
		}
	}
	away.down = false
	if res, err = r.pull(SFTP); err != nil || res.Count(Stored) != 4 {
		t.Fatalf("%s %v", brief(res), err)
	}
	waiting(0)
	got := r.stored()
	if len(got) != 4 || got[actName(0)] != strings.Repeat("x", 10)+"\nEND\n" || got[actName(3)] != "later\nEND\n" {
		t.Fatalf("%q", got)
	}
	if res, err = r.pull(SFTP); err != nil || len(res.Files) != 0 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

// A process that dies between the store and the ledger, or between the ledger
// and the spool, leaves files that are recorded once.
func TestSpoolAfterCrash(t *testing.T) {
	r := newRig(t, scpQuirks{})
	away := &awayDepot{Depot: depot.NewDir(r.data), down: true}
	r.o.Depot = away
	r.put(actName(1), "one\n", 1)
	r.put(actName(2), "two\n", 1)
	if _, err := r.pull(SFTP); err == nil {
		t.Fatal("no error")
	}
	spool := filepath.Join(dirsOf(r.data, "router1").collect, spoolDir)
	copies := t.TempDir()
	if err := os.CopyFS(copies, os.DirFS(spool)); err != nil {
		t.Fatal(err)
	}
	away.down = false
	for range 2 {
		if _, err := r.pull(SFTP); err != nil {
			t.Fatal(err)
		}
		if got := r.stored(); len(got) != 2 {
			t.Fatalf("%q", got)
		}
		batch := 0
		for row, err := range r.ledger.Files(t.Context(), "router1") {
			if err != nil {
				t.Fatal(err)
			}
			if row.State == ledger.Stored && row.AliasOf == "" {
				batch++
			}
		}
		if batch != 2 {
			t.Fatalf("%d files would be exported, want 2", batch)
		}
		// As if the spool had not been emptied.
		if err := os.CopyFS(spool, os.DirFS(copies)); err != nil {
			t.Fatal(err)
		}
	}
}
