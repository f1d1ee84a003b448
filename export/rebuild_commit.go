package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// This file replaces what a rebuild has prepared, and finishes it after a kill.

// journal is what a rebuild does from the first replacement on, written down
// before it.
type journal struct {
	Format string     `json:"format"`
	Result Rebuilt    `json:"result"`
	Add    []heldFile `json:"add"`
}

const (
	journalFormat = "acctpull.rebuild/1"
	journalName   = "journal.json"
)

// save writes the journal down.
func (j *journal) save(dir string) error {
	at := filepath.Join(dir, journalName)
	text, err := json.Marshal(j)
	if err == nil {
		err = durable.ReplaceFile(at, text, durable.StateMode)
	}
	if err != nil {
		return &Error{Op: "write journal of the rebuild", Path: at, Err: err}
	}
	return nil
}

// readJournal reads what a killed process left; nil if that is nothing.
func readJournal(dir string) (*journal, error) {
	at := filepath.Join(dir, journalName)
	text, err := os.ReadFile(at)
	if isMissing(err) {
		return nil, nil
	}
	j := &journal{}
	if err == nil {
		err = json.Unmarshal(text, j)
	}
	if err == nil && j.Format != journalFormat {
		err = fmt.Errorf("its format is %.64q, this version reads %q", j.Format, journalFormat)
	}
	if err != nil {
		return nil, &Error{Op: "read journal of the rebuild", Path: at, Err: err}
	}
	return j, nil
}

// ResumeRebuild finishes a rebuild that was killed after it began to replace
// files. done is false if there is none. If the dataset has changed since, so that
// it cannot be finished as it was planned, done is false too, and inputs have to
// be rebuilt anew: some of their rows may be missing until then.
func (x *Exporter) ResumeRebuild(ctx context.Context, record func(context.Context, Rebuilt) error) (res Rebuilt, done bool, inputs []ledger.Input, err error) {
	j, err := readJournal(x.o.rebuilding())
	if err != nil || j == nil {
		return Rebuilt{}, false, nil, err
	}
	for _, f := range j.Result.Files {
		if f.State == ledger.Exported {
			inputs = append(inputs, f.Input)
		}
	}
	same, err := x.stillHolds(ctx, j, inputSet(inputs))
	if err != nil {
		return Rebuilt{}, false, nil, err
	}
	if same {
		err = x.commit(ctx, j, record)
		if err == nil {
			return j.Result, true, nil, nil
		}
		if !errors.Is(err, ErrStale) {
			return Rebuilt{}, false, nil, err
		}
	}
	return Rebuilt{}, false, inputs, nil
}

// stillHolds reports whether the rows of the inputs are where the journal has
// them, before or after.
func (x *Exporter) stillHolds(ctx context.Context, j *journal, inputs map[ledgerKey]bool) (bool, error) {
	known := map[string]bool{}
	for _, f := range j.Result.Removed {
		known[f.Path] = true
	}
	for _, f := range j.Add {
		known[f.Output.Path] = true
	}
	held, err := x.holders(ctx, inputs)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(held, func(h holder) bool { return !known[h.Path] }), nil
}

// commit replaces the files, has it recorded, and forgets the journal. All of it
// may be repeated.
func (x *Exporter) commit(ctx context.Context, j *journal, record func(context.Context, Rebuilt) error) error {
	change := Change{Reason: ReasonRebuild}
	for _, f := range j.Result.Removed {
		change.Remove = append(change.Remove, f.Path)
	}
	for _, s := range j.Add {
		change.Add = append(change.Add, depot.File{Path: s.Output.Path, Local: filepath.Join(x.o.rebuilding(), s.Local), SHA256: s.Output.SHA256, Size: s.Size})
	}
	if len(change.Remove)+len(change.Add) > 0 {
		err := Replace(ctx, x.o.Outputs, change, ReplaceOptions{Finished: x.o.Finished, Now: time.Now()})
		if err != nil {
			return err
		}
		if err := x.WriteSidecars(ctx); err != nil {
			return err
		}
	}
	if err := record(ctx, j.Result); err != nil {
		return err
	}
	if err := x.forgetRejects(ctx, j.Result); err != nil {
		return err
	}
	dir := x.o.rebuilding()
	at := filepath.Join(dir, journalName)
	if err := errors.Join(os.Remove(at), durable.SyncDir(dir)); err != nil {
		return &Error{Op: "remove journal of the rebuild", Path: at, Err: err}
	}
	return x.clearRebuild()
}

// forgetRejects removes the lists of unusable records of files that have none any
// more.
func (x *Exporter) forgetRejects(ctx context.Context, res Rebuilt) error {
	stale := map[string]bool{}
	for _, f := range res.Files {
		if f.State == ledger.Exported && f.Rejected == 0 {
			stale[rejectsName(f.Input)] = true
		}
	}
	var there []string
	for e, err := range x.o.Rejects.List(ctx, "") {
		if err != nil {
			return &Error{Op: "list quarantine", Err: err}
		}
		if stale[e.Path] && !strings.Contains(e.Path, "/") {
			there = append(there, e.Path)
		}
	}
	for _, name := range there {
		if err := x.o.Rejects.Remove(ctx, name); err != nil && !isMissing(err) {
			return &Error{Op: "remove quarantine file", Path: name, Err: err}
		}
	}
	return nil
}
