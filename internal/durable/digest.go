package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// ErrDigest: the bytes of a file are not those that its last line tells of.
var ErrDigest = errors.New("the content does not match the digest in the last line")

// Digest is how the last line of a small file holds the SHA-256 of everything
// before that line: Before, 64 hexadecimal digits, After, a line feed. It makes a
// file that nobody else has a digest of prove itself. The two texts depend on
// the language of the file and hold no line feed.
type Digest struct{ Before, After string }

// line is the last line for a digest.
func (d Digest) line(sum []byte) []byte {
	return []byte(d.Before + hex.EncodeToString(sum) + d.After + "\n")
}

// Append returns text with the last line behind it.
func (d Digest) Append(text []byte) []byte {
	sum := sha256.Sum256(text)
	return append(bytes.Clone(text), d.line(sum[:])...)
}

// Line returns the last line for what was written to h, a SHA-256.
func (d Digest) Line(h hash.Hash) []byte { return d.line(h.Sum(nil)) }

// CheckFile proves the file at path against its last line, not through the page
// cache and in constant memory. The error matches ErrDigest if there is no such
// line or another digest in it.
func (d Digest) CheckFile(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := DropCache(f); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return d.Check(f, st.Size())
}

// Check proves a file of size bytes that is read from its beginning.
func (d Digest) Check(f io.Reader, size int64) error {
	h := sha256.New()
	length := int64(len(d.line(h.Sum(nil))))
	if size < length {
		return fmt.Errorf("%w: there is no such line", ErrDigest)
	}
	last := make([]byte, length)
	if _, err := io.CopyN(h, f, size-length); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, last); err != nil {
		return err
	}
	if !bytes.Equal(last, d.Line(h)) {
		return ErrDigest
	}
	return nil
}
