package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What another node found moves a device to its new place, wherever it waited.
func TestQueueLearns(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	q := NewQueue(1, 1)
	inv := &Inventory{AtOnce: 1, PerSite: 1}
	for _, name := range []string{"a", "b", "c"} {
		d := dev(name)
		d.Site = "one"
		inv.Devices = append(inv.Devices, d)
	}
	q.Set(inv, func(string) State { return State{} })
	first, _, ok, _ := q.Next(now)
	if !ok || first.Name != "a" {
		t.Fatal(first.Name, ok)
	}
	good := State{Tried: now, Good: now}
	q.Learn("a", good) // it is visited here: the visit decides
	q.Learn("b", good) // b is blocked by its site
	q.Learn("nobody", good)
	if s := q.Done("a", Outcome{Err: errors.New("down")}); s.Failures != 1 || !s.Tried.Equal(now) {
		t.Errorf("%+v", s)
	}
	d, _, ok, _ := q.Next(now)
	if !ok || d.Name != "c" {
		t.Errorf("%s comes next, want c: another node visited b", d.Name)
	}
	q.Done("c", Outcome{})
	if d, _, ok, again := q.Next(now); ok || !again.After(now) {
		t.Errorf("%s comes, again at %v", d.Name, again)
	}
}

// A device that another node holds is offered again, and its state is the one
// that was told.
func TestQueueHeld(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, once := range []bool{false, true} {
		q := NewQueue(2, 2)
		q.once = once
		q.Set(&Inventory{AtOnce: 2, PerSite: 2, Devices: []Device{dev("a")}}, func(string) State { return State{} })
		if _, _, ok, _ := q.Next(now); !ok {
			t.Fatal("a is not due")
		}
		found := State{Tried: now.Add(-time.Hour), Good: now.Add(-time.Hour)}
		until := now.Add(20 * time.Second)
		if s := q.Done("a", Outcome{Held: until, Known: &found}); s != found {
			t.Errorf("%+v", s)
		}
		if _, _, ok, again := q.Next(now); ok || !again.Equal(until) {
			t.Errorf("it is offered at once, or at %v", again)
		}
		if _, s, ok, _ := q.Next(until); !ok || s != found {
			t.Errorf("it is not offered again: %+v", s)
		}
		q.Done("a", Outcome{})
		if _, _, ok, again := q.Next(until); ok || once != again.IsZero() {
			t.Errorf("once %v: again %v", once, again)
		}
	}
}

// Two nodes with a queue each and one arbiter between them: every device is
// visited on schedule, never by both at once, and the bound of a site holds.
func TestTwoQueuesOneLedger(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	inv := &Inventory{AtOnce: 8, PerSite: 3}
	for i := range 60 {
		d := dev(fmt.Sprintf("d%02d", i))
		d.Site = fmt.Sprint("site ", i%5)
		inv.Devices = append(inv.Devices, d)
	}
	type running struct {
		d   Device
		s   State
		end time.Time
	}
	var nodes [2]*Queue
	for i := range nodes {
		nodes[i] = NewQueue(1, 1)
		nodes[i].Set(inv, func(string) State { return State{} })
	}
	states, holder, sites, visits := map[string]State{}, map[string]int{}, map[string]int{}, map[string]int{}
	var under [2][]running
	end := now.Add(6 * time.Hour)
	for ; now.Before(end); now = now.Add(time.Second) {
		for n, q := range nodes {
			kept := under[n][:0]
			for _, r := range under[n] {
				if r.end.After(now) {
					kept = append(kept, r)
					continue
				}
				s := q.Done(r.d.Name, Outcome{})
				states[r.d.Name] = s
				delete(holder, r.d.Name)
				sites[r.d.Site]--
				nodes[1-n].Learn(r.d.Name, s)
			}
			under[n] = kept
			for {
				d, s, ok, _ := q.Next(now)
				if !ok {
					break
				}
				_, held := holder[d.Name]
				if known := states[d.Name]; held || known != s || sites[d.Site] >= inv.PerSite {
					q.Done(d.Name, Outcome{Held: now.Add(5 * time.Second), Known: &known})
					continue
				}
				holder[d.Name] = n
				visits[d.Name]++
				if sites[d.Site]++; sites[d.Site] > inv.PerSite {
					t.Fatalf("%d visits at %s", sites[d.Site], d.Site)
				}
				under[n] = append(under[n], running{d, s, now.Add(time.Duration(1+rng.IntN(20)) * time.Second)})
			}
		}
	}
	for _, d := range inv.Devices {
		if n := visits[d.Name]; n < 24 || n > 26 {
			t.Errorf("%s was visited %d times in 6 hours, want 24 or 25", d.Name, n)
		}
	}
}

// Once waits for a device that another node has.
func TestOnceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries, told := time.Now(), 0, 0
		r := &Runner{
			Visit: func(_ context.Context, _ Device, _ State, _ time.Time) Outcome {
				if tries++; tries < 4 {
					return Outcome{Held: time.Now().Add(10 * time.Second)}
				}
				return Outcome{Files: 1}
			},
			OnVisit: func(Device, Outcome, State, time.Time, time.Duration) { told++ },
		}
		r.Once(t.Context(), []Device{dev("a")}, 1, 1, func(string) State { return State{} })
		if took := time.Since(began); tries != 4 || told != 1 || took != 30*time.Second {
			t.Errorf("%d tries in %v, told %d times", tries, took, told)
		}
	})
}

