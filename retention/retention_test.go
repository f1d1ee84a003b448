package retention

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"acctpull/rollover"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func file(t testing.TB, stamp string) rollover.File {
	t.Helper()
	n, err := rollover.ParseName("act1011-" + stamp + ".xml.gz")
	if err != nil {
		t.Fatal(err)
	}
	return rollover.File{Name: n}
}

// Both documented rules, at and around the equal boundary.
func TestPlan(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	long := Rule{Retention: 12 * time.Hour, Rollover: time.Hour}
	short := Rule{Kind: CreatedRetention, Retention: 12 * time.Hour, Rollover: time.Hour}
	local := long
	local.Location = berlin
	for _, c := range []struct {
		what   string
		rule   Rule
		stamp  string
		now    string
		remove bool
		reason Reason
		expiry string
	}{
		{"long, at the boundary", long, "20260102-000000", "2026-01-02T13:00:00Z", false, Retained, "2026-01-02T13:00:00Z"},
		{"long, just past it", long, "20260102-000000", "2026-01-02T13:00:00.000000001Z", true, Expired, "2026-01-02T13:00:00Z"},
		{"long, past the short one", long, "20260102-000000", "2026-01-02T12:30:00Z", false, Retained, "2026-01-02T13:00:00Z"},
		{"short, at the boundary", short, "20260102-000000", "2026-01-02T12:00:00Z", false, Retained, "2026-01-02T12:00:00Z"},
		{"short, just past it", short, "20260102-000000", "2026-01-02T12:00:00.000000001Z", true, Expired, "2026-01-02T12:00:00Z"},
		{"just created", long, "20260102-000000", "2026-01-02T00:00:00Z", false, Retained, "2026-01-02T13:00:00Z"},
		{"not yet created", long, "20260102-000001", "2026-01-02T00:00:00Z", false, Future, "2026-01-02T13:00:01Z"},
		{"far in the future", long, "20380119-031408", "2026-01-02T00:00:00Z", false, Future, "2038-01-19T16:14:08Z"},
		{"an unset clock", long, "19700101-000000", "2026-01-02T00:00:00Z", true, Expired, "1970-01-01T13:00:00Z"},
		{"30 February", long, "20260230-000000", "2030-01-01T00:00:00Z", false, NoDate, ""},
		{"hour 24", long, "20260201-240000", "2030-01-01T00:00:00Z", false, NoDate, ""},
		{"leap day", long, "20240229-000000", "2026-01-01T00:00:00Z", true, Expired, "2024-02-29T13:00:00Z"},
		{"local time", local, "20260702-000000", "2026-07-02T11:00:00Z", false, Retained, "2026-07-02T11:00:00Z"},
		{"local time, past it", local, "20260702-000000", "2026-07-02T11:00:01Z", true, Expired, "2026-07-02T11:00:00Z"},
		// 02:30 happens twice that night; the file may be the later one.
		{"repeated hour", local, "20261025-023000", "2026-10-25T14:00:00Z", false, Retained, "2026-10-25T14:30:00Z"},
		{"repeated hour, past it", local, "20261025-023000", "2026-10-25T14:30:01Z", true, Expired, "2026-10-25T14:30:00Z"},
		{"no rule", Rule{}, "20200101-000000", "2026-01-01T00:00:00Z", false, NoRule, ""},
		{"retention below 0", Rule{Retention: -time.Hour}, "20200101-000000", "2026-01-01T00:00:00Z", false, NoRule, ""},
		{"unknown kind", Rule{Kind: 2, Retention: time.Hour}, "20200101-000000", "2026-01-01T00:00:00Z", false, NoRule, ""},
	} {
		f := file(t, c.stamp)
		plan := Plan([]rollover.File{f}, c.rule, at(c.now))
		d := plan[0]
		if len(plan) != 1 || d.File != f || d.Remove != c.remove || d.Reason != c.reason {
			t.Errorf("%s: %v", c.what, d)
		}
		if (c.expiry == "") != d.Expires.IsZero() || c.expiry != "" && !d.Expires.Equal(at(c.expiry)) {
			t.Errorf("%s: expires %v, want %s", c.what, d.Expires, c.expiry)
		}
		if d.Warning() != (d.Reason == Future || d.Reason == NoDate || d.Reason == NoRule) || !strings.Contains(d.String(), string(d.Reason)) {
			t.Errorf("%s: %q, warning %v", c.what, d, d.Warning())
		}
	}
	if got := Plan(nil, long, time.Now()); len(got) != 0 {
		t.Errorf("plan of nothing: %v", got)
	}
}

