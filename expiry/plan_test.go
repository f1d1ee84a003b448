package expiry

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"acctpull/ledger"
)

const days = 24 * time.Hour

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// file is a file of the archive that came at a time, with the records of the hour
// before.
func file(came string) Item {
	c := at(came)
	return Item{Location: Archive, Path: "devices/r1/act/x", Device: "r1", Record: "service-ingress-octets", Files: 1, Bytes: 100,
		Came: c, From: c.Add(-time.Hour), To: c, State: ledger.Exported}
}

// dayOf is a day of a table that was last written to a few hours after its end.
func dayOf(date string) Item {
	from := at(date + "T00:00:00Z")
	return Item{Location: Dataset, Path: "t/v1/date=" + date, Record: "service-ingress-octets", Files: 2, Bytes: 100,
		From: from, To: from.AddDate(0, 0, 1), Came: from.Add(27 * time.Hour), State: ledger.Exported}
}

func with(it Item, change func(*Item)) Item {
	change(&it)
	return it
}

var monthly = Policy{
	FileIDs: []FileID{
		{ID: 1, Location: Archive, Retention: 30 * days},
		{ID: 2, Location: Dataset, Retention: 60 * days},
		{ID: 3, Location: Dataset, Retention: 400 * days, Records: []string{"service-ingress-octets-usage"}},
		{ID: 4, Location: Archive, Retention: 90 * days, Groups: []string{"core"}},
		{ID: 5, Location: Archive, Retention: 45 * days, Records: []string{"saa"}},
	},
	ClosesAfter: 10 * days,
}

