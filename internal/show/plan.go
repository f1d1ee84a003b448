package show

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"acctpull/policy"
)

// Plan is what becomes of a configuration: how much it writes, how long files
// can be fetched, what is lost when nobody comes, and what is wrong with it.
type Plan struct {
	Version       int     `json:"version"`
	RetentionRule string  `json:"retention_rule"`
	DeleteRate    float64 `json:"deletes_per_second"`
	// DeleteRateMeasured says that the rate is that of this machine; else
	// somebody stated it. CollectMeasured says the same of the time of a
	// collection.
	DeleteRateMeasured bool `json:"deletes_measured"`
	CollectMeasured    bool `json:"collect_measured"`
	// CardBytes is the size of each card, 0 if that is not known.
	CardBytes     int64           `json:"card_bytes"`
	PollSeconds   float64         `json:"poll_seconds"`
	OutageSeconds float64         `json:"outage_seconds"`
	Policies      []PlannedPolicy `json:"accounting_policies"`
	Locations     []PlannedCard   `json:"locations"`
	Warnings      []Warning       `json:"warnings"`
}

// PlannedPolicy is what one policy does. Of one that stores nothing the numbers
// about files are 0.
type PlannedPolicy struct {
	ID               int          `json:"id"`
	Record           string       `json:"record"`
	Kind             string       `json:"kind"` // of its objects
	Location         string       `json:"location"`
	Stored           bool         `json:"stored"`
	Objects          int          `json:"objects"`
	Records          int          `json:"records_per_collection"`
	IntervalSeconds  float64      `json:"collection_interval_seconds"`
	RolloverSeconds  float64      `json:"rollover_seconds"`
	RetentionSeconds float64      `json:"retention_seconds"`
	CollectSeconds   float64      `json:"collect_seconds"`
	BytesPerRecord   float64      `json:"bytes_per_record"`
	BytesPerHour     float64      `json:"bytes_per_hour"`
	RowsPerDay       float64      `json:"rows_per_day"`
	FilesPerDay      float64      `json:"files_per_day"`
	FileBytes        float64      `json:"file_bytes"`
	FileLifeSeconds  float64      `json:"file_life_seconds"`
	WritesPerDay     float64      `json:"writes_per_day"`
	MostFiles        int          `json:"most_files"`
	MostBytes        float64      `json:"most_bytes"`
	WindowSeconds    float64      `json:"poll_at_least_every_seconds"`
	Outages          []OutageLoss `json:"outages"`

	planned policy.Planned
}

// PlannedCard is all policies of one location together.
type PlannedCard struct {
	Location     string  `json:"location"`
	Policies     int     `json:"policies"`
	BytesPerHour float64 `json:"bytes_per_hour"`
	RowsPerDay   float64 `json:"rows_per_day"`
	FilesPerDay  float64 `json:"files_per_day"`
	WritesPerDay float64 `json:"writes_per_day"`
	MostFiles    int     `json:"most_files"`
	MostBytes    float64 `json:"most_bytes"`
	// SweepFiles expire between two sweeps at most; their deletion takes
	// SweepSeconds.
	SweepFiles   int     `json:"sweep_files"`
	SweepSeconds float64 `json:"sweep_seconds"`
}

// OutageLoss is what an outage of the collector loses at most.
type OutageLoss struct {
	OutageSeconds float64 `json:"outage_seconds"`
	Files         int     `json:"files_lost"`
	DataSeconds   float64 `json:"data_lost_seconds"`
	Rows          float64 `json:"rows_lost"`
}

// Warning is a piece of advice.
type Warning struct {
	Kind     string `json:"kind"`
	Policy   int    `json:"accounting_policy"` // 0: the location as a whole
	Location string `json:"location"`
	Text     string `json:"text"`
}

// outageHours are the outages of the table; the one that was asked for is added.
var outageHours = []time.Duration{1, 2, 4, 8, 12, 24, 48, 72, 168}

// PlanOptions say what MakePlan is told.
type PlanOptions struct {
	Set      *policy.Set
	Card     policy.Card
	Practice policy.Practice
	// DeleteRateMeasured and CollectMeasured are those of Plan.
	DeleteRateMeasured, CollectMeasured bool
	// Demands are what the policies in service put on their flash, by id.
	Demands map[int]policy.Demand
}

