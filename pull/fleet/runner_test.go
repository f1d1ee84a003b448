package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A day of 100 devices in virtual time: a device that hangs until its context
// ends, a new inventory in the middle, and a stop that waits for what runs.
func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		visits := map[string]int{}
		late := 0
		r := &Runner{
			Visit: func(ctx context.Context, d Device, _ State, _ time.Time) Outcome {
				mu.Lock()
				first := visits[d.Name] == 0
				mu.Unlock()
				if d.Name == "d007" && !first {
					ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
					defer cancel()
					<-ctx.Done()
					return Outcome{Err: ctx.Err()}
				}
				time.Sleep(3 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				visits[d.Name]++
				return Outcome{Files: 1}
			},
			OnLate: func(Device, time.Duration) { late++ },
		}
		if err := (&Runner{}).Run(t.Context()); !errors.Is(err, ErrNoDevices) {
			t.Fatal(err)
		}
		inv := &Inventory{AtOnce: 4, PerSite: 4}
		for i := range 100 {
			inv.Devices = append(inv.Devices, dev(fmt.Sprintf("d%03d", i)))
		}
		r.Set(inv, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(12 * time.Hour)
		half := &Inventory{AtOnce: 4, PerSite: 4, Devices: inv.Devices[:50]}
		r.Set(half, nil)
		time.Sleep(12 * time.Hour)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		for i, d := range inv.Devices {
			n, want := visits[d.Name], 96
			if i >= 50 {
				want = 48
			}
			if d.Name == "d007" {
				if s := r.States()[d.Name]; n != 1 || s.Failures < 20 || s.Error == "" {
					t.Errorf("d007: %d good visits, %+v", n, s)
				}
				continue
			}
			if n < want-1 || n > want+2 {
				t.Errorf("%s was visited %d times, want %d", d.Name, n, want)
			}
		}
		if late == 0 {
			t.Error("a device was silent for hours, and no visit was late")
		}
		if n := len(r.States()); n != 50 {
			t.Errorf("%d devices are left", n)
		}
	})
}

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var devices []Device
		for i := range 30 {
			devices = append(devices, dev(fmt.Sprintf("d%02d", i)))
		}
		began := time.Now()
		n := 0
		r := &Runner{
			Visit: func(ctx context.Context, d Device, _ State, _ time.Time) Outcome {
				time.Sleep(time.Second)
				if d.Name == "d03" {
					return Outcome{Err: errors.New("down")}
				}
				return Outcome{}
			},
			OnVisit: func(d Device, o Outcome, s State, _ time.Time, took time.Duration) {
				if n++; (s.Failures == 1) != (d.Name == "d03") || took != time.Second {
					t.Errorf("%s %+v %v", d.Name, s, took)
				}
			},
		}
		r.Once(t.Context(), devices, 10, 10, func(string) State { return State{} })
		if took := time.Since(began); n != 30 || took != 3*time.Second {
			t.Errorf("%d visits in %v", n, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n = 0
		go func() { time.Sleep(1500 * time.Millisecond); cancel() }()
		r.Once(ctx, devices, 10, 10, func(string) State { return State{} })
		if n != 20 {
			t.Errorf("%d visits after a stop", n)
		}
	})
}
