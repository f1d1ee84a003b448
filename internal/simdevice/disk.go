package simdevice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"acctpull/policy"
	"acctpull/rollover"
)

// show brings the disk to where the device is: files that went are removed,
// files that came are written.
func (l *life) show() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passTo(l.clock())
	if l.err != nil {
		return l.err
	}
	if !l.shown {
		if err := errors.Join(l.d.makeDirs(), l.adopt()); err != nil {
			return err
		}
		l.shown = true
	}
	if err := l.clean(); err != nil {
		return err
	}
	for l.unmade > 0 {
		if err := l.writeChain(); err != nil {
			return err
		}
	}
	if !l.d.o.ShowCollect {
		return nil
	}
	for _, s := range l.streams {
		if s.open == nil || s.open.written == len(s.open.ends) {
			continue
		}
		if err := l.write([]*made{s.open}); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes over what an earlier process left in act/. What this life made
// too is its own: the same life makes the same files. All else expires like any
// other file.
func (l *life) adopt() error {
	own := make(map[rollover.Name]*made, len(l.files))
	for _, f := range l.files {
		own[f.name] = f
	}
	for file, err := range rollover.List(l.d.ActDir()) {
		if err != nil {
			return err
		}
		if f := own[file.Name]; f == nil {
			l.foreign = append(l.foreign, file)
		} else if !f.onDisk {
			f.onDisk = true
			l.unmade--
		}
	}
	return nil
}

// clean removes from the disk what is not there any more.
func (l *life) clean() error {
	for len(l.gone) > 0 {
		if err := removeFile(filepath.Join(l.d.ActDir(), l.gone[0])); err != nil {
			return err
		}
		l.gone = l.gone[1:]
	}
	if !l.formatted {
		return nil
	}
	for file, err := range rollover.List(l.d.CollectDir()) {
		if err == nil {
			err = removeFile(file.Path)
		}
		if err != nil {
			return err
		}
	}
	l.formatted = false
	return nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeChain writes the first file that is not on the disk, and those that
// followed it without a break.
func (l *life) writeChain() error {
	var chain []*made
	for _, f := range l.files {
		if !f.onDisk && (len(chain) == 0 || f.follows(chain[len(chain)-1])) {
			chain = append(chain, f)
		}
	}
	return l.write(chain)
}

// follows tells whether a file is the next one of the same policy and boot.
func (f *made) follows(prior *made) bool {
	return f.boot == prior.boot && f.plan == prior.plan && len(f.before) > 0 && &f.before[0] == &prior.ends[0]
}

// write makes files that follow each other with the agent's own collector, and
// places them: closed ones in act/, an open one in act-collect/. The collector
// begins with the file before the first one, so that they have what they would
// have had in a device that runs: the start of their first interval and the
// reason of their creation.
func (l *life) write(chain []*made) (err error) {
	first, last := chain[0], chain[len(chain)-1]
	base := l.o.Scratch
	if base == "" {
		base = l.d.o.Dir
	}
	flash, err := os.MkdirTemp(base, ".making-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(flash)) }()
	set, err := l.set(flash, first.boot.n)
	if err != nil {
		return err
	}
	var sealed []rollover.File
	c, err := policy.NewCollector(policy.Options{Set: set, Source: l.source(first.boot), Location: l.o.Zone, Minute: l.o.Minute,
		Hooks: policy.Hooks{OnFile: func(f rollover.File) { sealed = append(sealed, f) }}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	m := maker{collect: func(at time.Time) (policy.Interval, error) {
		return c.Collect(context.Background(), first.plan.Policy.ID, at)
	}}
	m.all(first.before, 0)
	for _, f := range chain {
		m.all(f.ends, f.each)
	}
	if !last.sealed.IsZero() {
		m.all([]time.Time{last.next}, 0)
	}
	if m.err != nil {
		return fmt.Errorf("make files of policy %d: %w", first.plan.Policy.ID, m.err)
	}
	if len(first.before) > 0 {
		sealed = sealed[min(1, len(sealed)):] // the file before
	}
	if last.sealed.IsZero() {
		sealed = append(sealed, m.open)
	}
	if len(sealed) != len(chain) {
		return fmt.Errorf("make files of policy %d: the collector made %d and not %d", first.plan.Policy.ID, len(sealed), len(chain))
	}
	for i, f := range chain {
		if err := l.place(f, sealed[i]); err != nil {
			return err
		}
	}
	return nil
}

// maker runs one policy's collections until the first error.
type maker struct {
	collect func(time.Time) (policy.Interval, error)
	open    rollover.File // after the last collection
	err     error
}

// all makes collections of so many records each; 0 for any number.
func (m *maker) all(ends []time.Time, records uint64) {
	for _, end := range ends {
		if m.err != nil {
			return
		}
		in, err := m.collect(end)
		if err == nil && records > 0 && uint64(in.Records) != records {
			err = fmt.Errorf("%d records of the interval that ends %v, not %d", in.Records, end, records)
		}
		m.open, m.err = in.File, err
	}
}

// place gives a file its name, whole at once, with the time of the device. What
// a simulated device shows need not survive a power cut.
func (l *life) place(f *made, from rollover.File) error {
	name, dir, changed := f.name.String(), l.d.ActDir(), f.next
	if f.sealed.IsZero() {
		dir, changed = l.d.CollectDir(), f.ends[len(f.ends)-1]
	}
	content, err := os.ReadFile(from.Path)
	if err != nil {
		return err
	}
	if f.sealed.IsZero() {
		if from.Size > int64(len(content)) {
			return fmt.Errorf("%s has %d bytes and not %d: %w", from.Path, len(content), from.Size, io.ErrUnexpectedEOF)
		}
		content = content[:from.Size]
	}
	temp := filepath.Join(l.d.o.Dir, ".making-"+name)
	err = os.WriteFile(temp, content, 0o640)
	if err == nil {
		err = os.Chtimes(temp, changed, changed)
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, name))
	}
	if err != nil {
		return err
	}
	f.written = len(f.ends)
	if f.sealed.IsZero() {
		return nil
	}
	f.onDisk = true
	l.unmade--
	if l.d.o.ShowCollect {
		return removeFile(filepath.Join(l.d.CollectDir(), name))
	}
	return nil
}
