package simdevice

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"

	"acctpull/internal/actserver"

	"golang.org/x/crypto/ssh"
)

// variant is what a client can find under one address.
type variant struct{ legacy, changedKey, scpOnly bool }

// variant is the one that a new connection finds now.
func (d *Device) variant(f *Faults) variant {
	return variant{legacy: d.o.Legacy || f.Legacy, changedKey: f.ChangeHostKey, scpOnly: d.o.SCPOnly || f.SCPOnly}
}

// server returns the server of a variant, and makes it first if there is none
// yet.
func (d *Device) server(v variant) (*actserver.Server, error) {
	if err := d.makeDirs(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.servers[v]; s != nil {
		return s, nil
	}
	key, err := d.makeHostKey(v)
	if err != nil {
		return nil, err
	}
	s, err := actserver.New(d.serverOptions(v, key))
	if err != nil {
		return nil, err
	}
	if d.servers == nil {
		d.servers = make(map[variant]*actserver.Server, 1)
	}
	d.servers[v] = s
	return s, nil
}

func (d *Device) serverOptions(v variant, key ssh.Signer) actserver.Options {
	o := actserver.Options{
		Root:                d.ActDir(),
		HostKeys:            []ssh.Signer{key},
		KeyboardInteractive: d.o.KeyboardInteractive && len(d.o.Passwords) > 0,
		NoSFTP:              v.scpOnly,
		Length:              d.length,
		Alter:               d.alter,
		Prepare:             d.prepare,
		CLI:                 d.cli(),
		Limits:              d.o.Limits,
		Hooks:               d.o.Hooks,
	}
	if d.o.ShowCollect {
		o.Collect = d.CollectDir()
	}
	if len(d.o.Keys) > 0 {
		allowed := actserver.AuthorizedKeys(d.o.Keys)
		o.Authorized = func(user string, key ssh.PublicKey) bool { return !d.faults.Load().RefuseAuth && allowed(user, key) }
	}
	if len(d.o.Passwords) > 0 {
		allowed := actserver.Passwords(d.o.Passwords)
		o.Password = func(user string, password []byte) bool { return !d.faults.Load().RefuseAuth && allowed(user, password) }
	}
	if v.legacy {
		o.Algorithms = legacyAlgorithms()
	}
	return o
}

// flashSize is the size of the flash card, as the command line tells it.
const flashSize = 1 << 30

// cli is the command line of the device.
func (d *Device) cli() *actserver.CLI {
	c := &actserver.CLI{System: d.o.Name, MD: d.o.MDCLI, Now: d.Time, Free: d.free}
	if d.life != nil {
		c.Booted = d.life.booted
	}
	return c
}

// free is how many bytes are free on the flash.
func (d *Device) free() int64 {
	if d.Faults().FullFlash {
		return 0
	}
	left := int64(flashSize)
	entries, err := os.ReadDir(d.ActDir())
	if err != nil {
		return left
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			left -= info.Size()
		}
	}
	return max(left, 0)
}

// legacyAlgorithms is what an old device offers: SHA-1 and CBC only.
func legacyAlgorithms() *ssh.Algorithms {
	return &ssh.Algorithms{
		KeyExchanges:   []string{ssh.InsecureKeyExchangeDH14SHA1, ssh.InsecureKeyExchangeDH1SHA1},
		Ciphers:        []string{ssh.InsecureCipherAES128CBC, ssh.InsecureCipherTripleDESCBC},
		MACs:           []string{ssh.HMACSHA1},
		HostKeys:       []string{ssh.KeyAlgoRSA},
		PublicKeyAuths: []string{ssh.KeyAlgoRSA, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoED25519},
	}
}

// length is how much of a file the device admits to.
func (d *Device) length(name string, size int64) int64 {
	if d.faults.Load().TruncateGzip && strings.HasSuffix(name, ".gz") {
		return size / 2
	}
	return size
}

// alter is what the flash gives back.
func (d *Device) alter(size int64, p []byte, off int64) {
	if i := size/2 - off; d.faults.Load().CorruptByte && i >= 0 && i < int64(len(p)) {
		p[i] ^= 0xff
	}
}

// prepare brings act/ up to date before a client sees it.
func (d *Device) prepare(listing bool) error {
	if d.life == nil {
		return nil
	}
	if listing {
		d.listed.Store(true)
	} else if n := d.faults.Load().Vanish; n > 0 && d.listed.Swap(false) {
		d.life.vanish(n)
	}
	return d.life.show()
}

// makeHostKey makes the key of a variant. The same seed gives the same keys, so
// that a device keeps its identity over restarts without a file.
func (d *Device) makeHostKey(v variant) (ssh.Signer, error) {
	if d.o.HostKey != nil && !v.changedKey && v.legacy == d.o.Legacy {
		return d.o.HostKey, nil
	}
	kind := "host key"
	if v.changedKey {
		kind = "changed host key"
	}
	seed := derive(d.o.HostSeed, kind)
	if v.legacy {
		return ssh.NewSignerFromKey(seededRSA(seed))
	}
	return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
}

// derive returns the seed of one of several things that come from one seed.
func derive(seed [32]byte, what string) [32]byte {
	return sha256.Sum256(append([]byte("acctpull simulated device\x00"+what+"\x00"), seed[:]...))
}

// seededRSA makes an RSA key of 2048 bits from a seed, for simulated devices
// only: crypto/rsa makes random ones, and a device has to keep its key.
func seededRSA(seed [32]byte) *rsa.PrivateKey {
	const exponent, half = 65537, 1024
	random := rand.NewChaCha8(seed)
	one, e := big.NewInt(1), big.NewInt(exponent)
	for {
		p, q := seededPrime(random, half), seededPrime(random, half)
		n := new(big.Int).Mul(p, q)
		totient := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(e, totient)
		if d == nil || p.Cmp(q) == 0 || n.BitLen() != 2*half {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: exponent}, D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		return key
	}
}

// seededPrime returns a prime whose two highest bits are set.
func seededPrime(random *rand.ChaCha8, bits int) *big.Int {
	words := make([]byte, bits/8)
	for i := 0; i < len(words); i += 8 {
		binary.BigEndian.PutUint64(words[i:], random.Uint64())
	}
	words[0] |= 0xc0
	words[len(words)-1] |= 1
	p := new(big.Int).SetBytes(words)
	// Most odd numbers have a small factor, and the test for that is cheap: the
	// remainders are taken once, and then go along with p.
	var primes, remainders []uint64
	for n := uint64(3); n < 1<<12; n += 2 {
		if big.NewInt(int64(n)).ProbablyPrime(0) {
			primes = append(primes, n)
			remainders = append(remainders, new(big.Int).Mod(p, new(big.Int).SetUint64(n)).Uint64())
		}
	}
	for step := uint64(0); ; step += 2 {
		composite := false
		for i, n := range primes {
			if (remainders[i]+step)%n == 0 {
				composite = true
				break
			}
		}
		if composite {
			continue
		}
		if candidate := new(big.Int).Add(p, new(big.Int).SetUint64(step)); candidate.ProbablyPrime(8) {
			return candidate
		}
	}
}
