package simdevice

import (
	"testing"

	"golang.org/x/crypto/ssh"
)

// RSA keys from a seed are keys: they have 2048 bits, what they sign is
// verified, and another seed gives another one.
func TestSeededRSA(t *testing.T) {
	seen := map[string]bool{}
	for n := range byte(3) {
		key := seededRSA([32]byte{n})
		must(t, key.Validate())
		if key.N.BitLen() != 2048 || seen[key.N.String()] {
			t.Errorf("seed %d: %d bits", n, key.N.BitLen())
		}
		seen[key.N.String()] = true
		signer, err := ssh.NewSignerFromKey(key)
		must(t, err)
		signature, err := signer.Sign(nil, []byte("text"))
		must(t, err)
		must(t, signer.PublicKey().Verify([]byte("text"), signature))
	}
	if again := seededRSA([32]byte{1}); !seen[again.N.String()] {
		t.Error("the same seed gave another key")
	}
}

func BenchmarkSeededRSA(b *testing.B) {
	for n := range b.N {
		seededRSA([32]byte{byte(n), byte(n >> 8)})
	}
}
