package ledger

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryIndexIsCompared: Open compares all indexes of pulled with the table.
func TestEveryIndexIsCompared(t *testing.T) {
	n := 0
	for _, statement := range schema {
		if strings.Contains(statement, "INDEX pulled_") {
			if n >= len(indexes) || !strings.Contains(statement, " "+indexes[n].name+" ON pulled ("+indexes[n].columns+")") ||
				indexes[n].where != "TRUE" && !strings.HasSuffix(statement, " WHERE "+indexes[n].where) {
				t.Errorf("%s is not compared", statement)
			}
			n++
		}
	}
	if n != len(indexes) {
		t.Errorf("%d indexes, %d are compared", n, len(indexes))
	}
}

// TestIndexes: the ledger forgets nothing, so no statement of the daily work may
// walk through the whole table.
func TestIndexes(t *testing.T) {
	l, err := Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct{ query, want string }{
		{selectKey, "SEARCH pulled USING INDEX pulled_key (device=? AND path=? AND name=? AND size=? AND mtime=?)"},
		{selectContent, "SEARCH pulled USING INDEX pulled_content (device=? AND sha256=?)"},
		{selectRows + claimable, "SEARCH pulled USING INDEX pulled_claim (device=?)"},
		{selectRows + ownedBy, "SCAN pulled USING INDEX pulled_claim"},
		{selectRows + ready, "SCAN pulled USING INDEX pulled_ready"},
		{selectRows + inBatch, "SEARCH pulled USING INDEX pulled_batch (batch=?)"},
		{selectRows + aliasesOfBatch, "SEARCH pulled USING INDEX pulled_alias (device=? AND sha256=?);LIST SUBQUERY 3;SEARCH pulled USING INDEX pulled_batch (batch=?)"},
		{selectBatches + unfinished, "SCAN batch USING INDEX batch_open;USE TEMP B-TREE FOR LAST TERM OF ORDER BY"},
		{selectBatches + `WHERE id = $1`, "SEARCH batch USING INDEX sqlite_autoindex_batch_1 (id=?)"},
		{selectOutputs + `WHERE batch = $1`, "SEARCH output USING INDEX output_batch (batch=?)"},
		{updateLease, "SEARCH pulled USING INTEGER PRIMARY KEY (rowid=?)"},
		{updateStored, "SEARCH pulled USING INTEGER PRIMARY KEY (rowid=?)"},
		{updateBatch, "SEARCH pulled USING INTEGER PRIMARY KEY (rowid=?)"},
		{updateSettled, "SEARCH pulled USING INTEGER PRIMARY KEY (rowid=?)"},
		{indexes[0].query(), "SCAN pulled USING COVERING INDEX pulled_key"},
		{indexes[1].query(), "SCAN pulled USING COVERING INDEX pulled_claim"},
		{indexes[2].query(), "SCAN pulled USING COVERING INDEX pulled_ready"},
		{indexes[3].query(), "SCAN pulled USING COVERING INDEX pulled_content"},
		{indexes[4].query(), "SCAN pulled USING COVERING INDEX pulled_alias"},
		{indexes[5].query(), "SCAN pulled USING COVERING INDEX pulled_batch"},
	} {
		args := make([]any, strings.Count(c.query, "$"))
		steps, err := collect(func(s scanner) (step string, err error) {
			var id, parent, unused int
			return step, s.Scan(&id, &parent, &unused, &step)
		})(l.r.Query(`EXPLAIN QUERY PLAN `+c.query, args...))
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
		}
		if got := strings.Join(steps, ";"); got != c.want {
			t.Errorf("%s\nis done by %s\nwant       %s", c.query, got, c.want)
		}
	}
}
