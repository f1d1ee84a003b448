package pull

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/durable"
	"acctpull/ledger"
)

func TestRecover(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, scpQuirks{})
	r.put(actName(1), "one\n", 1)
	if _, err := r.pull(SFTP); err != nil {
		t.Fatal(err)
	}
	a := dirsOf(r.data, "router1")

	// What a process leaves that was killed: temporary files, claims, files
	// that were published and not recorded, one of them torn.
	for _, dir := range []string{a.collect, a.quarantine} {
		if err := durable.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
		f, err := durable.Create(dir, actName(2), durable.DataMode)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("half"); err != nil {
			t.Fatal(err)
		}
	}
	foreign := filepath.Join(a.collect, ".tmp-not-ours")
	writeFile(t, foreign, nil, 0o600)
	now := time.Now()
	key := func(i int, size int64) ledger.Key {
		return ledger.Key{Device: "router1", Path: "act", Name: actName(i), Size: size, MTime: 7}
	}
	if _, err := r.ledger.Discover(ctx, now, []ledger.Key{key(3, 10), key(4, 4), key(5, 10)}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ledger.Claim(ctx, now, leaseOwner("host", "router1"), time.Hour, "router1", 0); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(a.sealed, actName(3)), []byte("three\nEND\n"), 0o640) // listed, published
	writeFile(t, filepath.Join(a.sealed, actName(4)), []byte("torn"), 0o640)         // listed, and not whole
	alt := filepath.Join(a.sealed, otherDir, "0123456789abcdef")
	if err := durable.MkdirAll(alt); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(alt, actName(6)), []byte("six\nEND\n"), 0o640)        // never listed
	writeFile(t, filepath.Join(a.sealed, actName(7)), []byte("one\nEND\n"), 0o640)   // a content that is known
	writeFile(t, filepath.Join(a.sealed, "notes.txt"), []byte("of a person"), 0o640) // not ours

	r.o.Owner = "host"
	rec, err := Recover(ctx, r.o)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Removed != 2 || len(rec.Adopted) != 3 || len(rec.Quarantined) != 1 || len(rec.Missing) != 0 {
		t.Fatalf("%+v", rec)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error("a file that is not ours was removed")
	}
	states := make(map[string]ledger.State)
	for row, err := range r.ledger.Files(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		if row.Owner != "" {
			t.Errorf("claim left: %+v", row)
		}
		states[row.Name] = row.State
	}
	for i, want := range map[int]ledger.State{1: ledger.Stored, 3: ledger.Stored, 4: ledger.Quarantined, 5: ledger.Discovered, 6: ledger.Stored, 7: ledger.Stored} {
		if states[actName(i)] != want {
			t.Errorf("%s is %v, want %v", actName(i), states[actName(i)], want)
		}
	}
	if _, err := os.Stat(filepath.Join(a.sealed, actName(4))); !errors.Is(err, os.ErrNotExist) {
		t.Error("the torn file is still in act/")
	}
	if b, err := os.ReadFile(filepath.Join(r.data, rec.Quarantined[0].Stored)); err != nil || string(b) != "torn" {
		t.Errorf("%q %v", b, err)
	}
	// The ledger never plans a content twice.
	batch, ok, err := r.ledger.PlanBatch(ctx, now, "exporter", time.Hour, 100, 1<<30)
	if err != nil || !ok || len(batch.Inputs) != 3 {
		t.Errorf("%d inputs, %v: %+v", len(batch.Inputs), err, batch.Inputs)
	}
	// Nothing is left for a second time.
	if rec, err = Recover(ctx, r.o); err != nil || rec.Removed != 0 || len(rec.Adopted)+len(rec.Quarantined) != 0 {
		t.Fatalf("again: %+v %v", rec, err)
	}
}

// A broken file that nobody has a claim on gets a row of its own: people see it,
// and what the device lists under its name is fetched all the same.
func TestRecoverBrokenUnlisted(t *testing.T) {
	ctx := t.Context()
	r := newRig(t, scpQuirks{})
	a := dirsOf(r.data, "router1")
	if err := durable.MkdirAll(a.sealed); err != nil {
		t.Fatal(err)
	}
	r.put(actName(1), "one\n", 1)
	if _, err := r.pull(SFTP); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(a.sealed, actName(2)), []byte("torn"), 0o640)
	rec, err := Recover(ctx, r.o)
	if err != nil || len(rec.Quarantined) != 1 {
		t.Fatalf("%+v %v", rec, err)
	}
	r.put(actName(2), "two\n", 2)
	if res, err := r.pull(SFTP); err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
	var states []ledger.State
	for row, err := range r.ledger.Files(ctx, "router1") {
		if err != nil {
			t.Fatal(err)
		}
		if row.Name != actName(2) {
			continue
		}
		states = append(states, row.State)
		if row.State != ledger.Quarantined {
			continue
		}
		n, err := ReadNote(ctx, r.o.where(), NotePath(row.Stored))
		if err != nil || n.Key != row.Key || row.Reason == "" {
			t.Errorf("%+v %+v %v", row, n, err)
		}
	}
	if want := []ledger.State{ledger.Stored, ledger.Quarantined}; len(states) != 2 || !slices.Contains(states, want[0]) || !slices.Contains(states, want[1]) {
		t.Errorf("%v, want %v", states, want)
	}
}

