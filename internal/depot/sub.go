package depot

import (
	"context"
	"iter"
	"path"
	"path/filepath"
	"strings"
)

// Sub returns the part of a depot below a directory, a slash path, as a depot of
// its own.
func Sub(d Depot, dir string) Depot {
	if own, ok := d.(*Dir); ok {
		return NewDir(filepath.Join(own.root, filepath.FromSlash(dir)))
	}
	return &sub{d, dir}
}

type sub struct {
	d   Depot
	dir string
}

func (s *sub) path(p string) (string, error) {
	if err := CheckPath(p); err != nil {
		return "", err
	}
	return path.Join(s.dir, p), nil
}

func (s *sub) Open(ctx context.Context, p string) (Object, error) {
	p, err := s.path(p)
	if err != nil {
		return nil, err
	}
	return s.d.Open(ctx, p)
}

func (s *sub) Sum(ctx context.Context, p string) (string, int64, error) {
	p, err := s.path(p)
	if err != nil {
		return "", 0, err
	}
	return s.d.Sum(ctx, p)
}

func (s *sub) List(ctx context.Context, dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if dir != "" {
			if err := CheckPath(dir); err != nil {
				yield(Entry{}, err)
				return
			}
		}
		for e, err := range s.d.List(ctx, path.Join(s.dir, dir)) {
			e.Path = strings.TrimPrefix(e.Path, s.dir+"/")
			if !yield(e, err) {
				return
			}
		}
	}
}

func (s *sub) Publish(ctx context.Context, files []File) ([]Placement, error) {
	below := make([]File, len(files))
	for i, f := range files {
		var err error
		if f.Path, err = s.path(f.Path); err != nil {
			return nil, err
		}
		below[i] = f
	}
	return s.d.Publish(ctx, below)
}

func (s *sub) Replace(ctx context.Context, p string, data []byte) error {
	p, err := s.path(p)
	if err != nil {
		return err
	}
	return s.d.Replace(ctx, p, data)
}

func (s *sub) Remove(ctx context.Context, p string) error {
	p, err := s.path(p)
	if err != nil {
		return err
	}
	return s.d.Remove(ctx, p)
}