func TestDecide(t *testing.T) {
	proof := monthly
	proof.KeepProof = 20 * days
	berlin := monthly
	berlin.Zone = zone(t, "Europe/Berlin")
	names := monthly
	names.Names = func(record string) (service, sap bool) {
		return record != "network-ingress-octets", record == "service-ingress-octets"
	}
	hold := func(h ledger.Hold) []ledger.Hold { h.ID = 7; return []ledger.Hold{h} }
	for _, c := range []struct {
		what   string
		policy *Policy
		item   Item
		holds  []ledger.Hold
		now    string
		want   Reason
		id     int
	}{
		{"nothing configured", &Policy{}, file("2020-01-01T00:00:00Z"), nil, "2026-11-22T00:00:00Z", NoFileID, 0},
		{"a month later", &monthly, file("2026-10-01T00:00:00Z"), nil, "2026-10-31T00:00:00Z", Retained, 1},
		{"its time is over, its month is not closed", &monthly, file("2026-10-01T12:00:00Z"), nil, "2026-11-10T00:00:00Z", OpenMonth, 1},
		{"its month is closed", &monthly, file("2026-10-01T12:00:00Z"), nil, "2026-11-11T00:00:01Z", Expired, 1},
		{"at the very instant it is kept", &monthly, file("2026-10-01T12:00:00Z"), nil, "2026-11-11T00:00:00Z", OpenMonth, 1},
		{"the last instant of a month belongs to it", &monthly, file("2026-10-01T00:00:00Z"), nil, "2026-11-01T00:00:00Z", Expired, 1},
		{"in Berlin that is October", &berlin, file("2026-10-01T00:00:00Z"), nil, "2026-11-01T00:00:00Z", OpenMonth, 1},
		{"and closes at midnight there", &berlin, file("2026-10-01T00:00:00Z"), nil, "2026-11-10T23:00:01Z", Expired, 1},
		{"the proof is kept longer", &proof, file("2026-09-15T00:00:00Z"), nil, "2026-10-30T00:00:00Z", Proof, 1},
		{"and then it is not", &proof, file("2026-09-15T00:00:00Z"), nil, "2026-10-31T00:00:01Z", Expired, 1},
		{"not exported", &monthly, with(file("2020-01-01T00:00:00Z"), func(it *Item) { it.State = ledger.Stored }), nil, "2026-11-22T00:00:00Z", NotExported, 1},
		{"waits to be fetched again", &monthly, with(file("2020-01-01T00:00:00Z"), func(it *Item) { it.State = ledger.Discovered }), nil, "2026-11-22T00:00:00Z", NotExported, 1},
		{"in quarantine", &monthly, with(file("2020-01-01T00:00:00Z"), func(it *Item) { it.State = ledger.Quarantined }), nil, "2026-11-22T00:00:00Z", Quarantined, 1},
		{"no date at all", &monthly, Item{Location: Archive, State: ledger.Exported}, nil, "2026-11-22T00:00:00Z", NoDate, 1},
		{"a group is kept longer", &monthly, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.Groups = []string{"north", "core"} }), nil, "2026-10-15T00:00:00Z", Retained, 4},
		{"of two that name it the longer holds", &monthly, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.Groups, it.Record = []string{"core"}, "saa" }), nil, "2026-10-15T00:00:00Z", Retained, 4},
		{"a record has its own", &monthly, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.Record = "saa" }), nil, "2026-10-15T00:00:00Z", Expired, 5},
		{"a day of a table", &monthly, dayOf("2026-08-01"), nil, "2026-10-15T00:00:00Z", Expired, 2},
		{"its usage", &monthly, with(dayOf("2026-08-01"), func(it *Item) { it.Record += "-usage" }), nil, "2026-10-15T00:00:00Z", Retained, 3},
		{"a day that was written to yesterday", &monthly, with(dayOf("2026-08-01"), func(it *Item) { it.Came = at("2026-10-14T00:00:00Z") }), nil, "2026-10-15T00:00:00Z", Retained, 2},
		{"nobody knows when it was written", &monthly, with(dayOf("2026-08-01"), func(it *Item) { it.Came = time.Time{} }), nil, "2026-10-15T00:00:00Z", Expired, 2},
		{"in use", &monthly, with(dayOf("2026-08-01"), func(it *Item) { it.Busy = "batch" }), nil, "2026-10-15T00:00:00Z", Busy, 2},
		{"a clock that was years ahead changes nothing", &monthly, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.From, it.To = at("2036-01-01T00:00:00Z"), at("2036-01-02T00:00:00Z") }), nil, "2026-10-15T00:00:00Z", Expired, 1},
		{"nor one that was years behind", &monthly, with(file("2026-10-01T12:00:00Z"), func(it *Item) { it.From, it.To = at("2003-01-01T00:00:00Z"), at("2003-01-02T00:00:00Z") }), nil, "2026-10-15T00:00:00Z", Retained, 1},

		{"held by device", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{Device: "r1"}), "2026-10-15T00:00:00Z", Held, 1},
		{"another device is held", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{Device: "r2"}), "2026-10-15T00:00:00Z", Expired, 1},
		{"a day has all devices", &monthly, dayOf("2026-08-01"), hold(ledger.Hold{Device: "r2"}), "2026-10-15T00:00:00Z", Held, 2},
		{"released", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{Device: "r1", Released: at("2026-10-01T00:00:00Z")}), "2026-10-15T00:00:00Z", Expired, 1},
		{"held from a time before", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{From: at("2026-07-01T00:00:00Z")}), "2026-10-15T00:00:00Z", Held, 1},
		{"from the next day, and clocks differ", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{From: at("2026-08-02T12:00:00Z")}), "2026-10-15T00:00:00Z", Held, 1},
		{"held from later", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{From: at("2026-08-03T00:00:00Z")}), "2026-10-15T00:00:00Z", Expired, 1},
		{"held up to earlier", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{To: at("2026-07-30T00:00:00Z")}), "2026-10-15T00:00:00Z", Expired, 1},
		{"held for that month", &monthly, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{From: at("2026-08-01T00:00:00Z"), To: at("2026-09-01T00:00:00Z")}), "2026-10-15T00:00:00Z", Held, 1},
		{"held for when it came, by a clock that cannot be right", &monthly, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.From, it.To = at("2003-01-01T00:00:00Z"), at("2003-01-02T00:00:00Z") }),
			hold(ledger.Hold{From: at("2026-08-01T00:00:00Z")}), "2026-10-15T00:00:00Z", Held, 1},
		{"what it holds is not known", &monthly, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.From, it.To = time.Time{}, time.Time{} }),
			hold(ledger.Hold{To: at("2026-07-10T00:00:00Z")}), "2026-10-15T00:00:00Z", Held, 1},
		{"nor so old", &monthly, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.From, it.To = time.Time{}, time.Time{} }),
			hold(ledger.Hold{To: at("2026-07-01T00:00:00Z")}), "2026-10-15T00:00:00Z", Expired, 1},
		{"a service", &names, file("2026-08-01T12:00:00Z"), hold(ledger.Hold{Service: "1001"}), "2026-10-15T00:00:00Z", Held, 1},
		{"records that name no service", &names, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.Record = "network-ingress-octets" }), hold(ledger.Hold{Service: "1001"}), "2026-10-15T00:00:00Z", Expired, 1},
		{"records that name no SAP", &names, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.Record = "combined-sdp-ingress-egress" }), hold(ledger.Hold{SAP: "1/1/1:7"}), "2026-10-15T00:00:00Z", Expired, 1},
		{"records that nobody knows", &names, with(file("2026-08-01T12:00:00Z"), func(it *Item) { it.Record = "" }), hold(ledger.Hold{SAP: "1/1/1:7"}), "2026-10-15T00:00:00Z", Held, 1},
	} {
		d := c.policy.Decide(c.item, c.holds, at(c.now))
		if d.Reason != c.want || d.Remove != (c.want == Expired) || d.FileID != c.id {
			t.Errorf("%s: %s by file-id %d, remove %v, expires %v (%s); want %s by %d", c.what, d.Reason, d.FileID, d.Remove, d.Expires, d.Note, c.want, c.id)
		}
	}
}

