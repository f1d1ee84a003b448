package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456789, time.UTC)

var errFull = errors.New("no space left on device")

// examples has one event of every constructor, in the order of Own.
func examples() []Event {
	return []Event{
		FilePulled(noon, "r1", "act1101-20260102-110000.xml.gz", 61234, "9f86d081"),
		FileQuarantined(noon, "r1", "act1101-20260102-110000.xml.gz", "gzip ends early"),
		FileLost(noon, "r1", "act1101-20260102-110000.xml.gz", "no such file"),
		NameReused(noon, "r1", "act1101-20260102-110000.xml.gz", "stored as act1101-20260102-110000-9f86d081.xml.gz"),
		PullFailed(noon, "r1", "connection refused"),
		HostKeyUnknown(noon, "r1", "192.0.2.1:22", "SHA256:new"),
		HostKeyChanged(noon, "r1", "192.0.2.1:22", "SHA256:old", "SHA256:new"),
		AuthRefused(noon, "r1", "admin", "unable to authenticate"),
		CounterOverflow(noon, "r1", "act1101-20260102-110000.xml.gz", "service-ingress-octets", 3),
		UnknownFields(noon, "r1", "act1101-20260102-110000.xml.gz", []string{"xyz", "abc"}, 12),
		FileRecovered(noon, 11, 1, "act1101-20260102-110000.xml.gz", "completed, 17 bytes cut off"),
		FileExpired(noon, 11, 1, "act1101-20260102-110000.xml.gz", "retention of 12h0m0s ended"),
		SweepRefused(noon, "/flash/act", 300, "the clock jumped by 8760h0m0s"),
		FileServed(noon, "act1011-20260102-030405.xml.gz", "puller", "192.0.2.7:50022", "sftp", 1234),
		AccessRefused(noon, "192.0.2.66:50022", "root", "login", "permission denied"),
		PolicyDown(noon, 11, 1, errFull),
		PolicyUp(noon, 11, 1),
		ObjectMissing(noon, 11, "SAP 1/1/1:100", "there is no such link"),
		ObjectFound(noon, 11, "SAP 1/1/1:100"),
		CountersRestarted(noon, 11, "SAP 1/1/1:100", "the link was made anew"),
		RecoveryFailed(noon, errFull),
		ControlUnavailable(noon, errors.New("the path has 130 bytes, a Unix socket takes 107")),
		ConfigLoaded(noon, "/etc/acctpull/fleet.yaml", "120 devices"),
		ConfigRefused(noon, "/etc/acctpull/fleet.yaml", "line 7: there is no key \"evry\""),
		DeviceLate(noon, "router-7", "1h20m0s"),
		Exported(noon, 96, 480000, 3),
		FileLeft(noon, 11, 1, "act1101-20260102-110000.xml.gz", errFull),
		FileReplayed(noon, "service-ingress-octets", "recording/act1101-20260102-110000.xml.gz", 1200, 3, "3 cannot be used"),
		RecordingEnded(noon, "service-ingress-octets", "it begins again"),
		WeakConnection(noon, "edge-7", "old algorithms that were allowed for it: diffie-hellman-group14-sha1 ssh-rsa"),
		DeviceTakenOver(noon, "edge-1", "host-1a2b3c4d"),
		LeaseLost(noon, "edge-1", "host-1a2b3c4d"),
		FilesRemoved(noon, "router1", 12, 345678),
		RemovalRefused(noon, "router1", 1, "the device refused: permission denied"),
		LedgerAway(noon, "host-1a2b3c4d", "connection refused"),
		LedgerBack(noon, "host-1a2b3c4d"),
		ClockOff(noon, "edge-1", "at least 1m30s ahead of ours"),
		ArchiveExpired(noon, "/srv/acct", 1440, 3, 98765432),
		HoldAdded(noon, 3, "device edge-1, before 2026-11-01T00:00:00Z", "ana", "case 4711"),
		HoldReleased(noon, 3, "device edge-1, before 2026-11-01T00:00:00Z", "bert", "case 4711 is closed"),
		ChoreFailed(noon, "compaction", errors.New("no room left on the device")),
		SpaceContention(noon, 11, 1, "/flash/cf1", errFull),
		AdminLocFailed(noon, 11, 1, "/flash/cf1", errFull),
		BackupLocFailed(noon, 11, 1, "/flash/cf2", errFull),
		FileRollover(noon, 11, 1, "act1101-20260102-110000.xml.gz", 61234),
		FileDeleted(noon, 11, 1, "act1101-20260102-110000.xml.gz", "/flash/cf1", noon.Add(-time.Hour), "space contention"),
		DataLoss(noon, 11, 1, 100, 58, 3, errors.New("the interval was not finished when the next one began")),
	}
}