// MakePlan works out the plan of the policies that are in service.
func MakePlan(o PlanOptions) Plan {
	p := Plan{
		Version: Version, RetentionRule: o.Card.Rule.String(), DeleteRate: o.Card.DeleteRate, CardBytes: o.Card.Size,
		DeleteRateMeasured: o.DeleteRateMeasured, CollectMeasured: o.CollectMeasured,
		PollSeconds: o.Practice.Poll.Seconds(), OutageSeconds: o.Practice.Outage.Seconds(),
		Policies: []PlannedPolicy{}, Locations: []PlannedCard{}, Warnings: []Warning{},
	}
	cards := map[string][]policy.Planned{}
	for _, plan := range o.Set.Plan() {
		q := newPlanned(plan, o)
		p.Policies = append(p.Policies, q)
		if !q.Stored {
			continue
		}
		if cards[q.Location] == nil {
			p.Locations = append(p.Locations, PlannedCard{Location: q.Location})
		}
		cards[q.Location] = append(cards[q.Location], q.planned)
	}
	for i := range p.Locations {
		l := &p.Locations[i]
		l.add(cards[l.Location])
		for _, a := range policy.Advise(o.Card, o.Practice, cards[l.Location]) {
			p.Warnings = append(p.Warnings, Warning{Kind: a.Kind, Policy: a.Policy, Location: l.Location, Text: a.Text})
		}
	}
	return p
}

func newPlanned(plan policy.Plan, o PlanOptions) PlannedPolicy {
	d := o.Demands[plan.Policy.ID]
	q := PlannedPolicy{
		ID: plan.Policy.ID, Record: string(plan.Policy.Record), Kind: plan.Policy.Type.Object(), Location: plan.File.Location, Stored: plan.File.ID != 0,
		Objects: d.Objects, Records: d.Records, IntervalSeconds: d.Interval.Seconds(), CollectSeconds: d.Collect.Seconds(),
		RowsPerDay: 24 * 3600 / d.Interval.Seconds() * float64(d.Records), Outages: []OutageLoss{},
	}
	if !q.Stored {
		return q
	}
	s := d.Size(o.Card)
	q.planned = policy.Planned{Policy: q.ID, Demand: d, Sizing: s}
	q.RolloverSeconds, q.RetentionSeconds = d.Rollover.Seconds(), d.Retention.Seconds()
	if d.Records == 0 {
		return q
	}
	q.BytesPerRecord, q.BytesPerHour, q.FilesPerDay, q.FileBytes, q.WritesPerDay = s.BytesPerRecord, s.BytesPerHour, s.FilesPerDay, s.FileBytes, s.WritesPerDay
	q.FileLifeSeconds, q.MostFiles, q.MostBytes, q.WindowSeconds = s.Life.Seconds(), s.MostFiles, s.MostBytes, s.Window.Seconds()
	for _, outage := range outages(o.Practice.Outage) {
		lost := s.Lost(d, outage)
		q.Outages = append(q.Outages, OutageLoss{OutageSeconds: outage.Seconds(), Files: lost.Files, DataSeconds: lost.Time.Seconds(), Rows: lost.Rows})
	}
	return q
}

// outages are those of the table in order, with the one that was asked for.
func outages(asked time.Duration) []time.Duration {
	var out []time.Duration
	for _, h := range outageHours {
		h *= time.Hour
		if asked > 0 && asked < h {
			out = append(out, asked)
		}
		if asked > 0 && asked <= h {
			asked = 0
		}
		out = append(out, h)
	}
	if asked > 0 {
		out = append(out, asked)
	}
	return out
}

func (c *PlannedCard) add(all []policy.Planned) {
	for _, q := range all {
		c.Policies++
		if q.Demand.Records == 0 {
			continue
		}
		s := q.Sizing
		c.BytesPerHour += s.BytesPerHour
		c.RowsPerDay += s.RowsPerDay
		c.FilesPerDay += s.FilesPerDay
		c.WritesPerDay += s.WritesPerDay
		c.MostFiles += s.MostFiles
		c.MostBytes += s.MostBytes
		c.SweepFiles += s.SweepFiles
		c.SweepSeconds += s.SweepTime.Seconds()
	}
}

