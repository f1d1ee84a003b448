package pull

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

func TestHostKeysList(t *testing.T) {
	a, b, c := edKey(t), edKey(t), edKey(t)
	file := filepath.Join(t.TempDir(), "known_hosts")
	text := "# hosts\n\n" + keyLine("edge1", a.PublicKey()) +
		keyLine(xknownhosts.HashHostname("edge1"), b.PublicKey()) +
		"@cert-authority " + keyLine("*.example,!bad.example", c.PublicKey()) +
		strings.TrimSuffix(keyLine("[edge1]:2022", b.PublicKey()), "\n") + " approved 2026-01-02T03:04:05Z by ana\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "none")
	for _, tc := range []struct {
		host  string
		port  int
		lines []int
	}{
		{"", 0, []int{3, 4, 5, 6}}, {"edge1", 0, []int{3, 4}}, {"edge1", 2022, []int{6}},
		{"x.example", 22, []int{5}}, {"bad.example", 22, nil}, {"edge2", 22, nil},
	} {
		keys, err := HostKeys([]string{missing, file}, tc.host, tc.port)
		if err != nil {
			t.Fatal(err)
		}
		var lines []int
		for _, k := range keys {
			lines = append(lines, k.Line)
		}
		if !slices.Equal(lines, tc.lines) {
			t.Errorf("%s:%d is in lines %v, want %v", tc.host, tc.port, lines, tc.lines)
		}
	}
	keys, _ := HostKeys([]string{file}, "edge1", 2022)
	if k := keys[0]; k.Comment != "approved 2026-01-02T03:04:05Z by ana" || k.Fingerprint != ssh.FingerprintSHA256(b.PublicKey()) || k.File != file {
		t.Errorf("%+v", k)
	}
	if err := os.WriteFile(file, []byte("a b c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := HostKeys([]string{file}, "", 0); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("%v", err)
	}
}

func TestWildcard(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "x", true}, {"*", "", true}, {"", "", true}, {"", "x", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"*.example", "a.b.example", true}, {"*.example", "example", false}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "aXc", false},
		{"**a", "ba", true}, {"x", "X", false},
	} {
		if got := wildcard(tc.pattern, tc.name); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.name, got)
		}
	}
}

// A revoked key is refused for every host, also where another line trusts it,
// and cannot be approved again. A second time nothing happens.
func TestRevokeHostKey(t *testing.T) {
	old, fresh := edKey(t), edKey(t)
	s := newServer(t, old).start()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	file := filepath.Join(t.TempDir(), "known_hosts")
	keys, err := scanAt(context.Background(), s.address, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	print := ssh.FingerprintSHA256(old.PublicKey())
	if _, err := RevokeHostKey(file, print, Decision{}); err == nil {
		t.Fatal("a key was revoked in a file that is not there")
	}
	if _, err := ApproveHostKey(file, "127.0.0.1", s.port(), keys[0], print, Decision{By: "ana", At: at}); err != nil {
		t.Fatal(err)
	}
	listed, err := HostKeys([]string{file}, "127.0.0.1", s.port())
	if err != nil || len(listed) != 1 || listed[0].Comment != "approved 2026-03-01T11:00:00Z by ana" {
		t.Fatalf("%+v %v", listed, err)
	}
	if _, err := RevokeHostKey(file, ssh.FingerprintSHA256(fresh.PublicKey()), Decision{}); !errors.Is(err, ErrNoHostKey) {
		t.Fatalf("%v", err)
	}
	other := keyLine("elsewhere", fresh.PublicKey())
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(append(b, keyLine("10.0.0.*", old.PublicKey())...), other...), 0o600); err != nil {
		t.Fatal(err)
	}
	gone, err := RevokeHostKey(file, print, Decision{By: "bob", At: at})
	if err != nil || len(gone) != 2 {
		t.Fatalf("%+v %v", gone, err)
	}
	want := other + "@revoked * " + old.PublicKey().Type() + " " + keyText(old.PublicKey()) + " revoked 2026-03-01T11:00:00Z by bob\n"
	if b, err = os.ReadFile(file); err != nil || string(b) != want {
		t.Fatalf("%v\ngot  %q\nwant %q", err, b, want)
	}
	if gone, err := RevokeHostKey(file, print, Decision{}); err != nil || gone != nil {
		t.Fatalf("%v %v", gone, err)
	}
	if _, err := ApproveHostKey(file, "127.0.0.1", s.port(), keys[0], print, Decision{}); err == nil {
		t.Fatal("a revoked key was approved")
	}
	trusting := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(trusting, []byte(keyLine("[127.0.0.1]:"+strconv.Itoa(s.port()), old.PublicKey())), 0o600); err != nil {
		t.Fatal(err)
	}
	check, err := newHostKeyCheck(nil, []string{trusting, file}, s.address, ssh.SupportedAlgorithms())
	if err != nil {
		t.Fatal(err)
	}
	var e *HostKeyError
	if err := check.callback("", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.port()}, old.PublicKey()); !errors.As(err, &e) || e.Problem != HostKeyRevoked {
		t.Fatalf("%v", err)
	}
}

// A changed key names what it replaces, in the file and to the caller.
func TestApproveReplaces(t *testing.T) {
	fresh, old := edKey(t), edKey(t)
	s := newServer(t, fresh).start()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(keyLine("[127.0.0.1]:"+strconv.Itoa(s.port()), old.PublicKey())), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := scanAt(context.Background(), s.address, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := ApproveHostKey(file, "127.0.0.1", s.port(), keys[0], keys[0].Fingerprint, Decision{At: time.Unix(0, 0)})
	was := ssh.FingerprintSHA256(old.PublicKey())
	if err != nil || !done.Changed || len(done.Replaced) != 1 || done.Replaced[0].Fingerprint != was || done.Replaced[0].Line != 1 {
		t.Fatalf("%+v %v", done, err)
	}
	listed, err := HostKeys([]string{file}, "", 0)
	if err != nil || len(listed) != 1 || listed[0].Comment != "approved 1970-01-01T00:00:00Z, replaces "+was {
		t.Fatalf("%+v %v", listed, err)
	}
}
