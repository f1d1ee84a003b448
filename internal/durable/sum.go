package durable

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Sum returns the SHA-256 of a file in hexadecimal and its size. The clean
// pages of the file are dropped from the page cache first, so what is hashed
// is what the disk gives back; a caller that just wrote the file has to fsync
// it before, for dirty pages stay.
func Sum(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := DropCache(f); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// ReplaceFile writes a small state file: temporary file, fsync, rename over
// the old one, fsync of the directory. After a power cut at any moment the
// file holds the old or the new content, whole. Data files are never written
// this way, see [File.Publish].
func ReplaceFile(path string, data []byte, mode os.FileMode) (err error) {
	dir, name := filepath.Dir(path), filepath.Base(path)
	t, err := Create(dir, name, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Abort()) }()
	if _, err := t.Write(data); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	if err := t.close(); err != nil {
		return err
	}
	if err := os.Rename(t.path, path); err != nil {
		return err
	}
	t.moved = true
	return SyncDir(dir)
}