func TestEveryDefinitionHasAConstructor(t *testing.T) {
	defs, events := Own(), examples()
	if len(defs) != len(events) {
		t.Fatalf("%d definitions and %d constructors", len(defs), len(events))
	}
	for i, d := range defs {
		e := events[i]
		if e.Name != d.Name || e.Number != d.Number || e.Application != d.Application ||
			e.Severity != d.Severity || e.Stream != d.Stream || !e.Time.Equal(noon) || e.Subject == "" {
			t.Errorf("%s: event %+v does not agree with its definition", d.Name, e)
		}
		var names []string
		for _, p := range e.Params {
			names = append(names, p.Name)
			if p.Value == "" {
				t.Errorf("%s: parameter %s has no value", d.Name, p.Name)
			}
			if e.Value(p.Name) != p.Value {
				t.Errorf("%s: Value(%q) = %q", d.Name, p.Name, e.Value(p.Name))
			}
		}
		if !slices.Equal(names, d.Params) {
			t.Errorf("%s: parameters %q, defined are %q", d.Name, names, d.Params)
		}
		if strings.Contains(e.Message, "$") {
			t.Errorf("%s: %q has an unfilled place", d.Name, e.Message)
		}
	}
	if v := events[0].Value("nonesuch"); v != "" {
		t.Errorf("an unknown parameter has the value %q", v)
	}
}

func TestDefinitionsAreSound(t *testing.T) {
	type id struct {
		application string
		number      int
	}
	ids, names := map[id]bool{}, map[string]bool{}
	for _, d := range Own() {
		if ids[id{d.Application, d.Number}] || names[d.Name] {
			t.Errorf("%s #%d %s is defined twice", d.Application, d.Number, d.Name)
		}
		ids[id{d.Application, d.Number}], names[d.Name] = true, true
		if !d.Severity.Valid() || d.Stream < Main || d.Stream > Debug || d.Meaning == "" {
			t.Errorf("%s: %+v", d.Name, d)
		}
		if d.Application != Logger && d.Application != Acctpull {
			t.Errorf("%s: application %s", d.Name, d.Application)
		}
	}
}

// TestOwnIsACopy: nobody can change the list for others.
func TestOwnIsACopy(t *testing.T) {
	Own()[0].Name = "changed"
	if Own()[0].Name == "changed" {
		t.Error("Own gives its table away")
	}
}

func TestTextOfParametersIsNotATemplate(t *testing.T) {
	e := PullFailed(noon, "$reason$", "$device$ $subject$")
	if want := "Device $reason$ could not be pulled: $device$ $subject$"; e.Message != want {
		t.Errorf("message %q, want %q", e.Message, want)
	}
}

// TestSeverityOrder: "gte major" must match critical (events of a device show
// it), and numbers of table 41 must not be compared.
func TestSeverityOrder(t *testing.T) {
	order := []Severity{Critical, Major, Minor, Warning, Indeterminate, Cleared}
	for i, s := range order {
		if !s.Valid() || s.Rank() != len(order)-i {
			t.Errorf("%s has rank %d, want %d", s, s.Rank(), len(order)-i)
		}
	}
	numbers := map[Severity]string{1: "cleared", 2: "indeterminate", 3: "critical", 4: "major", 5: "minor", 6: "warning"}
	for s, name := range numbers {
		if s.String() != name {
			t.Errorf("severity %d is %q, want %q", int(s), s, name)
		}
	}
	for _, s := range []Severity{-1, 0, 7} {
		if s.Valid() || s.Rank() != 0 || s.String() != fmt.Sprintf("severity %d", int(s)) {
			t.Errorf("severity %d: valid %v, rank %d, %q", int(s), s.Valid(), s.Rank(), s)
		}
	}
	for _, s := range []Stream{0, 5} {
		if s.String() != fmt.Sprintf("stream %d", int(s)) {
			t.Errorf("stream %d is %q", int(s), s)
		}
	}
	want := []string{"main", "security", "change", "debug"}
	for i, s := range []Stream{Main, Security, Change, Debug} {
		if s.String() != want[i] {
			t.Errorf("stream %d is %q, want %q", int(s), s, want[i])
		}
	}
}

