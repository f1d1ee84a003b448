package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"acctpull/export"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// inputKey stands for a device and the SHA-256 of a file. There can be millions,
// so it is short.
type inputKey [16]byte

func keyOf(device, sum string) inputKey {
	h := sha256.Sum256([]byte(device + "\x00" + sum))
	return inputKey(h[:16])
}

// dataset is what the files of the dataset tell.
type dataset struct {
	read map[string]bool    // files whose sources are in rows
	rows map[inputKey]int64 // by input, over all files
	odd  bool               // a file of it is not right, so the sums say nothing
	// expired is the number of rows that are not kept any longer, and short
	// how many the inputs lack.
	expired, short int64
}

// doDataset is the advice for a dataset file that cannot be trusted.
const doDataset = "restore the file from a copy; or keep it aside, remove it, make the ledger anew with acctpull check --rebuild, and export again: the archive has what it was made of"

// checkDataset proves every file of the dataset against its row and gathers
// what its footer says about inputs.
func (c *check) checkDataset(ctx context.Context) error {
	c.data = &dataset{read: map[string]bool{}, rows: map[inputKey]int64{}}
	wrong := export.CheckSidecars(ctx, c.o.dataset())
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if err := wrong[name]; ofMachine(ctx, err) {
			return err
		}
		c.found(Finding{Kind: Damaged, File: c.inDataset(name), What: rootOf(wrong[name]), Do: "remove it; the next export makes it anew"})
	}
	fs, err := c.settle(ctx, func(only map[string]bool) ([]Finding, error) { return c.datasetPass(ctx, only) })
	c.found(fs...)
	c.data.odd = len(fs) > 0
	c.report.Outputs = len(c.data.read)
	return err
}

// inDataset is the path of a dataset file in findings.
func (c *check) inDataset(rel string) string { return path.Join(c.o.Dataset, rel) }

