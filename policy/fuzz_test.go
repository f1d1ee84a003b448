package policy

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"testing"
	"time"
)

// Whatever the text, Load returns a Set that keeps every rule or a *ConfigError
// that says why not.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(valid))
	for _, c := range ruleTable {
		f.Add([]byte(c.new))
	}
	if example, err := os.ReadFile("testdata/example.yaml"); err == nil {
		f.Add(example)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Load(data)
		if err != nil {
			var ce *ConfigError
			if !errors.As(err, &ce) || len(ce.Violations) == 0 || s != nil {
				t.Fatalf("error %v, set %v", err, s)
			}
			return
		}
		if _, err := New(s.Config()); err != nil {
			t.Fatalf("a Set breaks rules: %v", err)
		}
	})
}

// What parseBaselines takes is exactly what formatBaselines writes.
func FuzzBaselines(f *testing.F) {
	good, err := formatBaselines("service-ingress-octets", baselines{
		{Access, "1/1/1:1", ""}: {at: time.Unix(1e9, 0).UTC(), epoch: "boot", rows: []baselineRow{{Sub: "sio", Scope: "per SAP", Counters: []baselineValue{{"ioo", 1 << 63}}}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}\ncrc32c 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// A checksum that fits lets the rest be reached.
		text, _, _ := bytes.Cut(data, []byte("\n"))
		text = append(slices.Clip(text), '\n')
		for _, d := range [][]byte{data, fmt.Appendf(slices.Clip(text), "crc32c %08x\n", crc32.Checksum(text, castagnoli))} {
			base, err := parseBaselines(d, "service-ingress-octets")
			if err != nil {
				continue
			}
			again, err := formatBaselines("service-ingress-octets", base)
			if err != nil || !bytes.Equal(again, d) {
				t.Errorf("%q is taken and written as %q: %v", d, again, err)
			}
		}
	})
}
