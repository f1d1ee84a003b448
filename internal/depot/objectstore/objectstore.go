// Package objectstore is a depot in one bucket of an S3-compatible object store.
//
// Nothing is ever replaced by Publish: every PUT carries `If-None-Match: *`, so
// the store itself decides who was first (Amazon S3 User Guide, "Conditional
// writes"). A PUT carries the SHA-256 of the body, signed, as a checksum for the
// store to verify and keep, and as metadata of the object. A PUT whose answer
// was lost is repeated; the store then says that the object is there, and its
// SHA-256 tells that it is ours.
package objectstore

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"acctpull/internal/depot"
)

// Defaults of a Config.
const (
	DefaultEndpoint = "https://s3.amazonaws.com"
	DefaultRegion   = "us-east-1"
)

// Config says which store is used and how.
type Config struct {
	// Bucket is the bucket, which must exist. Prefix is what all keys start
	// with, without a slash at its end; "" for none.
	Bucket, Prefix string
	// Endpoint is the URL of the store, https:// or http://, without a path.
	// "" is DefaultEndpoint.
	Endpoint string
	// Region is that of the bucket. "" is DefaultRegion.
	Region string
	// HostStyle puts the bucket into the host name, as Amazon S3 wants it; it
	// is in the path otherwise, as most other stores want it. It is always on
	// for Amazon's own endpoints.
	HostStyle bool
	// CA are the certificates, in PEM, that sign the one of the store. nil are
	// those of the system.
	CA []byte
	// AccessKey and SecretKey are the credentials, Token is that of temporary
	// ones, "" for none.
	AccessKey, SecretKey, Token string
	// Transport is what requests go through, nil for one with sensible
	// limits.
	Transport http.RoundTripper
}

// ParseURL splits s3://bucket/prefix.
func ParseURL(s string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(s, "s3://")
	if !ok {
		return "", "", fmt.Errorf("store %.256q is not s3://bucket or s3://bucket/prefix", s)
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if len(bucket) < 3 || len(bucket) > 63 || strings.Trim(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return "", "", fmt.Errorf("store %.256q: the name of a bucket is 3 to 63 lower case letters, digits, dots and minus", s)
	}
	if prefix != "" {
		if err := depot.CheckPath(prefix); err != nil {
			return "", "", err
		}
	}
	return bucket, prefix, nil
}

// atOnce is how many requests of one Store run at the same time, and putsAtOnce
// how many of one call of Publish.
const (
	atOnce     = 64
	putsAtOnce = 8
)

// Store is a depot in a bucket. It is safe for use by many goroutines.
type Store struct {
	core   minio.Core
	bucket string
	prefix string // with a slash at its end, or ""
	name   string // for messages
	slots  chan struct{}
}

var _ depot.Depot = (*Store)(nil)

// New returns the depot. It makes no request; see [Store.Check].
func New(c Config) (*Store, error) {
	if c.Endpoint == "" {
		c.Endpoint = DefaultEndpoint
	}
	if c.Region == "" {
		c.Region = DefaultRegion
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("the endpoint of the store is not https://HOST or https://HOST:PORT")
	}
	if c.AccessKey == "" || c.SecretKey == "" {
		return nil, errors.New("the store needs an access key and a secret key")
	}
	if c.Transport == nil {
		if c.Transport, err = transport(c.CA); err != nil {
			return nil, err
		}
	}
	lookup := minio.BucketLookupAuto // in the host for Amazon, in the path otherwise
	if c.HostStyle {
		lookup = minio.BucketLookupDNS
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.Token),
		Secure: u.Scheme == "https", Transport: c.Transport, Region: c.Region, BucketLookup: lookup,
		MaxRetries: 1, // ours know what is safe to repeat
	})
	if err != nil {
		return nil, fmt.Errorf("configure the store: %w", err)
	}
	s := &Store{core: minio.Core{Client: client}, bucket: c.Bucket, prefix: c.Prefix, slots: make(chan struct{}, atOnce)}
	if s.prefix != "" {
		s.prefix += "/"
	}
	s.name = "s3://" + path.Join(c.Bucket, c.Prefix) + " at " + u.Host
	return s, nil
}

// transport is an HTTP transport that waits for nothing for ever.
func transport(ca []byte) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConns:          atOnce,
		MaxIdleConnsPerHost:   atOnce,
		DisableCompression:    true, // what is stored is gzip, and must arrive as it is
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if ca != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("the certificates of the store: no certificate in PEM")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// String names the store for people: URL and host, no secret.
func (s *Store) String() string { return s.name }

// markerPath is an object that is always there once Check was called. Its name
// keeps it out of every listing.
const markerPath = ".acctpull/store"

// Check proves that the store can be used: that bucket and credentials are
// right, and that it refuses to replace an object when it is asked not to. A
// store without conditional writes is refused with ErrUnconditional, because of
// two nodes that publish one name each would believe to be first.
func (s *Store) Check(ctx context.Context) error {
	for _, text := range []string{"acctpull keeps files here\n", "this must never be stored\n"} {
		_, err := s.put(ctx, file(markerPath, []byte(text)), true)
		if err != nil && !isTaken(err) {
			return s.fail("check", "", err)
		}
		if err == nil && strings.HasPrefix(text, "this") {
			return s.fail("check", "", ErrUnconditional)
		}
	}
	return nil
}

// file is a small document as an upload.
func file(path string, data []byte) upload {
	sum := sha256.Sum256(data)
	return upload{path: path, sum: hex.EncodeToString(sum[:]), size: int64(len(data)), data: data}
}

// key is the key of a path.
func (s *Store) key(p string) (string, error) {
	if err := depot.CheckPath(p); err != nil {
		return "", err
	}
	return s.prefix + p, nil
}
