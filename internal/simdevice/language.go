package simdevice

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acctpull/internal/scenario"
)

// faultVerb is a fault as scenarios and command lines name it.
type faultVerb struct {
	name  string
	arg   *scenario.Arg // nil if it takes none
	doc   string
	apply func(f *Faults, on bool, n int64, d time.Duration)
}

// latencyArg checks a latency: "50ms", "1s".
func latencyArg(word string) error {
	d, err := time.ParseDuration(word)
	if err != nil || d <= 0 || d > MaxLatency {
		return fmt.Errorf("is no latency from 1ns to %v", MaxLatency)
	}
	return nil
}

// faultVerbs are all faults. A verb "fault NAME" begins one, "heal NAME" ends
// it.
func faultVerbs() []faultVerb {
	number := func(name string) *scenario.Arg { return &scenario.Arg{Name: name, Check: scenario.Number(1, 1<<30)} }
	flag := func(name, doc string, field func(*Faults) *bool) faultVerb {
		return faultVerb{name: name, doc: doc, apply: func(f *Faults, on bool, _ int64, _ time.Duration) { *field(f) = on }}
	}
	count := func(name, arg, doc string, set func(*Faults, int64)) faultVerb {
		return faultVerb{name: name, arg: number(arg), doc: doc, apply: func(f *Faults, _ bool, n int64, _ time.Duration) { set(f, n) }}
	}
	return []faultVerb{
		flag("down", "connections are reset, open ones too", func(f *Faults) *bool { return &f.Down }),
		flag("silent", "connections are accepted and never answered", func(f *Faults) *bool { return &f.Silent }),
		flag("banner", "lines of text without end come before the SSH version", func(f *Faults) *bool { return &f.EndlessBanner }),
		flag("refuse-login", "nobody may log in", func(f *Faults) *bool { return &f.RefuseAuth }),
		flag("host-key", "another host key is shown", func(f *Faults) *bool { return &f.ChangeHostKey }),
		flag("legacy", "only old algorithms are offered, with an RSA host key", func(f *Faults) *bool { return &f.Legacy }),
		flag("scp-only", "there is no SFTP", func(f *Faults) *bool { return &f.SCPOnly }),
		count("drop", "bytes", "every connection is cut after the device sent that many bytes", func(f *Faults, n int64) { f.DropAfter = n }),
		count("slow", "bytes", "each connection gets at most that many bytes per second", func(f *Faults, n int64) { f.SlowBytesPerSecond = n }),
		{name: "latency", arg: &scenario.Arg{Name: "duration", Check: latencyArg}, doc: "every round trip takes that much longer, such as 50ms",
			apply: func(f *Faults, _ bool, _ int64, d time.Duration) { f.Latency = d }},
		flag("truncate", "only the first half of each .gz file is listed and sent", func(f *Faults) *bool { return &f.TruncateGzip }),
		flag("corrupt", "one byte in the middle of each file is sent inverted", func(f *Faults) *bool { return &f.CorruptByte }),
		count("vanish", "files", "the oldest files expire between a listing and the first file", func(f *Faults, n int64) { f.Vanish = int(n) }),
		flag("full", "the flash is full: each new file costs the oldest one, and without any nothing is written", func(f *Faults) *bool { return &f.FullFlash }),
	}
}

// set begins a fault. The word was checked.
func (v *faultVerb) set(f *Faults, word string) {
	n, _ := strconv.ParseInt(word, 10, 64)
	d, _ := time.ParseDuration(word)
	v.apply(f, true, n, d)
}

// Language is what scenarios can do to a fleet.
func Language() scenario.Language {
	var l scenario.Language
	duration := func(name string, optional bool) scenario.Arg {
		return scenario.Arg{Name: name, Check: scenario.Duration, Optional: optional}
	}
	for _, v := range faultVerbs() {
		begin := scenario.Verb{Name: "fault " + v.name, Targets: true, Undo: "heal " + v.name, Doc: v.doc}
		if v.arg != nil {
			begin.Args = []scenario.Arg{*v.arg}
		}
		l.Verbs = append(l.Verbs, begin, scenario.Verb{Name: "heal " + v.name, Targets: true, Doc: "ends `fault " + v.name + "`"})
	}
	l.Verbs = append(l.Verbs,
		scenario.Verb{Name: "heal", Targets: true, Doc: "ends every fault"},
		scenario.Verb{Name: "reboot", Targets: true, Args: []scenario.Arg{duration("down", true)},
			Doc: "restart, away for a minute or as long as given: counters begin at zero, counter modes are the default, the open file is left in act-collect"},
		scenario.Verb{Name: "format", Targets: true, Args: []scenario.Arg{duration("down", true)},
			Doc: "restart with an empty flash; after `clock back` names of files are used again for other files"},
		scenario.Verb{Name: "clock forward", Targets: true, Args: []scenario.Arg{duration("step", false)}, Doc: "the device's clock is set forward"},
		scenario.Verb{Name: "clock back", Targets: true, Args: []scenario.Arg{duration("step", false)}, Doc: "the device's clock is set back"},
	)
	return l
}

// ParseFaults reads faults as a command line has them: "slow=1000,scp-only".
func ParseFaults(text string) (Faults, error) {
	var f Faults
	var errs []error
	for word := range strings.SplitSeq(text, ",") {
		if word == "" {
			continue
		}
		name, value, given := strings.Cut(word, "=")
		if err := addFault(&f, name, value, given); err != nil {
			errs = append(errs, err)
		}
	}
	return f, errors.Join(errs...)
}

func addFault(f *Faults, name, value string, given bool) error {
	var names []string
	for _, v := range faultVerbs() {
		names = append(names, v.name)
		switch {
		case v.name != name:
			continue
		case v.arg == nil && given:
			return fmt.Errorf("fault %s takes no value", name)
		case v.arg != nil && !given:
			return fmt.Errorf("fault %s needs a value: %s=%s", name, name, strings.ToUpper(v.arg.Name))
		case v.arg != nil:
			if err := v.arg.Check(value); err != nil {
				return fmt.Errorf("fault %s: %q %w", name, value, err)
			}
		}
		v.set(f, value)
		return nil
	}
	return fmt.Errorf("there is no fault %q; the faults are %s", name, strings.Join(names, ", "))
}

// do does one step of a scenario to a device.
func (d *Device) do(step scenario.Step, lasts func(time.Duration) time.Duration) error {
	arg := ""
	if len(step.Args) > 0 {
		arg = step.Args[0]
	}
	given := time.Duration(-1)
	if t, err := scenario.ParseDuration(arg); err == nil {
		given = lasts(t)
	}
	switch step.Verb {
	case "heal":
		d.SetFaults(Faults{})
		return nil
	case "reboot", "format":
		if given < 0 {
			given = lasts(time.Minute)
		}
		return d.Reboot(Reboot{Down: given, Format: step.Verb == "format"})
	case "clock forward":
		return d.StepClock(given)
	case "clock back":
		return d.StepClock(-given)
	}
	kind, name, _ := strings.Cut(step.Verb, " ")
	for _, v := range faultVerbs() {
		if v.name != name {
			continue
		}
		f := d.Faults()
		if kind == "fault" {
			v.set(&f, arg)
		} else {
			v.apply(&f, false, 0, 0)
		}
		d.SetFaults(f)
		return nil
	}
	return fmt.Errorf("%q: there is no verb %q", d.o.Name, step.Verb)
}