// A file that is published and not recorded is adopted by the next pull as well,
// without recovery.
func TestPullAdopts(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.put(actName(1), "one\n", 1)
	a := dirsOf(r.data, "router1")
	if err := durable.MkdirAll(a.sealed); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(a.sealed, actName(1)), []byte("one\nEND\n"), 0o640)
	res, err := r.pull(SFTP)
	if err != nil || res.Count(Stored) != 1 || res.Files[0].Warning != "" || res.Files[0].Stored != "devices/router1/act/"+actName(1) {
		t.Fatalf("%s %v", brief(res), err)
	}
}

func TestRecoverIsLoud(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, scpQuirks{})
	for i := range 3 {
		r.put(actName(i), strings.Repeat("x", i), 1)
	}
	res, err := r.pull(SFTP)
	if err != nil {
		t.Fatal(err)
	}
	// A stored file that is not there.
	lost := filepath.Join(r.data, res.Files[1].Stored)
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	rec, err := Recover(ctx, r.o)
	oneLineError(t, err)
	var e *Error
	if !errors.Is(err, ErrStateLost) || len(rec.Missing) != 1 || !errors.As(err, &e) || e.Hint() == "" || e.File != actName(1) {
		t.Fatalf("%+v %v", rec, err)
	}
	// A ledger that is gone.
	if err := r.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(filepath.Join(r.data, "ledger.db"+suffix))
	}
	r.openLedger()
	_, err = Recover(ctx, r.o)
	oneLineError(t, err)
	if !errors.Is(err, ErrStateLost) || !errors.As(err, &e) || e.Hint() == "" {
		t.Fatal(err)
	}
	// A verification that cannot read says nothing about the file.
	if _, err := r.ledger.Discover(ctx, time.Now(), []ledger.Key{{Device: "router1", Path: "act", Name: actName(9), Size: 1}}); err != nil {
		t.Fatal(err)
	}
	r.o.Verify = func(_ context.Context, p string) (Verified, error) {
		_, err := os.Open(p + "x")
		return Verified{}, err
	}
	if _, err = Recover(ctx, r.o); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.data, res.Files[0].Stored)); err != nil {
		t.Error(err)
	}
	// An empty data directory is nothing to recover.
	fresh := newRig(t, scpQuirks{})
	if rec, err := Recover(ctx, fresh.o); err != nil || rec.Removed != 0 {
		t.Fatalf("%+v %v", rec, err)
	}
}

// The claims of a process that was killed do not stop the next one.
func TestDeadClaims(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, scpQuirks{})
	r.put(actName(1), "one\n", 7)
	r.o.Owner = "host"
	if _, err := r.ledger.Discover(ctx, time.Now(), []ledger.Key{{Device: "router1", Path: "act", Name: actName(1), Size: 8, MTime: 7}}); err != nil {
		t.Fatal(err)
	}
	claims, err := r.ledger.Claim(ctx, time.Now(), leaseOwner("host", "router1"), time.Hour, "router1", 0)
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	res, err := r.pull(SFTP)
	if err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
	// The claims of somebody who lives do.
	r.put(actName(2), "two\n", 7)
	if _, err := r.ledger.Discover(ctx, time.Now(), []ledger.Key{{Device: "router1", Path: "act", Name: actName(2), Size: 8, MTime: 7}}); err != nil {
		t.Fatal(err)
	}
	if claims, err = r.ledger.Claim(ctx, time.Now(), "another", time.Hour, "router1", 0); err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	if res, err = r.pull(SFTP); err != nil || res.Busy != 1 || len(res.Files) != 0 {
		t.Fatalf("%s %v", brief(res), err)
	}
}

// A lease that runs out and is taken by another during the fetch: our work is
// thrown away, and nothing is stored twice.
func TestLeaseLost(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, scpQuirks{})
	r.put(actName(1), "one\n", 7)
	r.o.Verify = func(ctx context.Context, p string) (Verified, error) {
		later := time.Now().Add(2 * time.Hour)
		if claims, err := r.ledger.Claim(ctx, later, "another", time.Hour, "router1", 0); err != nil || len(claims) != 1 {
			t.Errorf("%+v %v", claims, err)
		}
		return verifyEnd(ctx, p)
	}
	res, err := r.pull(SFTP)
	if err != nil || res.Count(Failed) != 1 || res.Files[0].Reason != "another process took it over" || len(r.stored()) != 0 {
		t.Fatalf("%s %v", brief(res), err)
	}
	if n, err := r.ledger.ReleaseOwner(ctx, "another"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	r.o.Verify = verifyEnd
	if res, err = r.pull(SFTP); err != nil || res.Count(Stored) != 1 {
		t.Fatalf("%s %v", brief(res), err)
	}
}
