package need

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// S3Server is a real S3 server on the loopback, over a directory.
type S3Server struct {
	// Address is its host and port, Bucket a bucket that exists, AccessKey
	// and SecretKey the credentials.
	Address, Bucket, AccessKey, SecretKey string
}

// S3 starts versitygw on a free port. With a certificate and its key, both files,
// it speaks TLS. It ends with the test.
func S3(t testing.TB, cert, key string) *S3Server {
	t.Helper()
	tool := Tool(t, "versitygw")
	s := &S3Server{Bucket: "bucket", AccessKey: "key", SecretKey: "verysecret"}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(root, s.Bucket), 0o750); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"--port", s.Address, "--quiet", "--keep-alive"}
	if cert != "" {
		args = append(args, "--cert", cert, "--key", key)
	}
	cmd := exec.Command(tool, append(args, "posix", root)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	for range 200 {
		c, err := net.DialTimeout("tcp", s.Address, time.Second)
		if err == nil {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			return s
		}
		select {
		case err := <-ended:
			t.Fatalf("versitygw ended: %v\n%s", err, out.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatal("versitygw does not listen")
	return nil
}