func TestMultiAndRecorder(t *testing.T) {
	var a, b Recorder
	sink := Multi(&a, Discard, &b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, e := range examples() {
				sink.Emit(e)
			}
		})
	}
	wg.Wait()
	for _, r := range []*Recorder{&a, &b} {
		if n := len(r.Events()); n != 8*len(examples()) {
			t.Errorf("%d events recorded, %d emitted", n, 8*len(examples()))
		}
		if n := len(r.Events("hostKeyChanged", "fileLost")); n != 16 {
			t.Errorf("%d events of two names recorded, want 16", n)
		}
	}
}

// hostile is text that would end, hide or forge a line.
const hostile = "a\r\nlevel=ERROR msg=forged\x00\x1b[2J\u0085\u009b1m\u202e\u2066\u2028\u2029\u200b\xff\xfe\x7f" + `"'=\`

func TestSlogKeepsOneSafeLine(t *testing.T) {
	var text, js bytes.Buffer
	all := &slog.HandlerOptions{Level: slog.LevelDebug}
	sink := Multi(Slog(slog.New(slog.NewTextHandler(&text, all))), Slog(slog.New(slog.NewJSONHandler(&js, all))),
		Slog(slog.New(slog.DiscardHandler)))
	events := examples()
	long := strings.Repeat(hostile, 200)
	events = append(events, PullFailed(noon, hostile, long), HostKeyChanged(noon, long, long, long, long),
		Event{Time: noon, Application: long, Name: long, Subject: long, Message: long})
	for _, e := range events {
		sink.Emit(e)
	}
	for _, out := range []string{text.String(), js.String()} {
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(lines) != len(events) {
			t.Fatalf("%d lines for %d events", len(lines), len(events))
		}
		for _, line := range lines {
			if len(line) > 8192 {
				t.Errorf("a line of %d bytes", len(line))
			}
			if strings.ContainsFunc(line, func(r rune) bool {
				return r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) ||
					unicode.In(r, unicode.Zl, unicode.Zp)
			}) {
				t.Errorf("unsafe text in %q", line)
			}
		}
	}
}

func TestSlogKeys(t *testing.T) {
	var js bytes.Buffer
	sink := Slog(slog.New(slog.NewJSONHandler(&js, nil)))
	sink.Emit(FileExpired(noon, 11, 1, "act1101-20260102-110000.xml.gz", "line\nbreak"))
	var got map[string]any
	if err := json.Unmarshal(js.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"time": "2026-01-02T12:00:00.123456789Z", "level": "INFO",
		"msg":         `File act1101-20260102-110000.xml.gz was deleted: line\u000abreak`,
		"application": "ACCTPULL", "number": 2012.0, "name": "fileExpired", "severity": "indeterminate",
		"stream": "main", "subject": "accounting policy 11",
		"policy": "11", "file_id": "1", "file": "act1101-20260102-110000.xml.gz", "reason": `line\u000abreak`,
	}
	if len(got) != len(want) {
		t.Errorf("keys %v, want %v", got, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %v, want %v", k, got[k], v)
		}
	}
}

func TestSlogLevels(t *testing.T) {
	want := map[Severity]slog.Level{
		Critical: slog.LevelError, Major: slog.LevelError, Minor: slog.LevelWarn, Warning: slog.LevelWarn,
		Indeterminate: slog.LevelInfo, Cleared: slog.LevelInfo, 0: slog.LevelInfo,
	}
	for s, level := range want {
		for _, min := range []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			var out bytes.Buffer
			Slog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: min}))).Emit(Event{Severity: s})
			if written := out.Len() > 0; written != (level >= min) {
				t.Errorf("severity %s at level %s: written %v", s, min, written)
			}
			if out.Len() > 0 && !strings.Contains(out.String(), "level="+level.String()) {
				t.Errorf("severity %s: %s", s, out.String())
			}
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add(hostile, 20)
	f.Add(strings.Repeat("é", 300), 256)
	f.Add("\U000e0001\U0010ffff", 100)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 64 + limit&0x3ff
		got := printable(s, limit)
		if len(got) > limit {
			t.Errorf("%d bytes, the limit is %d", len(got), limit)
		}
		if strings.ContainsFunc(got, unprintable) {
			t.Errorf("printable(%q) = %q", s, got)
		}
		if len(s) <= limit && !strings.ContainsFunc(s, unprintable) && got != s {
			t.Errorf("printable changed the harmless %q to %q", s, got)
		}
	})
}
