package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"acctpull/export"
	"acctpull/ledger"
)

// strangerError: the dataset has files that the ledger does not know. A ledger
// that is an old copy is the usual reason, and it would export twice.
type strangerError struct {
	dataset, first string
	n              int
}

func (e *strangerError) Error() string {
	return fmt.Sprintf("the dataset %s has %s that the ledger does not know; the first is %q", e.dataset, plural(e.n, "Parquet file"), e.first)
}

// Hint implements the hint of run.
func (e *strangerError) Hint() string {
	return "nothing was exported: acctpull check names each of them\nif the ledger is an old copy, make it anew: acctpull check --rebuild\nif they were put there by hand, move them away: readers would count them"
}

// checkOurs refuses to add to a dataset with files that the ledger does not
// know. It looks once, before the first batch of this process.
func (s *store) checkOurs(ctx context.Context, batch string) error {
	if s.ours {
		return nil
	}
	dataset := s.part(s.dataset)
	there, err := export.Contents(ctx, dataset)
	if err != nil {
		return err
	}
	if there, err = s.unknown(ctx, there); err != nil {
		return err
	}
	if len(there) > 0 { // what a crash left, or another node is just publishing
		if there, err = s.unplanned(ctx, batch, there); err != nil {
			return err
		}
		if there, err = s.unknown(ctx, there); err != nil { // one may have finished meanwhile
			return err
		}
	}
	if len(there) > 0 { // what stands in for files of the ledger
		if there, err = export.Unmade(ctx, dataset, there); err != nil {
			return err
		}
	}
	if len(there) > 0 {
		return &strangerError{s.name(s.path(s.dataset)), slices.Min(there), len(there)}
	}
	s.ours = true
	return nil
}

// unknown returns those of the files that the ledger has no row of.
func (s *store) unknown(ctx context.Context, there []string) ([]string, error) {
	if len(there) == 0 {
		return nil, nil
	}
	outputs, err := s.ledger.Outputs(ctx, "")
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(outputs))
	for _, o := range outputs {
		known[o.Path] = true
	}
	return slices.DeleteFunc(there, func(rel string) bool { return known[rel] }), nil
}

// unplanned returns those of the files that belong to no open batch.
func (s *store) unplanned(ctx context.Context, batch string, there []string) ([]string, error) {
	open := map[string]bool{}
	name := func(batch string) string { return batch[:min(len(batch), outputDigits)] }
	open[name(batch)] = true
	for r, err := range s.ledger.Files(ctx, "") {
		if err != nil {
			return nil, err
		}
		if r.State == ledger.Stored && r.Batch != "" {
			open[name(r.Batch)] = true
		}
	}
	return slices.DeleteFunc(there, func(rel string) bool { return open[strings.TrimSuffix(path.Base(rel), ".parquet")] }), nil
}

// outputDigits is how many digits of the id of a batch name its outputs.
const outputDigits = 32
