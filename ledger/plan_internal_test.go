package ledger

import (
	"path/filepath"
	"strings"
	"testing"
)

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
		{selectRows + aliasesOf, "SEARCH pulled USING INDEX pulled_alias (device=? AND sha256=?)"},
		{selectRows + claimedOn, "SEARCH pulled USING INDEX pulled_claim (device=?)"},
		{knownRange, "SEARCH pulled USING INDEX pulled_key (device=? AND path=? AND name>? AND name<?)"},
		{factsTouching, "SEARCH facts USING INDEX facts_time (device=? AND last_end>?);SEARCH pulled USING INTEGER PRIMARY KEY (rowid=?);USE TEMP B-TREE FOR ORDER BY"},
		{factsUnknown, "MULTI-INDEX OR;INDEX 1;SEARCH pulled USING INDEX pulled_stamp (device=? AND stamp>? AND stamp<?);INDEX 2;SEARCH pulled USING INDEX pulled_seen (device=? AND first_seen>? AND first_seen<?);CORRELATED SCALAR SUBQUERY 1;SEARCH facts USING INTEGER PRIMARY KEY (rowid=?);USE TEMP B-TREE FOR ORDER BY"},
		{selectKept + keptBefore, "SEARCH pulled USING INDEX pulled_kept (first_seen>? AND first_seen<?);SEARCH facts USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"},
		{selectKept + keptOf, "SEARCH pulled USING INDEX pulled_seen (device=?);SEARCH facts USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN;USE TEMP B-TREE FOR ORDER BY"},
		{keptNumber, "CO-ROUTINE kept;SCAN pulled USING COVERING INDEX pulled_kept;SCAN kept"},
		{keptRest, "SEARCH pulled USING COVERING INDEX pulled_kept (first_seen>? AND first_seen<?)"},
		{selectKept + keptNewest, "SCAN pulled USING INDEX pulled_kept;SEARCH facts USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"},
		{updateExpired, "SEARCH pulled USING INTEGER PRIMARY KEY (rowid=?)"},
		{selectExpiring + expiringSince, "SEARCH expiring USING INDEX expiring_since (since<?)"},
		{selectOutputs + outputsOf, "SEARCH output USING INDEX output_day (record=? AND date=?)"},
		{publishedAt, "SEARCH output USING INDEX output_day (record=? AND date=?);SEARCH batch USING INDEX sqlite_autoindex_batch_1 (id=?)"},
		{openBatches, "SCAN batch USING INDEX batch_open"},
		{removedKey, "SCAN CONSTANT ROW;SCALAR SUBQUERY 1;SEARCH removal USING INTEGER PRIMARY KEY (rowid=?)"},
		{removedOf, "SEARCH removal USING INDEX removal_device (device=?);SEARCH pulled USING INTEGER PRIMARY KEY (rowid=?);USE TEMP B-TREE FOR ORDER BY"},
		{selectVisits + lastVisit, "SEARCH visit USING INDEX visit_last (device=?)"},
		{selectVisits + visitsIn, "SEARCH visit USING INDEX visit_time (device=? AND ended>?)"},
		{selectDevices + deviceByName, "SEARCH device USING INDEX sqlite_autoindex_device_1 (device=?)"},
		{selectDevices + devicesOf, "SEARCH device USING INDEX device_held (owner=?);USE TEMP B-TREE FOR ORDER BY"},
		{selectDevices + devicesSince, "SEARCH device USING INDEX device_version (version>?)"},
		{heldAtSite, "SEARCH device USING INDEX device_site (site=? AND lease_until>?)"},
		{lastVersion, "SEARCH device USING COVERING INDEX device_version"},
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