func TestDecisionText(t *testing.T) {
	o := Options{Rule: Rule{Retention: time.Hour}, Keep: func(n rollover.Name) (string, bool) {
		return "not exported", strings.HasPrefix(n.Stamp, "20260101")
	}}
	now := at("2026-01-02T00:30:00Z")
	for stamp, want := range map[string]string{
		"20251231-000000": "remove act1011-20251231-000000.xml.gz: expired, since 2025-12-31T01:00:00Z",
		"20260101-000000": "keep   act1011-20260101-000000.xml.gz: protected, not exported, since 2026-01-01T01:00:00Z",
		"20260102-000000": "keep   act1011-20260102-000000.xml.gz: retained, expires 2026-01-02T01:00:00Z",
		"20260103-000000": "keep   act1011-20260103-000000.xml.gz: created in the future, expires 2026-01-03T01:00:00Z",
		"20260132-000000": "keep   act1011-20260132-000000.xml.gz: no creation time",
	} {
		if got := o.Decide(file(t, stamp), now).String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for k, want := range map[Kind]string{CreatedRolloverRetention: "created+rollover+retention", CreatedRetention: "created+retention", 7: "Kind(7)"} {
		if k.String() != want {
			t.Errorf("%q, want %q", k, want)
		}
	}
}

// The older a file, the sooner it goes; the longer rule never removes what the
// shorter one keeps; later is never more careful.
func FuzzPlan(f *testing.F) {
	f.Add("20260102-000000", "20260102-000001", int64(3600), int64(60), int64(1767312000))
	f.Add("20260230-000000", "99991231-235959", int64(-1), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, a, b string, retention, roll, now int64) {
		na, errA := rollover.ParseName("act0101-" + a + ".xml.gz")
		nb, errB := rollover.ParseName("act0101-" + b + ".xml.gz")
		if errA != nil || errB != nil || retention > 1<<30 || roll < 0 || roll > 1<<30 || now < -1<<40 || now > 1<<40 {
			return
		}
		if na.Stamp > nb.Stamp {
			na, nb = nb, na
		}
		files := []rollover.File{{Name: na}, {Name: nb}}
		short := Rule{Kind: CreatedRetention, Retention: time.Duration(retention) * time.Second, Rollover: time.Duration(roll) * time.Second}
		long := short
		long.Kind = CreatedRolloverRetention
		when := time.Unix(now, 0)
		ps, pl := Plan(files, short, when), Plan(files, long, when)
		for i := range files {
			for _, d := range []Decision{ps[i], pl[i]} {
				if d.Remove != (d.Reason == Expired) || d.Reason == "" {
					t.Fatalf("%v", d)
				}
				if d.Remove && (retention <= 0 || !d.Created.Before(when)) {
					t.Fatalf("%v removed", d)
				}
			}
			if pl[i].Remove && !ps[i].Remove {
				t.Fatalf("the longer rule removes what the shorter one keeps: %v, %v", pl[i], ps[i])
			}
			if later := Plan(files, short, when.Add(time.Hour)); ps[i].Remove && !later[i].Remove {
				t.Fatalf("removed now and kept an hour later: %v", later[i])
			}
		}
		if ps[1].Remove && ps[0].Reason != Expired && ps[0].Reason != NoDate {
			t.Fatalf("the younger goes, the older stays: %v, %v", ps[0], ps[1])
		}
	})
}