// datasetPass lists and compares all files, and reads those that were not read,
// or are in only.
func (c *check) datasetPass(ctx context.Context, only map[string]bool) ([]Finding, error) {
	v, err := export.TakeInventory(ctx, c.o.dataset())
	if err != nil {
		return nil, err
	}
	rows := map[string]ledger.Output{}
	if c.ledger != nil {
		outputs, err := c.ledger.Outputs(ctx, "")
		if err != nil {
			return nil, err
		}
		for _, o := range outputs {
			rows[o.Path] = o
		}
	}
	var mu sync.Mutex
	var found []Finding
	add := func(f Finding) { found = append(found, f) }
	for _, u := range v.Unsound {
		add(c.judgeDocument(u))
	}
	for _, rel := range v.Stray {
		add(Finding{Kind: Unknown, File: c.inDataset(rel), What: "no manifest names it, and it was not replaced: who reads by the manifest does not see it",
			Do: "a killed process left it: remove it, unless one is at work that will name it"})
	}
	for _, rel := range v.Foreign {
		add(Finding{Kind: Unknown, File: c.inDataset(rel), What: "it lies where readers expect nothing but our files", Do: "move it away: DuckDB, pandas and Spark would read it as data"})
	}
	c.data.expired = v.Expired()
	made, gone, there := v.Made(), v.Gone(), map[string]bool{}
	var todo []export.DataFile
	for _, f := range v.Files {
		if there[f.Path] = true; !c.data.read[f.Path] || only[c.inDataset(f.Path)] {
			todo = append(todo, f)
		}
	}
	err = parallel(ctx, c.o.Workers, todo, func(ctx context.Context, file export.DataFile) error {
		rel := file.Path
		p, err := export.ReadPublished(ctx, c.o.dataset(), rel)
		if err != nil && ofMachine(ctx, err) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if errors.Is(err, fs.ErrNotExist) {
			there[rel] = false // whoever knows it will tell
			if v.Generation > 0 {
				add(Finding{Kind: Missing, File: c.inDataset(rel), What: fmt.Sprintf("manifest %d names it", v.Generation), Do: doDataset})
			}
			return nil
		}
		c.gather(rel, p, err == nil)
		if m, ok := made[rel]; ok {
			if f, wrong := c.judgeMade(m, p, err); wrong {
				add(f)
			}
			return nil
		}
		row, known := rows[rel]
		if f, wrong := c.judgeOutput(file, p, err, row, known); wrong {
			add(f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for rel, m := range made {
		if !there[rel] {
			add(Finding{Kind: Missing, File: c.inDataset(rel), What: fmt.Sprintf("it stands in for other files, with %d rows and SHA-256 %s", m.Rows, m.SHA256), Do: doDataset})
		}
	}
	for rel, o := range rows {
		if g, was := gone[rel]; was {
			if g.SHA256 != o.SHA256 || g.Rows != o.Rows {
				add(Finding{Kind: Contradiction, File: c.inDataset(rel), Do: doRebuild,
					What: fmt.Sprintf("it was replaced with %d rows and SHA-256 %s, the ledger has it with %d and %s", g.Rows, g.SHA256, o.Rows, o.SHA256)})
			}
		} else if !there[rel] {
			add(Finding{Kind: Missing, File: c.inDataset(rel), What: fmt.Sprintf("the ledger has it with %d rows and SHA-256 %s", o.Rows, o.SHA256), Do: doDataset})
		}
	}
	return c.withoutOpen(ctx, found)
}

// gather books the sources of a file, once.
func (c *check) gather(rel string, p export.Published, whole bool) {
	if c.data.read[rel] {
		return
	}
	c.data.read[rel] = true
	c.progress(p.Bytes)
	if !whole {
		return
	}
	c.report.Rows += p.Output.Rows
	for _, s := range p.Sources {
		c.data.rows[keyOf(s.Device, s.SHA256)] += s.Records
	}
}

// judgeDocument says what is wrong with a history or manifest.
func (c *check) judgeDocument(u export.Unsound) Finding {
	f := Finding{Kind: Contradiction, File: c.inDataset(u.Path), What: rootOf(u.Err), Do: doHistory}
	switch {
	case errors.Is(u.Err, fs.ErrNotExist):
		f.Kind, f.What = Missing, "the newest manifest names it"
	case errors.Is(u.Err, durable.ErrDigest):
		f.Kind = Damaged
	}
	return f
}

// doHistory is the advice for a document that tells what was replaced by what.
const doHistory = "restore it from a copy; without it nothing tells which files were replaced by which, so do not export or compact before"

// judgeMade compares a file that was made of others with what the history has.
func (c *check) judgeMade(m export.MadeFile, p export.Published, err error) (Finding, bool) {
	f := Finding{Kind: Damaged, File: c.inDataset(m.Path), Do: doDataset}
	switch {
	case p.Output.SHA256 != "" && p.Output.SHA256 != m.SHA256:
		f.What = fmt.Sprintf("its SHA-256 is %s, was %s when it was published", p.Output.SHA256, m.SHA256)
	case err != nil:
		f.What = rootOf(err)
	case p.Output.Rows != m.Rows:
		f.Kind, f.What = Contradiction, fmt.Sprintf("it has %d rows, the history says %d", p.Output.Rows, m.Rows)
	default:
		return f, false
	}
	return f, true
}

// judgeOutput compares a file with its row.
func (c *check) judgeOutput(file export.DataFile, p export.Published, err error, row ledger.Output, known bool) (Finding, bool) {
	f := Finding{Kind: Damaged, File: c.inDataset(file.Path), Do: doDataset}
	switch {
	case file.SHA256 != "" && p.Output.SHA256 != "" && p.Output.SHA256 != file.SHA256:
		f.What = fmt.Sprintf("its SHA-256 is %s, the manifest has %s", p.Output.SHA256, file.SHA256)
	case known && p.Output.SHA256 != "" && p.Output.SHA256 != row.SHA256:
		f.What = fmt.Sprintf("its SHA-256 is %s, was %s when it was published", p.Output.SHA256, row.SHA256)
	case err != nil && (known || c.ledger == nil):
		f.What = rootOf(err)
	case c.ledger == nil:
		return f, false
	case !known:
		f.Kind, f.What = Unknown, "the ledger does not know it: its rows may be in the dataset twice"
		f.Do = "if it was put there by hand, move it away; if the ledger is an old copy, make it anew: acctpull check --rebuild"
	case p.Output.Rows != row.Rows || p.Output.Record != row.Record || p.Output.Date != row.Date,
		row.Batch != "" && row.Batch != p.Output.Batch:
		f.Kind, f.Do = Contradiction, doRebuild
		f.What = fmt.Sprintf("it has %d rows of batch %s, the ledger says %d of %s", p.Output.Rows, short(p.Output.Batch), row.Rows, short(row.Batch))
	default:
		return f, false
	}
	return f, true
}

// withoutOpen takes away findings about files of a batch that was planned and
// not finished: a crash leaves such files, and the next export adopts them.
func (c *check) withoutOpen(ctx context.Context, found []Finding) ([]Finding, error) {
	if c.ledger == nil || !slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == Unknown }) {
		return found, nil
	}
	open := map[string]bool{} // by the digits that name files
	for r, err := range c.ledger.Files(ctx, "") {
		if err != nil {
			return nil, err
		}
		if r.State == ledger.Stored && len(r.Batch) >= 32 {
			open[r.Batch[:32]] = true
		}
	}
	return slices.DeleteFunc(found, func(f Finding) bool {
		return f.Kind == Unknown && open[strings.TrimSuffix(path.Base(f.File), ".parquet")]
	}), nil
}

func short(id string) string {
	if id == "" {
		return "unknown"
	}
	return id[:min(12, len(id))]
}

// rootOf is the text of the cause of an error of the rooms below.
func rootOf(err error) string {
	var e *export.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
