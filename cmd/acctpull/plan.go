package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"acctpull/internal/show"
	"acctpull/policy"
	"acctpull/record"
	"acctpull/retention"
)

type planFlags struct {
	config string

	record              string
	objects             int
	interval            time.Duration
	rollover, retention time.Duration
	meters, queues      int

	rule         string
	deleteRate   float64
	card         int64 // MB
	collect      time.Duration
	poll, outage time.Duration
}

// loadOptions are the options that take the place of a configuration.
var loadOptions = []string{"record", "objects", "interval", "rollover", "retention", "meters", "queues"}

func (a *app) planCommand() *cobra.Command {
	var f planFlags
	c := &cobra.Command{
		Use:   "plan {-c FILE | --record NAME --objects N}",
		Short: "Tell what accounting policies put on the flash, and what is wrong with that",
		Long: `plan writes made-up counters of the objects as the agent does, measures them, and
works out: bytes per hour and record, files per day and at most, the highest space
needed, how long a sweep takes, how often a collector must poll at the least, what
an outage loses, and rows per day at the other end. It warns of intervals, rollover
and retention that do not fit each other, the card or the collector. It writes to a
temporary directory only. docs/plan.md tells how the numbers are made.`,
		Example: `  acctpull plan -c agent.yaml --poll 15m --outage 4h --card-size 1024
  acctpull plan --record service-ingress-octets --objects 2000 --meters 4 \
    --interval 5m --rollover 60m --retention 12h`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.plan(c.Context(), c.Flags(), f) },
	}
	fl := c.Flags()
	fl.StringVarP(&f.config, "config", "c", "", "configuration `file` of the agent")
	fl.StringVar(&f.record, "record", "", "record `name`, without a configuration; acctpull records lists them")
	fl.IntVar(&f.objects, "objects", 100, "how many objects, without a configuration")
	fl.DurationVar(&f.interval, "interval", 0, "collection interval, without a configuration (default: that of the record)")
	fl.DurationVar(&f.rollover, "rollover", policy.DefaultRollover, "rollover, without a configuration")
	fl.DurationVar(&f.retention, "retention", policy.DefaultRetention, "retention, without a configuration")
	fl.IntVar(&f.meters, "meters", 1, "meters of a SAP or interface, without a configuration")
	fl.IntVar(&f.queues, "queues", 8, "queues of a port, without a configuration")
	fl.StringVar(&f.rule, "rule", retention.CreatedRolloverRetention.String(), "retention rule: "+ruleNames())
	fl.Float64Var(&f.deleteRate, "delete-rate", 0, "how many files a second the card deletes (default: measured on this machine)")
	fl.Int64Var(&f.card, "card-size", 0, "size of the card in `MB` (10^6 bytes); without it nothing is said about space and wear")
	fl.DurationVar(&f.collect, "collect-time", 0, "how long a collection takes on the device (default: measured on this machine)")
	fl.DurationVar(&f.poll, "poll", time.Hour, "how often the collector comes; 0 for nothing about that")
	fl.DurationVar(&f.outage, "outage", 4*time.Hour, "outage of the collector that should lose nothing; 0 for any")
	return c
}