// TestDecideAlways: what holds for every item, policy and time.
func TestDecideAlways(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 5))
	start := at("2026-01-01T00:00:00Z")
	some := func(most time.Duration) time.Time { return start.Add(time.Duration(r.Int64N(int64(most)))) }
	removed := 0
	for range 20_000 {
		p := Policy{ClosesAfter: time.Duration(r.IntN(20)) * days, KeepProof: time.Duration(r.IntN(2)*r.IntN(90)) * days}
		if r.IntN(2) == 0 {
			p.Zone = time.FixedZone("x", r.IntN(20*3600)-10*3600)
		}
		for i := range r.IntN(4) {
			p.FileIDs = append(p.FileIDs, FileID{ID: i + 1, Location: []Location{Archive, Dataset}[r.IntN(2)], Retention: time.Duration(1+r.IntN(90)) * days,
				Records: [][]string{nil, {"a"}, {"a", "b"}}[r.IntN(3)]})
		}
		it := Item{Location: []Location{Archive, Dataset}[r.IntN(2)], Record: []string{"", "a", "b", "c"}[r.IntN(4)], Device: "r1",
			Came: some(200 * days), To: some(200 * days), State: ledger.State(r.IntN(5))}
		if r.IntN(3) > 0 {
			it.State = ledger.Exported
		}
		if r.IntN(4) > 0 {
			it.To = it.Came.Add(-time.Duration(r.IntN(48)) * time.Hour)
		}
		it.From = it.To.Add(-time.Hour)
		now := some(500 * days)
		var holds []ledger.Hold
		for i := range r.IntN(2) {
			holds = append(holds, ledger.Hold{ID: int64(i + 1), Device: []string{"", "r1", "r2"}[r.IntN(3)], From: some(200 * days)})
		}
		d := p.Decide(it, holds, now)
		say := fmt.Sprintf("%+v at %v by %+v under %+v", d, now, p, holds)
		if d.Remove != (d.Reason == Expired) || d.Reason == "" {
			t.Fatal(say)
		}
		if len(p.FileIDs) == 0 && d.Remove {
			t.Fatalf("without a file-id: %s", say)
		}
		if !d.Remove {
			continue
		}
		removed++
		shortest, ok := p.shortest(it.Location)
		month := p.closes(it.Came.Add(-1))
		if it.State != ledger.Exported || !ok || now.Sub(it.Came) < shortest || !now.After(month.Add(p.KeepProof)) {
			t.Fatalf("too early: %s", say)
		}
		if later := p.Decide(it, holds, now.Add(time.Duration(r.IntN(400))*days)); !later.Remove {
			t.Fatalf("removed now and kept later: %s", say)
		}
		if len(p.Touching(it, holds)) != 0 {
			t.Fatalf("held: %s", say)
		}
		hold := ledger.Hold{ID: 9, Device: it.Device, From: it.From, To: it.To}
		if held := p.Decide(it, append(holds, hold), now); held.Reason != Held || held.Note != "hold 9" {
			t.Fatalf("a hold of just its time does not hold it: %s", say)
		}
		older := it
		older.Came, older.From, older.To = it.Came.Add(-days), it.From.Add(-days), it.To.Add(-days)
		if d := p.Decide(older, nil, now); !d.Remove {
			t.Fatalf("the older one stays: %+v, %s", d, say)
		}
	}
	if removed < 1000 {
		t.Errorf("only %d of the items were removed", removed)
	}
}
