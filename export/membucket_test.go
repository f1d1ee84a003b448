package export

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"acctpull/internal/depot"
)

// memBucket is a bucket in memory, with the manners of a real one: objects are
// put only under free keys, and a listing is in order. before and after are
// called around every change, and end the call with their error: after stands
// for an answer that was lost.
type memBucket struct {
	mu            sync.Mutex
	objects       map[string][]byte
	before, after func(op, path string) error
}

func newBucket(string) depot.Depot { return &memBucket{objects: map[string][]byte{}} }

type memObject struct {
	*bytes.Reader
}

func (memObject) Close() error  { return nil }
func (o memObject) Size() int64 { return o.Reader.Size() }

func (b *memBucket) Open(_ context.Context, p string) (depot.Object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, ok := b.objects[p]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return memObject{bytes.NewReader(text)}, nil
}

func (b *memBucket) Sum(ctx context.Context, p string) (string, int64, error) {
	o, err := b.Open(ctx, p)
	if err != nil {
		return "", 0, err
	}
	text := make([]byte, o.Size())
	if _, err := o.ReadAt(text, 0); err != nil && len(text) > 0 {
		return "", 0, err
	}
	return sumOf(text), o.Size(), nil
}

func (b *memBucket) List(_ context.Context, dir string) iter.Seq2[depot.Entry, error] {
	b.mu.Lock()
	defer b.mu.Unlock()
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	var found []depot.Entry
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		rest, ok := strings.CutPrefix(key, prefix)
		if ok && !strings.HasPrefix(rest, ".") && !strings.Contains(rest, "/.") {
			found = append(found, depot.Entry{Path: key, Size: int64(len(b.objects[key]))})
		}
	}
	return func(yield func(depot.Entry, error) bool) {
		for _, e := range found {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (b *memBucket) hook(f func(op, path string) error, op, p string) error {
	if f == nil {
		return nil
	}
	return f(op, p)
}

func (b *memBucket) Publish(_ context.Context, files []depot.File) ([]depot.Placement, error) {
	placed := make([]depot.Placement, len(files))
	for i, f := range files {
		if err := b.hook(b.before, "put", f.Path); err != nil {
			return nil, err
		}
		text := f.Data
		if f.Local != "" {
			var err error
			if text, err = os.ReadFile(f.Local); err != nil {
				return nil, err
			}
		}
		if sumOf(text) != f.SHA256 || int64(len(text)) != f.Size {
			return nil, fmt.Errorf("put %s: not these bytes", f.Path)
		}
		b.mu.Lock()
		there, taken := b.objects[f.Path]
		switch {
		case !taken:
			b.objects[f.Path] = text
			placed[i] = depot.Placement{Outcome: depot.Placed, SHA256: f.SHA256}
		case bytes.Equal(there, text):
			placed[i] = depot.Placement{Outcome: depot.Same, SHA256: f.SHA256}
		default:
			placed[i] = depot.Placement{Outcome: depot.Taken, SHA256: sumOf(there)}
		}
		b.mu.Unlock()
		if err := b.hook(b.after, "put", f.Path); err != nil {
			return nil, err
		}
	}
	return placed, nil
}

func (b *memBucket) Replace(_ context.Context, p string, data []byte) error {
	if err := b.hook(b.before, "replace", p); err != nil {
		return err
	}
	b.mu.Lock()
	b.objects[p] = slices.Clone(data)
	b.mu.Unlock()
	return b.hook(b.after, "replace", p)
}

func (b *memBucket) Remove(_ context.Context, p string) error {
	if err := b.hook(b.before, "remove", p); err != nil {
		return err
	}
	b.mu.Lock()
	_, ok := b.objects[p]
	delete(b.objects, p)
	b.mu.Unlock()
	if !ok {
		return &fs.PathError{Op: "remove", Path: p, Err: fs.ErrNotExist}
	}
	return b.hook(b.after, "remove", p)
}