func (a *app) plan(ctx context.Context, given *pflag.FlagSet, f planFlags) (err error) {
	set, err := a.planSet(given, f)
	if err != nil {
		return err
	}
	rule, err := parseRule(f.rule)
	if err != nil {
		return err
	}
	if f.deleteRate < 0 || given.Changed("delete-rate") && f.deleteRate == 0 || f.card < 0 || f.collect < 0 || f.poll < 0 || f.outage < 0 {
		return usagef("", "rates, sizes and times cannot be negative, and the delete rate is more than 0")
	}
	dir, err := os.MkdirTemp("", "acctpull-plan-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o := show.PlanOptions{
		Set: set, Practice: policy.Practice{Poll: f.poll, Outage: f.outage}, Card: policy.Card{Rule: rule, DeleteRate: f.deleteRate, Size: f.card * 1_000_000},
		DeleteRateMeasured: f.deleteRate == 0, CollectMeasured: f.collect == 0, Demands: map[int]policy.Demand{},
	}
	if o.DeleteRateMeasured {
		if o.Card.DeleteRate, err = policy.DeleteRate(ctx, dir); err != nil {
			return err
		}
	}
	// Counters have more digits the longer a device runs: one fixed moment makes
	// the same plan every time.
	when := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	for _, p := range set.Plan() {
		if o.Demands[p.Policy.ID], err = measured(ctx, set, p.Policy.ID, dir, when, f.collect); err != nil {
			return err
		}
	}
	plan := show.MakePlan(o)
	if a.json {
		return a.printJSON(plan)
	}
	return plan.Write(a.stdout)
}

// measured measures one policy in a directory of its own.
func measured(ctx context.Context, set *policy.Set, id int, dir string, when time.Time, collect time.Duration) (d policy.Demand, err error) {
	own, err := os.MkdirTemp(dir, strconv.Itoa(id)+"-")
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	if d, err = policy.Measure(ctx, set, id, own, when); err != nil {
		return d, err
	}
	if collect > 0 {
		d.Collect = collect
	}
	return d, nil
}

// planSet returns the configuration to plan: the file's, or one policy made of
// the options.
func (a *app) planSet(given *pflag.FlagSet, f planFlags) (*policy.Set, error) {
	if f.config != "" {
		for _, name := range loadOptions {
			if given.Changed(name) {
				return nil, usagef("", "--%s is for a plan without a configuration; with -c the file says it", name)
			}
		}
		return a.loadConfig(f.config)
	}
	if f.record == "" {
		return nil, usagef("see: acctpull plan --help", "a configuration or a record is needed: -c FILE or --record NAME")
	}
	d, ok := record.Builtin().Lookup(record.Name(f.record))
	if !ok {
		return nil, usagef("acctpull records lists all of them", "no record %q in the catalogue", f.record)
	}
	const mostObjects = 1_000_000
	if f.objects < 1 || f.objects > mostObjects {
		return nil, usagef("", "--objects %d is outside 1–%d", f.objects, mostObjects)
	}
	kind, _ := policy.ParseType(d.PolicyType) // New refuses a record of another type
	config := policy.Config{
		Source:  policy.SourceConfig{Kind: policy.SourceSynthetic},
		FileIDs: []policy.FileID{{ID: 1, Location: "cf1:", Rollover: f.rollover, Retention: f.retention}},
		Policies: []policy.AccountingPolicy{
			{ID: 1, Record: d.Name, CollectionInterval: f.interval, To: 1},
		},
	}
	for i := range f.objects {
		config.Objects = append(config.Objects, planObject(kind, i+1, f))
	}
	set, err := policy.New(config)
	if err != nil {
		return nil, &usageError{err: err}
	}
	return set, nil
}

// planObject is the n-th object of a plan without a configuration.
func planObject(t policy.Type, n int, f planFlags) policy.Object {
	o := policy.Object{Type: t, Policy: 1, CollectStats: true}
	port := fmt.Sprintf("1/%d/%d", 1+n/48, 1+n%48)
	switch t {
	case policy.Access:
		o.ID, o.Service, o.Meters = fmt.Sprintf("1/1/%d:%d", 1+n%24, n), strconv.Itoa(1000+n), f.meters
	case policy.AccessPort, policy.Network:
		o.ID, o.Queues = port, f.queues
	case policy.NetworkIf:
		o.ID, o.Meters = fmt.Sprintf("to-router-%d", n), f.meters
	case policy.SAA:
		o.ID, o.Owner = fmt.Sprintf("test-%d", n), "plan"
	default:
		o.ID = strconv.Itoa(n)
	}
	return o
}