func TestGuard(t *testing.T) {
	for _, c := range []struct {
		files, remove int
		ok            bool
	}{
		{0, 0, true}, {1, 1, true}, {19, 19, true}, {20, 20, false}, {38, 19, true}, {40, 20, true}, {39, 20, false},
		{41, 20, true}, {41, 21, false}, {1000, 500, true}, {1000, 501, false}, {1001, 501, false}, {1001, 500, true},
	} {
		err := Guard(c.files, c.remove)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrTooMany) {
			t.Errorf("%d of %d: %v", c.remove, c.files, err)
		}
	}
}

func TestCheckClock(t *testing.T) {
	w := at("2026-05-01T00:00:00Z")
	state := func(boot string, wall time.Time, up time.Duration) ClockState { return ClockState{wall, boot, up} }
	last := state("a", w, 100*time.Hour)
	const h, year = time.Hour, 365 * 24 * time.Hour
	for _, c := range []struct {
		what  string
		check ClockCheck
		ok    bool
	}{
		{"an hour later", ClockCheck{Last: last, Now: state("a", w.Add(h), 101*h)}, true},
		{"a month later", ClockCheck{Last: last, Now: state("a", w.Add(720*h), 820*h)}, true},
		{"26 h ahead", ClockCheck{Last: last, Now: state("a", w.Add(27*h), 101*h)}, true},
		{"more than 26 h ahead", ClockCheck{Last: last, Now: state("a", w.Add(27*h+1), 101*h)}, false},
		{"a year ahead", ClockCheck{Last: last, Now: state("a", w.Add(year), 101*h)}, false},
		{"a year ahead, and so are our own files", ClockCheck{Last: last, Now: state("a", w.Add(year), 101*h), Newest: w.Add(year)}, false},
		{"a year ahead, a device agrees", ClockCheck{Last: last, Now: state("a", w.Add(year), 101*h), Witness: w.Add(year + 25*h)}, true},
		{"a year ahead, a device does not agree", ClockCheck{Last: last, Now: state("a", w.Add(year), 101*h), Witness: w}, false},
		{"set back 25 h", ClockCheck{Last: last, Now: state("a", w.Add(-24*h), 101*h)}, true},
		{"set back a year", ClockCheck{Last: last, Now: state("a", w.Add(-year), 101*h)}, false},
		{"reboot, an hour later", ClockCheck{Last: last, Now: state("b", w.Add(h), 0)}, true},
		{"reboot, files of the future are no reason", ClockCheck{Last: last, Now: state("b", w.Add(h), 0), Newest: w.Add(year)}, true},
		{"reboot, two days off", ClockCheck{Last: last, Now: state("b", w.Add(48*h), 0)}, false},
		{"reboot, two days off, files arrived", ClockCheck{Last: last, Now: state("b", w.Add(48*h), 0), Newest: w.Add(47 * h)}, true},
		{"reboot, two days off, our own files", ClockCheck{Last: last, Now: state("b", w.Add(48*h), 0), Newest: w.Add(47 * h), OwnClock: true}, false},
		{"reboot, two days off, files before", ClockCheck{Last: last, Now: state("b", w.Add(48*h), 0), Newest: w}, false},
		{"reboot, two days off, a witness", ClockCheck{Last: last, Now: state("b", w.Add(48*h), 0), Witness: w.Add(48 * h)}, true},
		{"reboot with an unset clock", ClockCheck{Last: last, Now: state("b", at("1970-01-01T00:00:00Z"), 0), Newest: w}, false},
		{"no boot id: like a reboot", ClockCheck{Last: state("", w, 0), Now: state("", w.Add(48*h), 0)}, false},
		{"first, nothing archived", ClockCheck{Now: state("a", w, h)}, true},
		{"first, fresh files", ClockCheck{Now: state("a", w, h), Newest: w.Add(-26 * h)}, true},
		{"first, fresh files of our own", ClockCheck{Now: state("a", w, h), Newest: w.Add(-26 * h), OwnClock: true}, true},
		{"first, old files", ClockCheck{Now: state("a", w, h), Newest: w.Add(-27 * h)}, false},
		{"first, files of the future", ClockCheck{Now: state("a", w, h), Newest: w.Add(27 * h)}, false},
	} {
		err := CheckClock(c.check)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrClock) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for err, hint := range map[error]string{ErrTooMany: "dry run", ErrClock: "confirm", errors.New("x"): ""} {
		e := &Error{Op: "sweep", Err: fmt.Errorf("deep: %w", err)}
		if !errors.Is(e, err) || (hint == "") != (e.Hint() == "") || !strings.Contains(e.Hint(), hint) {
			t.Errorf("%v: hint %q", e, e.Hint())
		}
	}
}

