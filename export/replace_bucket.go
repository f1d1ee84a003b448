package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/depot"
)

// edit is what becomes of one partition in the next manifest.
type edit struct {
	partition string
	page      pageKey
	remove    []string
	add       []DataFile
	line      *Replacement // for its history, nil for new outputs of a batch
}

// commit makes the next manifest, in which the edits are done that plan asks for
// when it sees the newest one. Of several who want the next number one gets it,
// and the others plan again. If plan asks for nothing, nothing is done.
//
// The number may have been given to us although it was used long ago, if its
// manifest was cleaned away meanwhile. Then a higher one exists, we look again,
// and plan finds that it is not done.
func commit(ctx context.Context, dataset depot.Depot, now time.Time, plan func(*manifest) ([]edit, error)) error {
	for try := 0; ; try++ {
		m, err := ensureManifest(ctx, dataset, now)
		if err != nil {
			return err
		}
		edits, err := plan(m)
		if err != nil || len(edits) == 0 {
			return err
		}
		next, docs, err := m.next(ctx, edits, now)
		if err != nil {
			return err
		}
		done, err := putManifest(ctx, dataset, next, docs)
		if err != nil || done {
			return err
		}
		if err := pauseFor(ctx, try); err != nil {
			return err
		}
	}
}

// pauseFor waits before the next try, longer each time, at a random moment.
func pauseFor(ctx context.Context, try int) error {
	most := 10 * time.Millisecond << min(try, 7)
	t := time.NewTimer(rand.N(most) + time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// putManifest stores a manifest and what it names. done is true if it is the
// newest one then.
func putManifest(ctx context.Context, dataset depot.Depot, m *manifest, docs []depot.File) (done bool, err error) {
	placed, err := dataset.Publish(ctx, docs)
	if err != nil {
		return false, &Error{Op: "write manifest pages", Path: pagesDir, Err: err}
	}
	for i, p := range placed {
		if p.Outcome == depot.Taken {
			return false, &Error{Op: "write manifest page", Path: docs[i].Path, Err: fmt.Errorf("%w: SHA-256 %s", ErrConflict, p.SHA256)}
		}
	}
	root := document(manifestPath(m.Generation), m.encode())
	placed, err = dataset.Publish(ctx, []depot.File{root})
	if err != nil {
		return false, &Error{Op: "write manifest", Path: root.Path, Err: err}
	}
	if placed[0].Outcome == depot.Taken {
		return false, nil
	}
	newest, err := newestManifest(ctx, dataset)
	return newest == m.Generation, err
}

// document is a small document on its way into a depot.
func document(p string, text []byte) depot.File {
	return depot.File{Path: p, Data: text, SHA256: sumOf(text), Size: int64(len(text))}
}

// ensureManifest returns the newest manifest, and makes the first one if there
// is none, from a listing: an export before it may have been made without. It
// has to be there before the first file is stored that it does not name.
func ensureManifest(ctx context.Context, dataset depot.Depot, now time.Time) (*manifest, error) {
	for {
		m, err := openManifest(ctx, dataset)
		if err != nil || m != nil {
			return m, err
		}
		files, err := listed(ctx, dataset, "")
		if err != nil {
			return nil, err
		}
		if err := countRows(ctx, dataset, files); err != nil {
			return nil, err
		}
		byPartition := map[string]*edit{}
		var edits []edit
		for _, f := range files {
			at := partitionOf(f.Path)
			if byPartition[at] == nil {
				byPartition[at] = &edit{partition: at, page: keyOfPage(f)}
			}
			byPartition[at].add = append(byPartition[at].add, f)
		}
		for _, e := range byPartition {
			edits = append(edits, *e)
		}
		none := &manifest{Format: manifestFormat, dataset: dataset}
		next, docs, err := none.next(ctx, edits, now)
		if err != nil {
			return nil, err
		}
		if _, err := putManifest(ctx, dataset, next, docs); err != nil {
			return nil, err
		}
	}
}

// countRows reads the number of rows from the footers of files that nobody has a
// number of. A file that cannot be read keeps -1.
func countRows(ctx context.Context, dataset depot.Reader, files []DataFile) error {
	slots := make(chan struct{}, pagesAtOnce)
	var wg sync.WaitGroup
	for i := range files {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f, err := dataset.Open(ctx, files[i].Path)
			if err != nil {
				return
			}
			if pf, err := parquet.OpenFile(f, f.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)); err == nil {
				files[i].Rows = pf.NumRows()
			}
			_ = f.Close() // it was only read
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// next is the manifest after the edits, and the documents that it names and that
// are new.
func (m *manifest) next(ctx context.Context, edits []edit, now time.Time) (*manifest, []depot.File, error) {
	n := &manifest{Format: manifestFormat, Generation: m.Generation + 1, Time: now.UTC().Round(0), Pages: slices.Clone(m.Pages), dataset: m.dataset}
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(a.partition, b.partition) })
	byPage := map[pageKey][]edit{}
	for _, e := range edits {
		byPage[e.page] = append(byPage[e.page], e)
	}
	var docs []depot.File
	for key, edits := range byPage {
		p, err := m.page(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		p.Files, p.Replaced = slices.Clone(p.Files), slices.Clone(p.Replaced)
		for _, e := range edits {
			p.apply(e)
			if e.line == nil {
				continue
			}
			h, err := m.history(ctx, e.partition)
			if err != nil {
				return nil, nil, err
			}
			doc := n.document(append(h, *e.line).encode(), historySuffix)
			p.setHistory(historyRef{Partition: e.partition, Path: doc.Path, SHA256: doc.SHA256})
			docs = append(docs, doc)
		}
		doc := n.document(p.encode(), ".json")
		docs = append(docs, doc)
		n.setPage(p.ref(key, doc))
	}
	return n, docs, nil
}

// document is a new document that the manifest is to name.
func (m *manifest) document(text []byte, suffix string) depot.File {
	return document(pagePath(m.Generation, sumOf(text)[:batchDigits], suffix), text)
}

func (m *manifest) setPage(r pageRef) {
	i, ok := m.find(r.pageKey)
	if ok {
		m.Pages[i] = r
		return
	}
	m.Pages = slices.Insert(m.Pages, i, r)
}

// apply takes files away and adds some.
func (p *page) apply(e edit) {
	p.Files = slices.DeleteFunc(p.Files, func(f DataFile) bool { return slices.Contains(e.remove, f.Path) })
	p.Files = append(p.Files, e.add...)
	slices.SortFunc(p.Files, func(a, b DataFile) int { return cmp.Compare(a.Path, b.Path) })
}

func (p *page) setHistory(r historyRef) {
	i, ok := slices.BinarySearchFunc(p.Replaced, r.Partition, func(h historyRef, at string) int { return cmp.Compare(h.Partition, at) })
	if ok {
		p.Replaced[i] = r
		return
	}
	p.Replaced = slices.Insert(p.Replaced, i, r)
}

func (p *page) encode() []byte {
	text, err := json.Marshal(p)
	if err != nil {
		panic("marshal manifest page: " + err.Error()) // strings and numbers only
	}
	return append(text, '\n')
}

// ref names the page.
func (p *page) ref(k pageKey, doc depot.File) pageRef {
	r := pageRef{pageKey: k, Files: len(p.Files), Path: doc.Path, SHA256: doc.SHA256}
	for _, f := range p.Files {
		if f.Rows < 0 {
			r.Rows = -1
			break
		}
		r.Rows += f.Rows
	}
	return r
}

// replaceInBucket stores the new files and makes the manifest that has them in
// place of the old.
func replaceInBucket(ctx context.Context, dataset depot.Depot, parts []*partChange, o ReplaceOptions) error {
	stored := map[string]bool{}
	plan := func(m *manifest) ([]edit, error) {
		edits, add, err := planChange(ctx, m, parts, &o)
		if err != nil {
			return nil, err
		}
		return edits, storeAll(ctx, dataset, add, stored)
	}
	if err := commit(ctx, dataset, o.Now, plan); err != nil {
		return fail("replace files", err)
	}
	return nil
}

// fail makes an error of the package of one that may be one already.
func fail(op string, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	return &Error{Op: op, Err: err}
}

// planChange decides on all partitions.
func planChange(ctx context.Context, m *manifest, parts []*partChange, o *ReplaceOptions) (edits []edit, add []depot.File, err error) {
	for _, c := range parts {
		st, err := m.state(ctx, c.partition, c.page)
		if err != nil {
			return nil, nil, err
		}
		line, news, todo, err := c.decide(st, o)
		if err != nil {
			return nil, nil, &Error{Op: "replace files", Path: c.partition, Err: err}
		}
		if !todo {
			continue
		}
		e := edit{partition: c.partition, page: c.page, line: &line}
		for _, f := range line.Removed {
			e.remove = append(e.remove, f.Path)
		}
		for _, a := range news {
			e.add = append(e.add, a.at)
			add = append(add, a.File)
		}
		edits = append(edits, e)
	}
	return edits, add, nil
}

// state is a partition as the manifest has it.
func (m *manifest) state(ctx context.Context, partition string, k pageKey) (st partState, err error) {
	p, err := m.page(ctx, k)
	if err != nil {
		return st, err
	}
	st.files = map[string]DataFile{}
	for _, f := range p.Files {
		if partitionOf(f.Path) == partition {
			st.files[f.Path] = f
		}
	}
	for _, r := range p.Replaced {
		if r.Partition == partition {
			st.history, err = m.readHistory(ctx, r)
		}
	}
	return st, err
}

// storeAll stores files under their names, once.
func storeAll(ctx context.Context, dataset depot.Depot, files []depot.File, stored map[string]bool) error {
	files = slices.DeleteFunc(files, func(f depot.File) bool { return stored[f.Path] })
	placed, err := dataset.Publish(ctx, files)
	if err != nil {
		return err
	}
	for i, p := range placed {
		if p.Outcome == depot.Taken {
			return &Error{Op: "store file", Path: files[i].Path, Err: fmt.Errorf("%w: SHA-256 %s, expected %s", ErrConflict, p.SHA256, files[i].SHA256)}
		}
		stored[files[i].Path] = true
	}
	return nil
}

// publishInBucket stores the outputs of a batch and makes a manifest that has
// all of them, so that the batch becomes visible in one moment. Those that were
// replaced since are left alone. files are what the manifest is to say of local.
func publishInBucket(ctx context.Context, dataset depot.Depot, files []DataFile, local []depot.File, now time.Time) ([]depot.Placement, error) {
	if _, err := ensureManifest(ctx, dataset, now); err != nil {
		return nil, err
	}
	b := &bucketBatch{dataset: dataset, files: files, local: local, stored: map[string]bool{}, placed: make([]depot.Placement, len(files))}
	for i := range b.placed {
		b.placed[i] = depot.Placement{Outcome: depot.Same, SHA256: local[i].SHA256}
	}
	err := commit(ctx, dataset, now, func(m *manifest) ([]edit, error) { return b.plan(ctx, m) })
	return b.placed, err
}

// bucketBatch is a batch on its way into a bucket.
type bucketBatch struct {
	dataset depot.Depot
	files   []DataFile
	local   []depot.File
	stored  map[string]bool
	placed  []depot.Placement // Same, but those that a plan of ours had to add
}

// plan is what a manifest lacks of the batch; their bytes are in the store then.
func (b *bucketBatch) plan(ctx context.Context, m *manifest) ([]edit, error) {
	var edits []edit
	var todo []depot.File
	for i, f := range b.files {
		st, err := m.state(ctx, partitionOf(f.Path), keyOfPage(f))
		if err != nil {
			return nil, err
		}
		there, is := st.files[f.Path]
		gone, was := st.history.gone(f.Path)
		switch sum := cmp.Or(there.SHA256, gone.SHA256); {
		case sum != "" && sum != f.SHA256:
			b.placed[i] = depot.Placement{Outcome: depot.Taken, SHA256: sum}
			return nil, nil
		case was, is && sum != "":
		case is: // the first manifest was made from a listing: the bytes tell
			todo = append(todo, b.local[i])
		default:
			b.placed[i].Outcome = depot.Placed
			todo = append(todo, b.local[i])
			edits = append(edits, edit{partition: partitionOf(f.Path), page: keyOfPage(f), add: []DataFile{f}})
		}
	}
	return edits, storeAll(ctx, b.dataset, todo, b.stored)
}
