package show

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/policy"
	"acctpull/retention"
)

// demands are what the policies of the configuration put on their flash.
func demands() map[int]policy.Demand {
	return map[int]policy.Demand{
		10: {Interval: 5 * time.Minute, Rollover: time.Hour, Retention: 72 * time.Hour, Objects: 2, Records: 4, EntryBytes: 400, FileBytes: 200, Collect: 20 * time.Millisecond},
		20: {Interval: 15 * time.Minute, Rollover: 15 * time.Minute, Retention: 4 * time.Hour, Objects: 5000, Records: 40000, EntryBytes: 900_000, FileBytes: 250, Collect: 9 * time.Minute},
		30: {Interval: 5 * time.Minute, Objects: 2, Records: 6},
	}
}

func TestPlan(t *testing.T) {
	p := MakePlan(PlanOptions{
		Set: load(t), Demands: demands(), Practice: policy.Practice{Poll: 3 * time.Hour, Outage: 6 * time.Hour},
		Card: policy.Card{DeleteRate: 0.4, Size: 20_000_000},
	})
	var kinds []string
	for _, w := range p.Warnings {
		kinds = append(kinds, w.Kind)
	}
	if got := strings.Join(kinds, " "); got != "interval retention outage sweep card wear" {
		t.Errorf("warnings: %s", got)
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "plan.txt"), b.String())
	js, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "plan.json"), string(js)+"\n")
}

// A plan without a card size, a collector and a fault has no warning.
func TestPlanOfNothingWrong(t *testing.T) {
	d := demands()
	d[20] = d[10]
	p := MakePlan(PlanOptions{Set: load(t), Demands: d, Card: policy.Card{DeleteRate: 100, Rule: retention.CreatedRetention}, DeleteRateMeasured: true, CollectMeasured: true})
	var b bytes.Buffer
	if err := p.Write(&b); err != nil || len(p.Warnings) != 0 || !strings.Contains(b.String(), "No warnings.") {
		t.Errorf("%+v, %v\n%s", p.Warnings, err, b.String())
	}
	if len(p.Locations) != 1 || p.Locations[0].Policies != 2 || p.Locations[0].RowsPerDay != 2*288*4 {
		t.Errorf("%+v", p.Locations)
	}
}

func TestOutages(t *testing.T) {
	for asked, want := range map[time.Duration]string{
		0: "1h0m0s 2h0m0s 4h0m0s", 4 * time.Hour: "1h0m0s 2h0m0s 4h0m0s", 3 * time.Hour: "1h0m0s 2h0m0s 3h0m0s", 30 * time.Minute: "30m0s 1h0m0s 2h0m0s",
	} {
		var got []string
		for _, d := range outages(asked) {
			got = append(got, d.String())
		}
		if strings.Join(got[:3], " ") != want {
			t.Errorf("%v: %v", asked, got)
		}
	}
	if all := outages(1000 * time.Hour); all[len(all)-1] != 1000*time.Hour || len(all) != len(outageHours)+1 {
		t.Errorf("%v", all)
	}
}
