package coverage

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

// certified is a month of a device on which some things went wrong.
func certified(t *testing.T, change func(*world)) *Certificate {
	t.Helper()
	w := newWorld(t, policy(10), policy(20))
	w.device.Name = "dut \x1b[31m<b>"
	w.fetch = func(f *wfile) FileState {
		switch slices.Index(w.all, f) {
		case 4:
			return Gone
		case 9:
			return Quarantined
		}
		return Here
	}
	w.run(40 * time.Hour)
	w.blind = true
	w.run(30 * time.Hour)
	w.blind = false
	w.run(24 * time.Hour)
	if change != nil {
		change(w)
	}
	w.device.Life = w.life()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	to := from.AddDate(0, 1, 0)
	return NewCertificate(from, to, []CertificateDevice{Certify(w.device, from, to, 0)})
}

func bytesOf(t *testing.T, c *Certificate) []byte {
	t.Helper()
	text, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The same facts give the same bytes, in whatever order they come.
func TestCertificateIsReproducible(t *testing.T) {
	a := bytesOf(t, certified(t, nil))
	b := bytesOf(t, certified(t, func(w *world) { slices.Reverse(w.device.Files); slices.Reverse(w.device.Visits) }))
	if !bytes.Equal(a, b) {
		t.Errorf("%s\nis not\n%s", a, b)
	}
	c, err := ParseCertificate(a)
	if err != nil {
		t.Fatal(err)
	}
	if again := bytesOf(t, c); !bytes.Equal(a, again) {
		t.Error("it is another one after it was read")
	}
	n := c.Totals
	if n.Expected == 0 || n.Lost == 0 || n.Corrupt == 0 || n.Late == 0 || n.Expected != n.Received+n.Waiting+n.Gaps {
		t.Errorf("%+v", n)
	}
}

// Every changed byte is found.
func TestCertificateForged(t *testing.T) {
	text := bytesOf(t, certified(t, nil))
	for i := 0; i < len(text); i += 1 + min(i, max(len(text)-300-i, 0), 97) { // its ends byte by byte
		for _, bit := range []byte{1, 4} {
			forged := bytes.Clone(text)
			forged[i] ^= bit
			if _, err := ParseCertificate(forged); err == nil && !bytes.Equal(bytes.TrimSpace(forged), bytes.TrimSpace(text)) && i < len(text)-3 {
				t.Fatalf("byte %d may be %q", i, forged[i])
			}
		}
	}
	c := certified(t, nil)
	c.Totals.Received++
	if _, err := ParseCertificate(bytesOf(t, c)); !errors.Is(err, ErrForged) {
		t.Errorf("numbers that do not add up: %v", err)
	}
}

func TestCertificateCompare(t *testing.T) {
	c := certified(t, nil)
	if all := c.Compare(certified(t, nil)); len(all) > 0 {
		t.Error(all)
	}
	later := certified(t, func(w *world) { w.run(24 * time.Hour) })
	if all := c.Compare(later); len(all) > 0 {
		t.Error("what came since is no disagreement:", all)
	}
	gone := certified(t, func(w *world) { w.device.Files = slices.Delete(w.device.Files, 20, 21) })
	if all := c.Compare(gone); len(all) != 2 || all[0].File == "" {
		t.Error(all)
	}
	changed := certified(t, func(w *world) { w.device.Files[20].SHA256 = "other" })
	if all := c.Compare(changed); len(all) != 1 || all[0].File == "" {
		t.Error(all)
	}
	if all := c.Compare(&Certificate{}); len(all) != 1 {
		t.Error(all)
	}
}

// Whatever is read is a certificate or an error, and a certificate that is
// accepted says the same after it was written again.
func FuzzCertificate(f *testing.F) {
	f.Add([]byte("{\n  \"digest\": \"\"\n}\n"))
	text, err := NewCertificate(dawn, dawn.AddDate(0, 1, 0), []CertificateDevice{{Device: "a", Policies: []CertificatePolicy{}, Files: []CertificateFile{}}}).Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCertificate(text)
		if err != nil {
			return
		}
		again, err := c.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCertificate(again); err != nil {
			t.Fatal(err)
		}
	})
}