// Write writes the plan as a page.
func (p *Plan) Write(w io.Writer) error {
	g := page{title: "Accounting Plan"}
	var rows, flash [][]string
	for i := range p.Policies {
		q := &p.Policies[i]
		rows = append(rows, q.row())
		if q.Stored && q.Records > 0 {
			flash = append(flash, q.flash())
		}
	}
	g.table([]string{"Policy Id", "Record Name", "Objects", "Records", "Intvl", "Rollover", "Retention", "Rows/Day"}, rows)
	p.notes(&g)
	g.titled("On the flash", []string{"Policy Id", "Bytes/Record", "Per Hour", "Files/Day", "Most Files", "Most Space", "Poll At Least Every"}, flash)
	rows = nil
	for _, l := range p.Locations {
		rows = append(rows, []string{l.Location, strconv.Itoa(l.Policies), policy.Bytes(l.BytesPerHour), decimal(l.FilesPerDay), strconv.Itoa(l.MostFiles), policy.Bytes(l.MostBytes), decimal(l.WritesPerDay), strconv.Itoa(l.SweepFiles), policy.Short(seconds(l.SweepSeconds))})
	}
	g.titled("Locations", []string{"Location", "Policies", "Per Hour", "Files/Day", "Most Files", "Most Space", "Writes/Day", "Files/Sweep", "Sweep Takes"}, rows)
	p.outages(&g)
	if len(p.Warnings) == 0 {
		g.line("No warnings.")
	}
	for _, warning := range p.Warnings {
		who := fmt.Sprintf("location %s", warning.Location)
		if warning.Policy != 0 {
			who = fmt.Sprintf("policy %d", warning.Policy)
		}
		g.long("Warning (%s), %s: %s.", warning.Kind, who, warning.Text)
	}
	return g.write(w)
}

func (q *PlannedPolicy) row() []string {
	roll, keep := "-", "-"
	if q.Stored {
		roll, keep = policy.Short(seconds(q.RolloverSeconds)), policy.Short(seconds(q.RetentionSeconds))
	}
	return []string{
		strconv.Itoa(q.ID), q.Record, strconv.Itoa(q.Objects), strconv.Itoa(q.Records), policy.Short(seconds(q.IntervalSeconds)), roll, keep, decimal(q.RowsPerDay),
	}
}

func (q *PlannedPolicy) flash() []string {
	poll := "cannot be met"
	if q.WindowSeconds > 0 {
		poll = policy.Short(seconds(q.WindowSeconds))
	}
	return []string{
		strconv.Itoa(q.ID), fmt.Sprintf("%.1f", q.BytesPerRecord), policy.Bytes(q.BytesPerHour), decimal(q.FilesPerDay), strconv.Itoa(q.MostFiles), policy.Bytes(q.MostBytes), poll,
	}
}

// notes say where the numbers come from.
func (p *Plan) notes(g *page) {
	g.line("Bytes are measured: made-up counters of these objects, written and compressed as the agent does.")
	for _, q := range p.Policies {
		if q.Stored && q.Records > 0 {
			how := "as stated"
			if p.CollectMeasured {
				how = "measured on this machine"
			}
			g.line("Policy %d: a collection takes %s of %s (%s); a file lives for %s and has %s.", q.ID, policy.Short(seconds(q.CollectSeconds)), policy.Short(seconds(q.IntervalSeconds)), how, policy.Short(seconds(q.FileLifeSeconds)), policy.Bytes(q.FileBytes))
		}
	}
	how := "as stated"
	if p.DeleteRateMeasured {
		how = "measured on this machine; a card may be slower"
	}
	g.line("Files expire by %s. A sweep deletes %s files a second (%s), for 10s every hour.", p.RetentionRule, policy.Rate(p.DeleteRate), how)
	if p.CardBytes > 0 {
		g.line("The card has %s.", policy.Bytes(float64(p.CardBytes)))
	}
}

// outages writes what is lost over the hours.
func (p *Plan) outages(g *page) {
	header := []string{"Collector Is Away"}
	var rows [][]string
	for _, q := range p.Policies {
		if len(q.Outages) == 0 {
			continue
		}
		header = append(header, fmt.Sprintf("Policy %d Loses", q.ID))
		for i, o := range q.Outages {
			if i == len(rows) {
				rows = append(rows, []string{policy.Short(seconds(o.OutageSeconds))})
			}
			text := "nothing"
			if o.Files > 0 {
				text = fmt.Sprintf("%s, %s", policy.Short(seconds(o.DataSeconds)), plural(o.Files, "file"))
			}
			rows[i] = append(rows[i], text)
		}
	}
	if len(rows) > 0 {
		g.titled("What an outage loses at most", header, rows)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// decimal writes a number without digits that say nothing.
func decimal(x float64) string {
	if x == float64(int64(x)) {
		return strconv.FormatInt(int64(x), 10)
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}
