package objectstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/minio/minio-go/v7"

	"acctpull/internal/depot"
)

// metaSum is the metadata with the SHA-256 of an object, in hexadecimal:
// x-amz-meta-sha256.
const metaSum = "Sha256"

// maxObject is the largest object that one PUT can write (Amazon S3 User Guide,
// "Uploading objects").
const maxObject = 5 << 30

// upload is one object on its way: a local file, or data.
type upload struct {
	path, sum string
	size      int64
	local     string
	data      []byte
}

// open returns the bytes, and what ends reading them.
func (u *upload) open() (io.ReaderAt, func() error, error) {
	if u.local == "" {
		return bytes.NewReader(u.data), func() error { return nil }, nil
	}
	f, err := os.Open(u.local)
	if err != nil {
		return nil, nil, &local{err}
	}
	return f, f.Close, nil
}

// put writes an object with one request, repeated while its error may pass. If
// fresh is set nothing is replaced, and an error for which isTaken holds says
// that the key has an object: that of another, or ours if an answer was lost.
func (s *Store) put(ctx context.Context, u upload, fresh bool) (minio.UploadInfo, error) {
	var info minio.UploadInfo
	key, err := s.key(u.path)
	if err != nil {
		return info, err
	}
	sum, err := hex.DecodeString(u.sum)
	if err != nil {
		return info, &local{fmt.Errorf("the SHA-256 of %q: %w", u.path, err)}
	}
	if u.size > maxObject {
		return info, &local{fmt.Errorf("%d bytes are more than one object can have", u.size)}
	}
	checksum := base64.StdEncoding.EncodeToString(sum)
	o := minio.PutObjectOptions{
		ContentType: "application/octet-stream",
		// The payload is signed with the hash that is known, not in chunks.
		DisableContentSha256: true,
		UserMetadata:         map[string]string{metaSum: u.sum, "x-amz-checksum-sha256": checksum},
	}
	if fresh {
		o.SetMatchETagExcept("*")
	}
	err = s.try(ctx, u.size, func(ctx context.Context) error {
		f, done, err := u.open()
		if err != nil {
			return err
		}
		info, err = s.core.PutObject(ctx, s.bucket, key, io.NewSectionReader(f, 0, u.size), u.size, "", u.sum, o)
		return errors.Join(err, done())
	})
	if err == nil && info.ChecksumSHA256 != "" && info.ChecksumSHA256 != checksum {
		err = fmt.Errorf("the store has the SHA-256 %.64q, sent was %s", info.ChecksumSHA256, checksum)
	}
	return info, err
}

// Publish implements [depot.Writer]. Each file is one PUT; the local files stay.
func (s *Store) Publish(ctx context.Context, files []depot.File) ([]depot.Placement, error) {
	placed := make([]depot.Placement, len(files))
	errs := make([]error, len(files))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, putsAtOnce)
	for i, f := range files {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if placed[i], errs[i] = s.publish(ctx, f); errs[i] != nil {
				cancel(errs[i])
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err // of the first that failed; the others only stopped
	}
	return placed, nil
}

func (s *Store) publish(ctx context.Context, f depot.File) (depot.Placement, error) {
	if err := ctx.Err(); err != nil {
		return depot.Placement{}, err
	}
	_, err := s.put(ctx, upload{path: f.Path, sum: f.SHA256, size: f.Size, local: f.Local, data: f.Data}, true)
	if err == nil {
		return depot.Placement{Outcome: depot.Placed, SHA256: f.SHA256}, nil
	}
	if !isTaken(err) {
		return depot.Placement{}, s.fail("store", f.Path, err)
	}
	there, err := s.there(ctx, f.Path)
	if err != nil {
		return depot.Placement{}, err
	}
	if there == f.SHA256 {
		return depot.Placement{Outcome: depot.Same, SHA256: there}, nil
	}
	return depot.Placement{Outcome: depot.Taken, SHA256: there}, nil
}

// there returns the SHA-256 of an object: the one the store verified when it was
// written, or that of its bytes.
func (s *Store) there(ctx context.Context, path string) (string, error) {
	info, err := s.stat(ctx, path)
	if err != nil {
		return "", err
	}
	if sum, err := base64.StdEncoding.DecodeString(info.ChecksumSHA256); err == nil && len(sum) == 32 {
		return hex.EncodeToString(sum), nil
	}
	if sum := info.UserMetadata[metaSum]; len(sum) == 64 {
		return sum, nil // it came with the bytes, whose signature it was part of
	}
	sum, _, err := s.Sum(ctx, path)
	return sum, err
}

// Replace implements [depot.Writer].
func (s *Store) Replace(ctx context.Context, path string, data []byte) error {
	if _, err := s.put(ctx, file(path, data), false); err != nil {
		return s.fail("store", path, err)
	}
	return nil
}

// Remove implements [depot.Writer]. In a bucket with versions the older ones
// stay.
func (s *Store) Remove(ctx context.Context, path string) error {
	key, err := s.key(path)
	if err != nil {
		return err
	}
	if _, err := s.stat(ctx, path); err != nil {
		return err
	}
	err = s.try(ctx, 0, func(ctx context.Context) error {
		return s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	})
	if err != nil {
		return s.fail("remove", path, err)
	}
	return nil
}
