package objectstore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"acctpull/internal/need"
)

// gateway is a real S3 server over a directory.
type gateway struct {
	url  string
	ca   []byte
	root string
}

// startGateway starts versitygw on a free port of the loopback, with a bucket
// "bucket".
func startGateway(t testing.TB, secure bool) *gateway {
	t.Helper()
	tool := need.Tool(t, "versitygw")
	dir := t.TempDir()
	g := &gateway{root: filepath.Join(dir, "root")}
	if err := os.MkdirAll(filepath.Join(g.root, "bucket"), 0o750); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"--port", addr, "--quiet", "--keep-alive"}
	g.url = "http://" + addr
	if secure {
		g.url = "https://" + addr
		g.ca = writeCertificate(t, dir)
		args = append(args, "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"))
	}
	cmd := exec.Command(tool, append(args, "posix", g.root)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=key", "ROOT_SECRET_KEY=verysecret")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			return g
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not listen: %v", err)
		}
	}
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
	s, err := New(Config{Bucket: "bucket", Prefix: prefix, Endpoint: g.url, CA: g.ca, AccessKey: "key", SecretKey: "verysecret"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
