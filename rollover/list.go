package rollover

import (
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// listChunk is the number of names read at a time.
const listChunk = 1024

// Names yields every name in a directory, in no order, reading it in chunks:
// the memory does not grow with the directory and no file is looked at. After
// an error, which comes with an empty name, it ends.
func Names(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		d, err := os.Open(dir)
		if err != nil {
			yield("", err)
			return
		}
		for err == nil {
			var names []string
			names, err = d.Readdirnames(listChunk)
			for _, name := range names {
				if !yield(name, nil) {
					_ = d.Close() // it was only read from
					return
				}
			}
		}
		if err == io.EOF {
			err = nil
		}
		if err = errors.Join(err, d.Close()); err != nil {
			yield("", err)
		}
	}
}

// List yields the files of ours in a directory, in no order. Names that do
// not parse are passed over. Size is left 0; use [File.Stat] for the files
// whose size matters, it costs more than all the rest. After an error it ends.
func List(dir string) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for name, err := range Names(dir) {
			if err != nil {
				yield(File{}, &Error{Op: "list", Err: err})
				return
			}
			n, err := ParseName(name)
			if err != nil {
				continue
			}
			if !yield(File{Name: n, Path: filepath.Join(dir, name)}, nil) {
				return
			}
		}
	}
}

// Stat returns the file with its size. A file that is no regular file is an
// error.
func (f File) Stat() (File, error) {
	size, err := osDisk{}.Size(f.Path)
	if err != nil {
		return f, &Error{Op: "stat", File: f.Name.String(), Err: err}
	}
	f.Size = size
	return f, nil
}
