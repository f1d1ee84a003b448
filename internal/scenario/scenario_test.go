package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// device is a language for the tests.
var device = Language{
	Settings: []Setting{{Name: "colour", Check: OneOf("red", "blue"), Doc: "The colour."}},
	Verbs: []Verb{
		{Name: "disk full", Undo: "disk freed", Doc: "No room."},
		{Name: "disk freed"},
		{Name: "disk"},
		{Name: "slow", Args: []Arg{{Name: "pause", Check: Duration}, {Name: "objects", Optional: true, Many: true}}, Undo: "fast"},
		{Name: "fast"},
		{Name: "link", Args: []Arg{{Name: "name"}, {Name: "state", Check: OneOf("up", "down")}}},
		{Name: "clear log", Args: []Arg{{Name: "file-id", Check: Number(1, 99)}}},
		{Name: "reboot", Targets: true},
	},
	Sections: []string{"config", "golden", "config-*"},
}

const example = `# A comment.
title: a long night # with a number sign
start: 2026-03-29T00:30:00+01:00
zone: Europe/Berlin
length: 1d
colour: red

at +12m for 10m disk full   # one comment
at 03:30 r1 "r 2": reboot   # 02:30 does not exist that day
at 2026-03-29T12:00:00Z link "a b" down
at +12m disk
every 8h until +20h clear log 11
at +0s for 1h30m slow 2m x y
-- config --
at: is no line of the script
-- config-2 --
-- golden --
old
`

func TestParse(t *testing.T) {
	s, err := device.Parse("example", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if s.Title != "a long night # with a number sign" || s.Setting("colour") != "red" || s.Length != 24*time.Hour || s.Start.Unix() != 1774740600 {
		t.Errorf("settings: %q %q %v %v", s.Title, s.Setting("colour"), s.Length, s.Start)
	}
	var got []string
	for _, step := range s.Steps {
		got = append(got, fmt.Sprintf("%d %s", step.Line, step))
	}
	want := []string{
		"13 at +0s slow 2m x y",
		"8 at +12m disk full",
		"11 at +12m disk",
		"8 at +22m disk freed",
		"13 at +1h30m fast",
		`9 at +2h r1 "r 2": reboot`,
		"12 at +8h clear log 11",
		`10 at +12h30m link "a b" down`,
		"12 at +16h clear log 11",
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text, ok := s.Section("config"); !ok || text != "at: is no line of the script\n" || s.Sections[0].Line != 15 {
		t.Errorf("section config in line %d: %q", s.Sections[0].Line, text)
	}
	if _, ok := s.Section("config-3"); ok {
		t.Error("there is no section config-3")
	}
}

// A section is replaced, and everything else stays as it was.
func TestWith(t *testing.T) {
	s, err := device.Parse("example", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.With("golden", "new"), strings.Replace(example, "old\n", "new\n", 1); got != want {
		t.Errorf("replaced:\n%s", got)
	}
	if got, want := s.With("config-2", "x\n"), strings.Replace(example, "-- golden", "x\n-- golden", 1); got != want {
		t.Errorf("filled:\n%s", got)
	}
	if got, want := s.With("config-3", "x"), example+"-- config-3 --\nx\n"; got != want {
		t.Errorf("added:\n%s", got)
	}
}

// Every mistake is reported at once, with its line.
func TestMistakes(t *testing.T) {
	const text = `title:
colour: green
colour: red
flavour: sweet
zone: Mars/Olympus
start: 2026-02-30T00:00:00
length: forever
then reboot
at
at noon reboot
at 25:00 reboot
at 2025-12-31T23:59:59Z reboot
at +1h
at +1h fly
at +1h link eth0
at +1h link eth0 sideways
at +1h link eth0 up now
at +1h clear log 100
at +1h r1: disk full
at +1h for disk full
at +1h for 1m disk
at +1h for 1m reboot
at +1h slow 1m "x
every 0s reboot
every 5m reboot
every 5m from +2h until +1h reboot
at +101y reboot
at +36601d reboot
at +1h for
late: yes
-- weather --
-- golden --
-- golden --
`
	_, err := device.Parse("x.txt", []byte(text))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	lines := map[int]bool{}
	for _, m := range e.Mistakes {
		lines[m.Line] = true
	}
	for n := 1; n <= strings.Count(text, "\n"); n++ {
		if !lines[n] && n != 32 {
			t.Errorf("nothing is wrong with line %d: %s", n, strings.Split(text, "\n")[n-1])
		}
	}
	for _, want := range []string{
		`x.txt:2: colour: "green" is not one of red, blue`,
		`x.txt:14: there is no verb "fly"; the verbs are disk full`,
		`x.txt:16: link: state "sideways" is not one of up, down`,
		`x.txt:18: clear log: file-id "100" is no number from 1 to 99`,
		`x.txt:33: section "golden" stands in line 32 already`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in\n%v", want, err)
		}
	}
	for _, text := range []string{"\xff", "at +1s reboot\x01", strings.Repeat("x", maxLine+1), "every 1ms until +1h reboot"} {
		if _, err := device.Parse("x", []byte(text)); err == nil {
			t.Errorf("%.20q has no mistake", text)
		}
	}
}

func TestLastStepIsWithinTheLength(t *testing.T) {
	_, err := device.Parse("x", []byte("length: 1h\nat +55m for 10m disk full\n"))
	if err == nil || !strings.Contains(err.Error(), "x:2: this happens at +1h5m, after the end at +1h") {
		t.Error(err)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "3d": 72 * time.Hour, "1d12h": 36 * time.Hour, "0s": 0, "0d": 0, "36600d": maxDuration} {
		d, err := ParseDuration(text)
		if err != nil || d != want {
			t.Errorf("%s = %v, %v", text, d, err)
		}
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d {
			t.Errorf("%s is written as %s", text, FormatDuration(d))
		}
	}
	for _, text := range []string{"", "5", "-5m", "1d-1h", "d", "1dd", "36600d1s", "9999999999999999999d"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q = %v", text, d)
		}
	}
}

// A virtual day is played at its times, and ends with its context.
func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := device.Parse("example", []byte(example))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		n := 0
		if err := s.Play(t.Context(), begin, func(step Step) error {
			if n++; time.Since(begin) != step.At {
				t.Errorf("%s happened at %v", step, time.Since(begin))
			}
			return nil
		}); err != nil || n != len(s.Steps) || time.Since(begin) != s.Length {
			t.Errorf("%d steps, %v, after %v", n, err, time.Since(begin))
		}
		boom := errors.New("boom")
		if err := s.Play(t.Context(), time.Now(), func(Step) error { return boom }); !errors.Is(err, boom) || err.Error() != "line 13: slow: boom" {
			t.Errorf("an error of a step: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Play(ctx, time.Now(), func(Step) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended early: %v", err)
		}
	})
}

