package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acctpull/ledger"
	"acctpull/pull/fleet"
	"acctpull/rollover"
)

func (a *app) statusCommand() *cobra.Command {
	file, troubled, nodes := "", false, false
	c := &cobra.Command{
		Use:   "status -c FILE [DEVICE|GROUP…]",
		Short: "Tell how every device stands: what is fetched, what waits, when a file may be lost",
		Long: `status reads what serve and pull -c remember: it asks no device. The device that
needs a person most comes first.

It ends with code 0 if all is well, and with 3 if a device is failing, refused,
was never visited or may be losing files, or if a file was lost or is in
quarantine.`,
		Example: `  acctpull status -c fleet.yaml
  acctpull status -c fleet.yaml --troubled
  acctpull status -c fleet.yaml --nodes
  acctpull --json status -c fleet.yaml north`,
		RunE: func(c *cobra.Command, args []string) error {
			if nodes {
				return a.statusOfNodes(c.Context(), file)
			}
			return a.status(c.Context(), file, troubled, args)
		},
	}
	c.ValidArgsFunction = completeDevices(&file)
	c.Flags().StringVarP(&file, "config", "c", "", "inventory `file`; docs/service.md describes it")
	c.Flags().BoolVar(&troubled, "troubled", false, "only devices that need a person")
	c.Flags().BoolVar(&nodes, "nodes", false, "the nodes that share the ledger, instead of the devices")
	_ = c.MarkFlagRequired("config")
	return c
}

// deviceStatus is one line of status. Times that are not known are left out.
type deviceStatus struct {
	Device string `json:"device"`
	State  string `json:"state"`
	// LastGood is when the last good visit began, Deadline when a file may
	// be lost, Due when the next visit is planned.
	LastGood time.Time `json:"last_good,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"`
	Due      time.Time `json:"due,omitzero"`
	// Newest is the creation time in the name of the newest file, as the
	// device wrote it.
	Newest      string `json:"newest_file_stamp,omitempty"`
	Fetch       int    `json:"files_to_fetch"`
	Export      int    `json:"files_to_export"`
	Exported    int    `json:"files_exported"`
	Quarantined int    `json:"files_quarantined"`
	Lost        int    `json:"files_lost"`
	Records     int64  `json:"records"`
	Failures    int    `json:"failures_in_a_row"`
	Error       string `json:"error,omitempty"`
	// VisitedBy is the node that visits it now, if nodes share the ledger.
	VisitedBy string `json:"visited_by,omitempty"`

	standing fleet.Standing
	left     time.Duration
}

// troubled tells whether a person should look.
func (s *deviceStatus) troubled() bool {
	return s.standing != fleet.Good || s.Quarantined > 0 || s.Lost > 0
}

func (a *app) status(ctx context.Context, file string, troubledOnly bool, names []string) (err error) {
	inv, _, err := a.loadInventory(file)
	if err != nil {
		return err
	}
	devices, err := inv.Select(names)
	if err != nil {
		return &usageError{err: err, hint: "the names stand in " + file}
	}
	k, err := a.known(ctx, inv)
	if err != nil {
		return err
	}
	now := a.pace.clock.Now()
	all := []deviceStatus{}
	trouble := 0
	for _, d := range devices {
		s := statusOf(d, k.states[d.Name], k.counts[d.Name], now)
		s.VisitedBy = k.held[d.Name]
		if s.troubled() {
			trouble++
		}
		if s.troubled() || !troubledOnly {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b deviceStatus) int {
		if a.standing != b.standing {
			return int(b.standing) - int(a.standing)
		}
		return strings.Compare(a.Device, b.Device)
	})
	if err := a.printStatus(all, len(devices), trouble, now); err != nil {
		return err
	}
	if trouble > 0 {
		return &outcome{code: exitPartly}
	}
	return nil
}

