package ledger_test

import (
	"testing"
	"time"

	"acctpull/ledger"
)

// A rebuild of the dataset gives files other numbers of rows. Its batch ends, and
// everything still adds up (mustOpen checks the ledger at the end).
func testReexport(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"a": "1", "b": "2", "c": "3"})
	b := plan(t, l, 0, 0)
	_, results := outcome(b)
	results[2] = ledger.InputResult{Device: "r1", SHA256: results[2].SHA256, State: ledger.Quarantined, Reason: "bad value"}
	outputs := []ledger.Output{{Path: "a/v1/date=2026-01-01/" + b.ID[:32] + ".parquet", SHA256: digest(b.ID), Rows: 20, Record: "a", Date: "2026-01-01"}}
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))

	later := start.Add(time.Hour)
	facts := &ledger.Facts{Policy: 11, Record: "b", Spans: []ledger.Span{{End: start, Records: 7}}}
	again := []ledger.Reexported{{Device: "r1", SHA256: digest("1"), Records: 7, Facts: facts}}
	for range 2 { // repeated after a lost answer
		ok(t, l.Reexport(t.Context(), later, again))
	}
	if r := row(t, l, key("r1", "a")); r.Records != 7 || r.Batch != "" || r.State != ledger.Exported || !r.Changed.Equal(later) {
		t.Errorf("row %+v", r)
	}
	if r := row(t, l, key("r1", "b")); r.Records != 10 || r.Batch != "" || r.State != ledger.Exported {
		t.Errorf("the other file of the batch: %+v", r)
	}
	if r := row(t, l, key("r1", "c")); r.Batch != b.ID || r.State != ledger.Quarantined {
		t.Errorf("the refused file of the batch: %+v", r)
	}
	all := must(l.Outputs(t.Context(), ""))(t)
	if len(all) != 1 || all[0].Batch != "" {
		t.Errorf("outputs %+v", all)
	}
	for r, err := range l.FileFacts(t.Context(), "r1", start.Add(-time.Minute), start.Add(time.Minute)) {
		ok(t, err)
		if r.Name == "a" && (r.Facts == nil || r.Facts.Record != "b" || r.Facts.Policy != 11) {
			t.Errorf("facts %+v", r.Facts)
		}
	}
	ok(t, l.Check(t.Context()))

	// The refused file goes its usual way.
	a := ledger.Acceptance{SHA256: digest("3"), Stored: "devices/r1/act/c", By: "me", Why: "a better profile"}
	ok(t, l.ReleaseQuarantined(t.Context(), later, key("r1", "c"), a))
	next := plan(t, l, 0, 0)
	if next.ID == b.ID || len(next.Inputs) != 1 || next.Inputs[0].Name != "c" {
		t.Errorf("next batch %+v", next)
	}
	outputs, results = outcome(next)
	ok(t, l.FinishBatch(t.Context(), later, next.BatchClaim, outputs, results))
	// A second time, for a file of another batch and one of none.
	ok(t, l.Reexport(t.Context(), later, []ledger.Reexported{{Device: "r1", SHA256: digest("3"), Records: 0}, {Device: "r1", SHA256: digest("1"), Records: 3}}))
	if r := row(t, l, key("r1", "c")); r.Records != 0 || r.Batch != "" {
		t.Errorf("row %+v", r)
	}

	put(t, l, "r1", map[string]string{"d": "4"})
	for text, bad := range map[string]ledger.Reexported{
		"does not know": {Device: "r1", SHA256: digest("5")},
		"not exported":  {Device: "r1", SHA256: digest("4")},
		"-1 records":    {Device: "r1", SHA256: digest("1"), Records: -1},
		"SHA-256":       {Device: "r1", SHA256: "1"},
	} {
		refused(t, l.Reexport(t.Context(), later, []ledger.Reexported{bad}), nil, text)
	}
}
