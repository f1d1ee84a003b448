package export

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"

	"acctpull/internal/depot"
)

// asideDir has the directories that were replaced, each in one of its own whose
// name begins with the time in milliseconds, and those that are being built. Its
// name keeps readers out. A directory stays whole for a while: a reader may have
// opened it and not listed it yet, and must not find it half empty.
const asideDir = ".old"

// replaceInDir changes partitions one after the other. Nobody else publishes or
// replaces meanwhile.
func replaceInDir(ctx context.Context, d *depot.Dir, parts []*partChange, o ReplaceOptions) (err error) {
	release, err := d.Lock(ctx, false)
	if err != nil {
		return &Error{Op: "lock dataset", Path: d.Root(), Err: err}
	}
	defer func() { err = errors.Join(err, release()) }()
	r := &dirReplacement{d: d, now: o.Now.UnixMilli()}
	defer func() { err = errors.Join(err, r.abort()) }()
	for _, c := range parts {
		if err := r.prepare(ctx, c, &o); err != nil {
			return &Error{Op: "replace files", Path: c.partition, Err: err}
		}
	}
	for len(r.ready) > 0 {
		if err := r.commit(ctx, r.ready[0]); err != nil {
			return &Error{Op: "replace files", Path: r.ready[0].partition, Err: err}
		}
		r.ready = r.ready[1:]
	}
	return nil
}

// dirReplacement is a Replace in a directory under way.
type dirReplacement struct {
	d     *depot.Dir
	now   int64 // milliseconds since 1970
	ready []*readyPart
}

// readyPart is a partition whose new directory lies ready.
type readyPart struct {
	partition string
	history   History // the last line is what is being done
	swap      *depot.Swap
	begun     bool
}

// prepare decides on a partition and builds its new directory.
func (r *dirReplacement) prepare(ctx context.Context, c *partChange, o *ReplaceOptions) error {
	st, err := dirState(ctx, r.d, c.partition)
	if err != nil {
		return err
	}
	line, add, todo, err := c.decide(st, o)
	if err != nil || !todo {
		return err
	}
	var digits [4]byte
	if _, err := rand.Read(digits[:]); err != nil {
		return err
	}
	aside := path.Join(asideDir, strconv.FormatInt(r.now, 10)+"-"+hex.EncodeToString(digits[:]))
	remove := make([]string, len(line.Removed))
	for i, f := range line.Removed {
		remove[i] = path.Base(f.Path)
	}
	files := make([]depot.File, len(add))
	for i, a := range add {
		files[i] = a.File
	}
	swap, err := r.d.PrepareSwap(ctx, c.partition, aside, remove, files)
	if err != nil {
		return err
	}
	r.ready = append(r.ready, &readyPart{partition: c.partition, history: append(st.history, line), swap: swap})
	return nil
}

// commit writes down what is about to be done, does it, and writes down that it
// is done.
func (r *dirReplacement) commit(ctx context.Context, p *readyPart) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	last, at := &p.history[len(p.history)-1], historyPath(p.partition)
	last.Pending = true
	if err := r.d.Replace(ctx, at, p.history.encode()); err != nil {
		return err
	}
	p.begun = true
	if err := p.swap.Commit(); err != nil {
		return err
	}
	last.Pending = false
	return r.d.Replace(ctx, at, p.history.encode())
}

// abort removes what was prepared and not begun. What a Commit that failed left
// is for CleanReplaced: it may be the old directory.
func (r *dirReplacement) abort() error {
	var err error
	for _, p := range r.ready {
		if !p.begun {
			err = errors.Join(err, p.swap.Abort())
		}
	}
	return err
}

// dirState lists a partition and reads its history; what a crash left open in
// there is settled.
func dirState(ctx context.Context, d *depot.Dir, partition string) (st partState, err error) {
	files, err := listed(ctx, d, partition)
	if err != nil {
		return st, err
	}
	st.files = make(map[string]DataFile, len(files))
	for _, f := range files {
		st.files[f.Path] = f
	}
	h, err := readHistoryAt(ctx, d, historyPath(partition))
	if err != nil {
		return st, err
	}
	st.history, err = h.Resolve(st.there)
	if err != nil {
		return st, fmt.Errorf("history %q: %w", historyPath(partition), err)
	}
	return st, nil
}

func (st *partState) there(p string) bool {
	_, ok := st.files[p]
	return ok
}

// publishInDir gives the outputs of a batch their names, unless they were
// replaced since: that is so if another process has finished the batch long ago.
func publishInDir(ctx context.Context, d *depot.Dir, files []depot.File) (placed []depot.Placement, err error) {
	release, err := d.Lock(ctx, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	placed = make([]depot.Placement, len(files))
	var todo []depot.File
	var index []int
	for i, f := range files {
		g, gone, err := goneInDir(ctx, d, f.Path)
		if err != nil {
			return nil, err
		}
		if gone {
			placed[i] = adopted(f, g.SHA256)
			continue
		}
		todo, index = append(todo, f), append(index, i)
	}
	done, err := d.Publish(ctx, todo)
	if err != nil {
		return nil, err
	}
	for i, p := range done {
		placed[index[i]] = p
	}
	return placed, nil
}

// goneInDir tells whether a file was replaced.
func goneInDir(ctx context.Context, d *depot.Dir, p string) (g GoneFile, gone bool, err error) {
	h, err := readHistoryAt(ctx, d, historyPath(partitionOf(p)))
	if err != nil || len(h) == 0 {
		return g, false, err
	}
	st, err := dirState(ctx, d, partitionOf(p))
	if err != nil {
		return g, false, err
	}
	g, gone = st.history.gone(p)
	return g, gone && !st.there(p), nil
}

// adopted is the placement of an output whose name had the content sum.
func adopted(f depot.File, sum string) depot.Placement {
	if sum != f.SHA256 {
		return depot.Placement{Outcome: depot.Taken, SHA256: sum}
	}
	return depot.Placement{Outcome: depot.Same, SHA256: sum}
}