func TestMarkdown(t *testing.T) {
	text := device.Markdown()
	for _, want := range []string{"| `colour` | The colour. |", "| `disk full` | `disk freed` | No room. |", "| `slow PAUSE [OBJECTS…]` | `fast` |", "| `[TARGET… :] reboot` | – |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// FuzzParse: no text does harm. A mistake has its line; what is read keeps the
// order and the bounds of time, and reads the same when it is written again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("at +1h \"r \\\" 1\": reboot\nevery 5m until +1h for 1m disk full\n-- golden --\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := device.Parse("fuzz", data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Mistakes) == 0 {
				t.Fatalf("the error is %v", err)
			}
			lines := strings.Count(string(data), "\n") + 1
			for _, m := range e.Mistakes {
				if m.Line < 1 || m.Line > lines {
					t.Errorf("a mistake in line %d of %d: %s", m.Line, lines, m.Text)
				}
			}
			return
		}
		var script strings.Builder
		last := time.Duration(0)
		for _, step := range s.Steps {
			if step.At < last || step.At > s.Length {
				t.Fatalf("%s after +%v, of %v", step, last, s.Length)
			}
			last = step.At
			script.WriteString(step.String() + "\n")
		}
		again, err := device.Parse("again", []byte(script.String()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, script.String())
		}
		for i, step := range again.Steps {
			if step.String() != s.Steps[i].String() {
				t.Fatalf("%s is read again as %s", s.Steps[i], step)
			}
		}
	})
}
