package objectstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"acctpull/internal/depot"
)

// stat asks for size, hash and version of an object.
func (s *Store) stat(ctx context.Context, path string) (minio.ObjectInfo, error) {
	info, err := s.head(ctx, path)
	if errors.Is(err, fs.ErrNotExist) && path != markerPath {
		// A missing bucket, and a proxy in between, say the same of
		// everything. Only who knows the marker can be believed.
		if _, m := s.head(ctx, markerPath); errors.Is(m, fs.ErrNotExist) {
			err = errMarker
		} else if m != nil {
			err = m
		}
	}
	if err != nil {
		return info, s.fail("look up", path, err)
	}
	return info, nil
}

func (s *Store) head(ctx context.Context, path string) (info minio.ObjectInfo, err error) {
	key, err := s.key(path)
	if err != nil {
		return info, err
	}
	err = s.try(ctx, 0, func(ctx context.Context) error {
		o := minio.StatObjectOptions{Checksum: true}
		info, err = s.core.StatObject(ctx, s.bucket, key, o)
		return err
	})
	return info, err
}

// Open implements [depot.Reader].
func (s *Store) Open(ctx context.Context, path string) (depot.Object, error) {
	info, err := s.stat(ctx, path)
	if err != nil {
		return nil, err
	}
	return &object{s: s, ctx: ctx, path: path, size: info.Size, etag: info.ETag}, nil
}

// Sum implements [depot.Reader].
func (s *Store) Sum(ctx context.Context, path string) (string, int64, error) {
	o, err := s.Open(ctx, path)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err := io.Copy(h, o)
	if err := errors.Join(err, o.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// readIdle ends a connection that owes us bytes and sends none.
const readIdle = 30 * time.Second

// object is an object that is being read, and always the version that it had
// when it was opened.
type object struct {
	s    *Store
	ctx  context.Context
	path string
	size int64
	etag string

	offset int64 // of the next byte of Read
	body   io.ReadCloser
	stop   context.CancelFunc // ends body
	cuts   int                // how often body ended too early since the last byte
}

// Size implements [depot.Object].
func (o *object) Size() int64 { return o.size }

// Read reads on. A connection that is cut is made anew where it was cut.
func (o *object) Read(p []byte) (int, error) {
	if o.offset >= o.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if o.body == nil {
			body, stop, err := o.get(o.ctx, o.offset, o.size-o.offset)
			if err != nil {
				return 0, err
			}
			o.body, o.stop = body, stop
		}
		idle := time.AfterFunc(readIdle, o.stop)
		n, err := o.body.Read(p[:min(int64(len(p)), o.size-o.offset)])
		idle.Stop()
		o.offset += int64(n)
		if n > 0 {
			o.cuts = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		if o.cuts++; o.cuts == attempts || o.ctx.Err() != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, o.s.fail("read", o.path, translate(err))
		}
		// What closing a connection that is broken says is of no interest.
		_ = o.Close()
		if !pause(o.ctx, backoff(o.cuts, 0)) {
			return 0, context.Cause(o.ctx)
		}
	}
}

// ReadAt implements io.ReaderAt with one request.
func (o *object) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	if len(p) == 0 {
		return 0, nil
	}
	want := min(int64(len(p)), o.size-offset)
	if want <= 0 {
		return 0, io.EOF
	}
	err = o.s.try(o.ctx, want, func(ctx context.Context) error {
		body, stop, err := o.request(ctx, offset, want)
		if err != nil {
			return err
		}
		defer stop()
		n, err = io.ReadFull(body, p[:want])
		return errors.Join(err, body.Close())
	})
	if err != nil {
		return n, o.s.fail("read", o.path, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// get asks for a part of the object, until the store answers.
func (o *object) get(ctx context.Context, offset, length int64) (body io.ReadCloser, stop context.CancelFunc, err error) {
	// The time of an attempt ends with it, and the body is read after that.
	outer := ctx
	err = o.s.try(ctx, 0, func(context.Context) error {
		body, stop, err = o.request(outer, offset, length)
		return err
	})
	if err != nil {
		return nil, nil, o.s.fail("read", o.path, err)
	}
	return body, stop, nil
}

// request is one request for a part of the object.
func (o *object) request(ctx context.Context, offset, length int64) (io.ReadCloser, context.CancelFunc, error) {
	ctx, stop := context.WithCancel(ctx)
	opts := minio.GetObjectOptions{}
	err := opts.SetRange(offset, offset+length-1)
	if err == nil && o.etag != "" {
		err = opts.SetMatchETag(o.etag)
	}
	if err != nil {
		stop()
		return nil, nil, &local{err}
	}
	key, err := o.s.key(o.path)
	if err != nil {
		stop()
		return nil, nil, err
	}
	body, _, _, err := o.s.core.GetObject(ctx, o.s.bucket, key, opts)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return body, stop, nil
}

// Close ends reading.
func (o *object) Close() error {
	if o.body == nil {
		return nil
	}
	o.stop()
	err := o.body.Close()
	o.body = nil
	return err
}

// List implements [depot.Reader], with one request for every thousand objects.
func (s *Store) List(ctx context.Context, dir string) iter.Seq2[depot.Entry, error] {
	return func(yield func(depot.Entry, error) bool) {
		prefix := s.prefix
		if dir != "" {
			key, err := s.key(dir)
			if err != nil {
				yield(depot.Entry{}, err)
				return
			}
			prefix = key + "/"
		}
		after := ""
		for {
			page, more, err := s.page(ctx, prefix, after)
			if err != nil {
				yield(depot.Entry{}, s.fail("list", dir, err))
				return
			}
			for _, o := range page {
				after = o.Key
				rest := strings.TrimPrefix(o.Key, prefix)
				if strings.HasPrefix(rest, ".") || strings.Contains(rest, "/.") || strings.HasSuffix(rest, "/") {
					continue
				}
				if !yield(depot.Entry{Path: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size}, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// pageSize is how many objects one request lists.
const pageSize = 1000

// page returns the objects after a key, and whether there are more.
func (s *Store) page(ctx context.Context, prefix, after string) (page []minio.ObjectInfo, more bool, err error) {
	err = s.try(ctx, 0, func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		page = page[:0]
		last := after
		o := minio.ListObjectsOptions{Prefix: prefix, StartAfter: after, Recursive: true, MaxKeys: pageSize}
		for info := range s.core.ListObjectsIter(ctx, s.bucket, o) {
			if info.Err != nil {
				return info.Err
			}
			// What comes next is asked for by the last key, so order matters.
			if !strings.HasPrefix(info.Key, prefix) || info.Key <= last {
				return &local{fmt.Errorf("the listing has %.256q after %.256q below %.256q", info.Key, last, prefix)}
			}
			last = info.Key
			if page = append(page, info); len(page) == pageSize {
				return nil
			}
		}
		return nil
	})
	return page, len(page) == pageSize, err
}
