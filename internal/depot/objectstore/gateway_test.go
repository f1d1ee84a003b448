package objectstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acctpull/internal/need"
)

// gateway is a real S3 server over a directory.
type gateway struct {
	*need.S3Server
	url string
	ca  []byte
}

func startGateway(t testing.TB, secure bool) *gateway {
	t.Helper()
	if !secure {
		s := need.S3(t, "", "")
		return &gateway{s, "http://" + s.Address, nil}
	}
	dir := t.TempDir()
	ca := writeCertificate(t, dir)
	s := need.S3(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	return &gateway{s, "https://" + s.Address, ca}
}

// writeCertificate writes a certificate for the loopback that signs itself.
func writeCertificate(t testing.TB, dir string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(crand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, b := range map[string][]byte{"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert
}

// store returns a depot in the bucket.
func (g *gateway) store(t testing.TB, prefix string) *Store {
	t.Helper()
	s, err := New(Config{Bucket: g.Bucket, Prefix: prefix, Endpoint: g.url, CA: g.ca, AccessKey: g.AccessKey, SecretKey: g.SecretKey})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