// In the hour that is repeated a file of the first pass is not taken for one of
// the future, and none is removed too early.
func TestRepeatedHour(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	r := Rule{Kind: CreatedRetention, Retention: time.Hour, Location: berlin}
	f := rollover.File{Name: rollover.Name{Prefix: rollover.Act, ID: 1, FileID: 1, Stamp: "20261025-021500", Ext: ".xml.gz"}}
	for _, c := range []struct {
		now  string
		want Reason
	}{
		{"2026-10-25T00:14:59Z", Future},
		{"2026-10-25T00:15:00Z", Retained}, // the first 02:15
		{"2026-10-25T01:15:01Z", Retained}, // an hour later it may be the second
		{"2026-10-25T02:15:00Z", Retained},
		{"2026-10-25T02:15:01Z", Expired},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if d := Plan([]rollover.File{f}, r, now)[0]; d.Reason != c.want {
			t.Errorf("at %s: %v", c.now, d)
		}
	}
}

func TestContend(t *testing.T) {
	name := func(s string) rollover.File {
		n, err := rollover.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return rollover.File{Name: n}
	}
	files := []rollover.File{
		name("act0101-20260301-110000.xml.gz"), // sealed last, though its stamp is old
		name("act0101-20260301-130000.xml.gz"),
		name("log0202-20260301-120000"), // no rule
		name("act0101-20260301-050000.xml.gz"),
		name("act0101-20260230-000000.xml.gz"),
		name("act0101-20260301-040000.xml.gz"),
		name("act0303-20260301-030000.xml.gz"), // open
		name("act0101-20300101-000000.xml.gz"), // of the future
	}
	plan := Contend(files, Contention{
		RuleFor: func(n rollover.Name) (Rule, bool) {
			return Rule{Kind: CreatedRetention, Retention: 2 * time.Hour}, n.FileID == 1
		},
		Open:   func(n rollover.Name) bool { return n.ID == 3 },
		Sealed: files[0].Name,
	}, time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC))
	want := []string{
		"remove act0101-20260301-040000.xml.gz: expired",
		"remove act0101-20260301-050000.xml.gz: expired",
		"remove log0202-20260301-120000: space contention",
		"remove act0101-20260301-130000.xml.gz: space contention",
		"remove act0101-20300101-000000.xml.gz: space contention",
		"remove act0101-20260301-110000.xml.gz: space contention",
		"keep   act0101-20260230-000000.xml.gz: no creation time",
		"keep   act0303-20260301-030000.xml.gz: open",
	}
	for i, d := range plan {
		got, _, _ := strings.Cut(d.String(), ",")
		if got != want[i] {
			t.Errorf("%d: %s, want %s", i, got, want[i])
		}
	}
	if len(plan) != len(files) {
		t.Errorf("%d decisions for %d files", len(plan), len(files))
	}
	for _, d := range Contend(files, Contention{}, time.Now()) {
		if d.Remove && d.Reason != SpaceContention {
			t.Errorf("without a rule: %v", d)
		}
	}
}