// readMemory reads the states of the devices; there are none before the first
// visit.
func readMemory(path string) (map[string]fleet.State, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil && m.Version != 1 {
		err = fmt.Errorf("its version is %d", m.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of the devices: %s: %w", path, err)
	}
	return m.Devices, nil
}

// known is what is known of a fleet.
type known struct {
	states map[string]fleet.State
	counts map[string][]ledger.Count
	held   map[string]string // the node that visits a device now
	nodes  []ledger.Node
	now    time.Time // by the clock of the leases
}

// known reads it, from the ledger and from where the states of the devices are.
// Before the first run there is nothing.
func (a *app) known(ctx context.Context, inv *fleet.Inventory) (k known, err error) {
	k = known{counts: map[string][]ledger.Count{}, held: map[string]string{}}
	if inv.Ledger == "" {
		if k.states, err = readMemory(filepath.Join(inv.Data, memoryFile)); err != nil {
			return k, err
		}
		if _, err := os.Stat(filepath.Join(inv.Data, "ledger.db")); errors.Is(err, fs.ErrNotExist) {
			return k, nil
		}
	}
	l, err := a.openLedger(ctx, inv)
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	counts, err := l.Counts(ctx)
	if err != nil {
		return k, err
	}
	for _, c := range counts {
		k.counts[c.Device] = append(k.counts[c.Device], c)
	}
	if inv.Ledger == "" {
		return k, nil
	}
	if k.now, err = l.Clock(ctx); err != nil {
		return k, err
	}
	if k.nodes, err = l.Nodes(ctx); err != nil {
		return k, err
	}
	devices, err := l.DeviceStates(ctx, -1)
	if err != nil {
		return k, err
	}
	k.states = map[string]fleet.State{}
	for _, d := range devices {
		k.states[d.Device] = stateOf(d)
		if d.Owner != "" && !d.Lease.Before(k.now) {
			k.held[d.Device] = d.Owner
		}
	}
	return k, nil
}

// nodeStatus is one line of status --nodes.
type nodeStatus struct {
	Node  string    `json:"node"`
	State string    `json:"state"` // at work, or gone
	Since time.Time `json:"since"`
	// Until is when its leases run out, if it does not renew them.
	Until   time.Time `json:"until"`
	Devices int       `json:"devices"` // that it visits now
}

// statusOfNodes tells who shares the ledger. A node that is gone without a word
// was killed, or lost the database, in the last 24 hours.
func (a *app) statusOfNodes(ctx context.Context, file string) error {
	inv, _, err := a.loadInventory(file)
	if err != nil {
		return err
	}
	if inv.Ledger == "" {
		return usagef("the key ledger in docs/service.md", "%s has no ledger that nodes share", file)
	}
	k, err := a.known(ctx, inv)
	if err != nil {
		return err
	}
	all := []nodeStatus{}
	for _, n := range k.nodes {
		s := nodeStatus{Node: n.Name, State: "at work", Since: n.Began, Until: n.Until}
		if n.Until.Before(k.now) {
			s.State = "gone"
		}
		for _, owner := range k.held {
			if owner == n.Name {
				s.Devices++
			}
		}
		all = append(all, s)
	}
	return a.printNodes(all, k.now)
}

func (a *app) printNodes(all []nodeStatus, now time.Time) error {
	if a.json {
		return a.printJSON(all)
	}
	var rows [][]string
	for _, n := range all {
		seen := "now"
		if n.State == "gone" {
			seen = ago(now, n.Until)
		}
		rows = append(rows, []string{n.Node, n.State, rough(now.Sub(n.Since)), fmt.Sprint(n.Devices), seen})
	}
	if len(rows) > 0 {
		if err := table(a.stdout, []string{"NODE", "STATE", "FOR", "VISITS", "LEASES UNTIL"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	_, err := fmt.Fprintln(a.stdout, plural(len(all), "node"))
	return err
}

func statusOf(d fleet.Device, st fleet.State, counts []ledger.Count, now time.Time) deviceStatus {
	s := deviceStatus{Device: d.Name, LastGood: st.Good, Deadline: d.Deadline(st), Due: d.Due(st), Failures: st.Failures, Error: st.Error}
	s.standing, s.left = d.Stand(st, now)
	s.State = s.standing.String()
	latest := ""
	for _, c := range counts {
		switch c.State {
		case ledger.Discovered:
			s.Fetch = c.Files
			continue // not here yet
		case ledger.Stored:
			s.Export = c.Files - c.Aliases
		case ledger.Exported:
			s.Exported, s.Records = c.Files, c.Records
		case ledger.Quarantined:
			s.Quarantined = c.Files
		case ledger.Lost:
			s.Lost = c.Files
			continue
		}
		latest = max(latest, c.Latest)
	}
	s.Newest, _, _ = strings.Cut(latest, ".")
	return s
}

// printStatus prints the devices, the worst first.
func (a *app) printStatus(all []deviceStatus, devices, trouble int, now time.Time) error {
	if a.json {
		return a.printJSON(all)
	}
	var rows [][]string
	for _, s := range all {
		rows = append(rows, []string{s.Device, s.State, ago(now, s.LastGood), newest(now, s.Newest), untilLoss(s),
			fmt.Sprint(s.Fetch), fmt.Sprint(s.Export), fmt.Sprint(s.Exported), fmt.Sprint(s.Quarantined), fmt.Sprint(s.Lost), s.Error})
	}
	if len(rows) > 0 {
		header := []string{"DEVICE", "STATE", "LAST GOOD", "NEWEST FILE", "UNTIL LOSS", "FETCH", "EXPORT", "EXPORTED", "QUARANTINE", "LOST", "ERROR"}
		if err := table(a.stdout, header, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	_, err := fmt.Fprintf(a.stdout, "%s, %d in need of a person\n", plural(devices, "device"), trouble)
	return err
}

// ago says how long ago t was, "never" for the zero time.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return rough(now.Sub(t)) + " ago"
}

// newest says how old the newest file is by its name, read as UTC; a device may
// mean its local time.
func newest(now time.Time, stamp string) string {
	if stamp == "" {
		return "none"
	}
	t, err := rollover.Name{Prefix: rollover.Act, ID: 1, FileID: 1, Stamp: stamp, Ext: ".xml.gz"}.Time(time.UTC)
	if err != nil {
		return stamp
	}
	return rough(now.Sub(t)) + " old"
}

func untilLoss(s deviceStatus) string {
	switch {
	case s.LastGood.IsZero():
		return "unknown"
	case s.left <= 0:
		return "since " + rough(-s.left)
	}
	return rough(s.left)
}

// rough is a time span for people: 45 s, 12 min, 3.5 h, 4 d.
func rough(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + rough(-d)
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}
