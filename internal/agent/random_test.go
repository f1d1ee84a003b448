package agent

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/event"
	"acctpull/policy"
)

// TestRandomDaysProof plays random days: cards fill up, are taken out and put in
// again, agents are stopped and killed, configurations change, files are ended by
// hand. Whatever happens, every interval that was reported as written is in
// exactly one file, unless that file was deleted and the deletion reported; no
// name is given twice; every closed file is whole; and when all is well again,
// records are written.
func TestRandomDaysProof(t *testing.T) {
	days := 6
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		days = 200
	}
	for seed := range days {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			text := randomDay(rand.New(rand.NewPCG(uint64(seed), 1)))
			s, err := language.Parse("random", []byte(text))
			check(t, err)
			w := newWorld(t, s)
			b := &book{t: t, w: w, promised: map[promise]int{}, deleted: map[string]bool{}, lossy: map[int]bool{20: true}}
			w.observe = b
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the day:\n%s\nwhat happened:\n%s%s", text, w.out.String(), w.files)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				w.t = t
				w.play()
			})
			w.t = t
			b.check()
		})
	}
}

// randomDay makes the text of a scenario of a day. Nothing happens at a time at
// which a collection or a sweep begins.
func randomDay(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("flash: 128\nlength: 1d\n")
	minute := 3
	state := map[string]string{}
	running, shut, off := true, false, false
	say := func(format string, a ...any) {
		fmt.Fprintf(&b, "at +%dm30s %s\n", minute, fmt.Sprintf(format, a...))
	}
	undo := map[string]string{"disk full": "disk freed", "card out": "card in", "read-only": "writable"}
	for minute < 1300 {
		card := []string{"cf1", "cf2"}[r.IntN(2)]
		switch n := r.IntN(12); {
		case n < 4: // a card changes its state
			if s := state[card]; s != "" {
				say("%s %s", undo[s], card)
				delete(state, card)
			} else if running {
				state[card] = []string{"disk full", "card out", "read-only"}[r.IntN(3)]
				say("%s %s", state[card], card)
			}
		case n < 6: // the agent goes and comes
			if running {
				end := []string{"stop", "kill"}[r.IntN(2)]
				if state["cf1"] == "read-only" || state["cf2"] == "read-only" {
					end = "stop" // what kill does cannot be done on such a card
				}
				say("%s", end)
			} else {
				say("start")
			}
			running = !running
		case !running:
		case n < 8:
			say("clear log %d", 10+10*r.IntN(2))
		case n < 9:
			if shut = !shut; shut {
				say(`edit "shutdown: false" "shutdown: true"`)
			} else {
				say(`edit "shutdown: true" "shutdown: false"`)
			}
		case n < 10:
			if off = !off; off {
				say(`edit "collect-stats: true" "collect-stats: false"`)
			} else {
				say(`edit "collect-stats: false" "collect-stats: true"`)
			}
		case n < 11:
			say("slow %ds", r.IntN(120))
		default:
			say("delete 1/1/1:2")
			minute++
			say("create 1/1/1:2")
		}
		minute += 1 + r.IntN(25)
	}
	minute = 1380
	for _, card := range slices.Sorted(maps.Keys(state)) {
		say("%s %s", undo[state[card]], card)
	}
	minute++
	if !running {
		say("start")
	}
	if shut {
		say(`edit "shutdown: true" "shutdown: false"`)
	}
	say("fast")
	say("clear log 10")
	say("clear log 20")
	b.WriteString(`-- config --
source: {kind: synthetic}
file-ids:
  - {id: 11, location: FLASH/cf1, backup-location: FLASH/cf2, rollover: 30, retention: 3}
  - {id: 12, location: FLASH/cf1, rollover: 60, retention: 5}
accounting-policies:
  - {id: 10, record: service-egress-octets, collection-interval: 10, to: file 11, default: true, shutdown: false}
  - {id: 20, record: combined-sdp-ingress-egress, collection-interval: 15, to: file 12, default: true, log-memory: true, log-memory-size: 2}
objects:
  saps: [{sap: "1/1/1:1", service: 1}, {sap: "1/1/1:2", service: 1}, {sap: "1/1/1:3", service: 1, collect-stats: true}]
  sdps: [{sdp: 7}]
`)
	return b.String()
}

// promise is an interval that was reported as written to a file.
type promise struct {
	file string
	end  time.Time
}

// book keeps what was promised.
type book struct {
	t        *testing.T
	w        *world
	promised map[promise]int // records
	deleted  map[string]bool // files
	lossy    map[int]bool    // policies whose promises a crash may break
	last     map[int]time.Time
}

// interval takes a promise.
func (b *book) interval(i policy.Interval) {
	if i.File.Path == "" || i.Records == 0 || b.lossy[i.Policy] {
		return
	}
	b.promised[promise{i.File.Name.String(), i.End.UTC()}] += i.Records
	if b.last == nil {
		b.last = map[int]time.Time{}
	}
	b.last[i.Policy] = i.End
}

// event takes a deletion.
func (b *book) event(e event.Event) {
	if e.Name == "fileExpired" || e.Name == "tmnxLogFileDeleted" {
		b.deleted[e.Value("file")] = true
	}
}

// check compares the promises with the files.
func (b *book) check() {
	b.t.Helper()
	found, there := map[promise]int{}, map[string]bool{}
	b.scan(found, there)
	// What was written while a card was out lies in the directory below it.
	for _, card := range []string{"cf1", "cf2"} {
		check(b.t, unix.Unmount(filepath.Join(b.w.dir, card), unix.MNT_DETACH))
	}
	b.scan(found, there)
	for p, n := range b.promised {
		if !there[p.file] && b.deleted[p.file] {
			continue
		}
		if found[p] != n {
			b.t.Errorf("%d records of the interval to %v were written to %s, there are %d", n, p.end, p.file, found[p])
		}
	}
	if end := b.w.begin.Add(24*time.Hour - 11*time.Minute); b.last[10].Before(end) {
		b.t.Errorf("when all was well again nothing was written: the last interval is to %v", b.last[10])
	}
}

// scan reads every file.
func (b *book) scan(found map[promise]int, there map[string]bool) {
	b.t.Helper()
	for _, dir := range b.w.accountingDirs() {
		entries, err := os.ReadDir(filepath.Join(b.w.dir, dir))
		check(b.t, err)
		for _, e := range entries {
			there[e.Name()] = true
			c := read(b.t, filepath.Join(b.w.dir, dir, e.Name()))
			if c.err != nil && filepath.Base(dir) == policy.ArchiveDir {
				b.t.Errorf("%s is not whole: %v", e.Name(), c.err)
			}
			for _, c := range c.collections {
				found[promise{e.Name(), c.end.UTC()}] += len(c.records)
			}
		}
	}
}