// After an outage of six hours, in which all 1,000 devices came due and every
// tenth died, they are visited in the order of their deadlines: nobody is late
// who could have been in time, and the dead take no more than their share.
func TestAfterOutage(t *testing.T) {
	const atOnce, takes, hangs = 8, 20 * time.Second, 50 * time.Second
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	good := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := good.Add(6 * time.Hour)
	resumed := now
	inv := &Inventory{AtOnce: atOnce, PerSite: atOnce}
	dead := map[string]bool{}
	for i := range 1000 {
		d := dev(fmt.Sprintf("d%03d", i), func(d *Device) {
			d.Every, d.Rollover, d.Retention = 6*time.Hour, 5*time.Minute, 6*time.Hour+time.Duration(rng.IntN(12*60))*time.Minute
		})
		dead[d.Name] = i%10 == 0
		inv.Devices = append(inv.Devices, d)
	}
	q := NewQueue(1, 1)
	q.Set(inv, func(name string) State {
		s := State{Tried: good, Good: good}
		if dead[name] {
			s.Tried, s.Failures = now.Add(-time.Hour), 8
		}
		return s
	})
	type running struct {
		name string
		end  time.Time
	}
	var under []running
	begun := map[string]time.Time{}
	var last time.Time // the deadline of the live device that was begun last
	for ; len(begun) < 900 && now.Before(resumed.Add(6*time.Hour)); now = now.Add(time.Second) {
		kept := under[:0]
		for _, r := range under {
			if r.end.After(now) {
				kept = append(kept, r)
			} else if dead[r.name] {
				q.Done(r.name, Outcome{Err: errors.New("down")})
			} else {
				q.Done(r.name, Outcome{})
			}
		}
		under = kept
		for {
			d, s, ok, _ := q.Next(now)
			if !ok {
				break
			}
			if dead[d.Name] {
				under = append(under, running{d.Name, now.Add(hangs)})
				continue
			}
			under = append(under, running{d.Name, now.Add(takes)})
			if _, again := begun[d.Name]; again {
				continue
			}
			begun[d.Name] = now
			if by := d.Deadline(s); by.Before(last) {
				t.Fatalf("%s has the deadline %v, and one with %v went first", d.Name, by, last)
			} else {
				last = by
			}
		}
	}
	if len(begun) != 900 {
		t.Fatalf("%d of 900 live devices were visited", len(begun))
	}
	// The dead may have a quarter of the places, no more. Some are due again by
	// their schedule before the last is visited.
	all := 900 * takes / (atOnce - atOnce/4) * 5 / 4
	if took := now.Sub(resumed); took > all+time.Minute {
		t.Errorf("it took %v to visit all, want at most %v", took, all)
	}
	late := 0
	for _, d := range inv.Devices {
		by := d.Deadline(State{Good: good})
		if begun[d.Name].After(by) {
			if late++; by.After(resumed.Add(all)) {
				t.Errorf("%s is late, and had %v", d.Name, by.Sub(resumed))
			}
		}
	}
	t.Logf("%d of 900 were late: their deadlines were over when it ended, or within minutes", late)
}

// The URL of a shared ledger, and nothing of a password in what is said of it.
func TestLedgerOfInventory(t *testing.T) {
	const rest = "data: /d\ndevices: [{host: a, path: /act}]\n"
	inv, err := Load([]byte("ledger: postgres://me@db.example.net/x?sslmode=verify-full\nledger-password-env: PW\nnode: left\n" + rest))
	if err != nil || inv.Ledger == "" || inv.LedgerPassword.Env != "PW" || inv.Node != "left" {
		t.Fatalf("%+v %v", inv, err)
	}
	for text, want := range map[string]string{
		"ledger: postgres://me:geheim@db/x\n":                                                 "holds a password",
		"ledger: postgres://me@db/x?password=geheim\n":                                        "holds a password",
		"ledger: postgres://me:gehe%ZZim@db/x\n":                                              "no URL of a PostgreSQL database",
		"ledger: postgres:geheim\n":                                                           "no URL of a PostgreSQL database",
		"ledger: mysql://me:geheim@db/x\n":                                                    "no URL of a PostgreSQL database",
		"ledger: /var/lib/geheim.db\n":                                                        "no URL of a PostgreSQL database",
		"ledger: postgres://me@db/x\nledger-password-env: A\nledger-password-file: b\n":       "ledger-password",
		"ledger-password-env: A\n":                                                            "a password for it is",
		"ledger: postgres://me@db/x\nnode: \"a\\tb\"\n":                                       "name of a node",
		"ledger: postgres://me@db/x\nledger-password-credential: c\nledger-password-env: A\n": "ledger-password",
	} {
		_, err := Load([]byte(text + rest))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		} else if strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "gehe%") {
			t.Errorf("%q: the password is told: %v", text, err)
		}
	}
}
