package durable

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"
)

// Every flipped bit of a file with a digest is found, those of the last line too.
func TestDigest(t *testing.T) {
	d := Digest{`{"digest":"`, `"}`}
	path := filepath.Join(t.TempDir(), "note")
	text := []byte("one\ntwo\n")
	h := sha256.New()
	h.Write(text)
	whole := d.Append(text)
	if want := string(text) + string(d.Line(h)); string(whole) != want {
		t.Fatalf("%q, want %q", whole, want)
	}
	write(t, path, string(whole))
	if err := d.CheckFile(path); err != nil {
		t.Fatal(err)
	}
	for bit := range len(whole) * 8 {
		flipped := append([]byte(nil), whole...)
		flipped[bit/8] ^= 1 << (bit % 8)
		write(t, path, string(flipped))
		if err := d.CheckFile(path); !errors.Is(err, ErrDigest) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	for n := range len(whole) {
		write(t, path, string(whole[:n]))
		if err := d.CheckFile(path); !errors.Is(err, ErrDigest) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	write(t, path, string(d.Append(nil)))
	if err := d.CheckFile(path); err != nil {
		t.Fatal(err)
	}
}
