package pull

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/ledger"

	"golang.org/x/crypto/ssh"
)

// A Cache says what reading says, also after any change of the files.
func TestCacheKnownHosts(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "known")
	a, b := edKey(t).PublicKey(), edKey(t).PublicKey()
	address := "router1.example:22"
	cache := &Cache{}
	// The check is made twice, as by two visits; the clock is far ahead of the
	// change, so that what was read is remembered.
	later := time.Now().Add(time.Hour)
	check := func(key ssh.PublicKey) error {
		t.Helper()
		var err error
		for range 2 {
			k, e := cache.knownHosts([]string{file}, later)
			if e != nil {
				return e
			}
			if _, e = k.host(address); e != nil {
				return e
			}
			err = k.accepts(address, &net.TCPAddr{IP: net.IPv4zero, Port: 22}, key)
			plain, e := readKnownHosts([]string{file})
			if e != nil {
				t.Fatal(e)
			}
			if want := plain.accepts(address, &net.TCPAddr{IP: net.IPv4zero, Port: 22}, key); (err == nil) != (want == nil) {
				t.Fatalf("remembered: %v, read: %v", err, want)
			}
		}
		return err
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(keyLine("router1.example", a))
	if err := errors.Join(check(a), check(a)); err != nil {
		t.Fatal(err)
	}
	if check(b) == nil {
		t.Fatal("another key was accepted")
	}
	// The same length at the same path: only times tell.
	put(keyLine("router1.example", b))
	if check(b) != nil || check(a) == nil {
		t.Fatal("a change was not seen")
	}
	put(keyLine("router1.example", b) + "@revoked * " + strings.TrimPrefix(keyLine("x", b), "x "))
	if check(b) == nil {
		t.Fatal("a revoked key was accepted")
	}
	// Replaced by another file, with the old times.
	other := filepath.Join(dir, "other")
	writeFile(t, other, []byte(keyLine("router1.example", a)), 0o600)
	if err := os.Chtimes(other, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	if check(a) != nil || check(b) == nil {
		t.Fatal("another file was not seen")
	}
	put("router1.example no-key\n")
	if check(a) == nil {
		t.Fatal("a broken file was not read")
	}
}

// What was changed a moment ago may be changed again without a trace.
func TestCacheDoesNotTrustFreshFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known")
	writeFile(t, file, []byte(keyLine("router1.example", edKey(t).PublicKey())), 0o600)
	for _, c := range []struct {
		after time.Duration
		same  bool
	}{{0, false}, {settleTime / 2, false}, {time.Hour, true}, {-time.Hour, false}} {
		cache, now := &Cache{}, time.Now().Add(c.after)
		first, err := cache.knownHosts([]string{file}, now)
		if err != nil {
			t.Fatal(err)
		}
		second, err := cache.knownHosts([]string{file}, now)
		if err != nil || (first == second) != c.same {
			t.Errorf("after %v: read again %v, %v", c.after, first != second, err)
		}
	}
}

func TestCachePrivateKey(t *testing.T) {
	dir := t.TempDir()
	one, _ := keyFile(t, dir, "one", "", 1)
	two, _ := keyFile(t, dir, "two", "secret", 2)
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cache := &Cache{}
	for _, c := range []struct {
		pem, phrase []byte
		ok          bool
	}{{read(one), nil, true}, {read(two), nil, false}, {read(two), []byte("wrong"), false}, {read(two), []byte("secret"), true}, {read(two), []byte("wrong"), false}, {read(two), nil, false}} {
		var first ssh.Signer
		for i := range 2 {
			s, err := cache.privateKey(c.pem, c.phrase)
			if (err == nil) != c.ok || i == 1 && c.ok && s != first {
				t.Fatalf("%q: %v", c.phrase, err)
			}
			first = s
		}
	}
}

// BenchmarkKnownHosts is what a visit does with a known_hosts file of a fleet.
func BenchmarkKnownHosts(b *testing.B) {
	file := filepath.Join(b.TempDir(), "known")
	var text []byte
	key := edKey(b).PublicKey()
	for i := range 10_000 {
		text = append(text, keyLine(fmt.Sprintf("router%d.example", i), key)...)
	}
	writeFile(b, file, text, 0o600)
	for name, cache := range map[string]*Cache{"read": nil, "remembered": {}} {
		b.Run(name, func(b *testing.B) {
			later := time.Now().Add(time.Hour)
			for b.Loop() {
				k, err := cache.knownHosts([]string{file}, later)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := k.host("router9000.example:22"); err != nil {
					b.Fatal(err)
				}
				if err := k.accepts("router9000.example:22", &net.TCPAddr{}, key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A device that was left with nothing open is asked what is new and the ledger is
// not written; what another process left behind is settled within the hour.
func TestCacheClean(t *testing.T) {
	r := newRig(t, scpQuirks{})
	r.o.Cache = &Cache{}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	r.o.Now = func() time.Time { return now }
	visit := func(pause time.Duration, want ...string) {
		t.Helper()
		now = now.Add(pause)
		res, err := r.pull(SFTP)
		if err != nil || !slices.Equal(outcomes(res), want) {
			t.Fatalf("%s %v", brief(res), err)
		}
	}
	r.put(actName(1), "one\n", 1)
	visit(0, actName(1)+" stored")
	visit(time.Minute)
	other := ledger.Key{Device: "router1", Path: "act", Name: actName(7), Size: 10, MTime: 5}
	if _, err := r.ledger.Discover(context.Background(), now, []ledger.Key{other}); err != nil {
		t.Fatal(err)
	}
	visit(time.Minute)
	// A new file is fetched at once, and then everything is settled.
	r.put(actName(2), "two\n", 1)
	visit(time.Minute, actName(2)+" stored", actName(7)+" lost")
	other.Name = actName(8)
	if _, err := r.ledger.Discover(context.Background(), now, []ledger.Key{other}); err != nil {
		t.Fatal(err)
	}
	visit(30 * time.Minute)
	visit(30*time.Minute, actName(8)+" lost")
	// After a visit that left something nothing is taken for granted.
	r.o.Limits.FileSize = 10
	r.put(actName(3), "three and more\n", 1)
	visit(time.Minute, actName(3)+" failed")
	if err := os.Remove(filepath.Join(r.act, actName(3))); err != nil {
		t.Fatal(err)
	}
	visit(time.Minute, actName(3)+" lost")
}
