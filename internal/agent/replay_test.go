package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/event"
	"acctpull/policy"
)

// A replay tells what became of each file and of the recording.
func TestReplayEvents(t *testing.T) {
	dir := t.TempDir()
	const text = `<f record="service-ingress-octets" time="2026-01-02T03:04:05Z"><sio svc="1" sap="1/1/1:1" ioo="5" odd="x"/><sio svc="1" sap="1/1/1:2" ioo="x"/></f>`
	if err := os.WriteFile(filepath.Join(dir, "a.xml"), []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	set, err := policy.New(policy.Config{
		Source:   policy.SourceConfig{Kind: policy.SourceReplay, Path: []string{dir}},
		FileIDs:  []policy.FileID{{ID: 11, Location: filepath.Join(dir, "cf1")}},
		Policies: []policy.AccountingPolicy{{ID: 10, Record: "service-ingress-octets", To: 11}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got event.Recorder
	for range 2 { // the second agent begins with the first interval again
		a, err := New(Options{Set: set, Events: &got})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Once(context.Background(), func(i policy.Interval) {
			if i.Err != nil || i.Records != 1 {
				t.Errorf("%+v", i)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	replayed := got.Events("fileReplayed")
	if len(replayed) != 2 || replayed[0].Value("passed") != "1" || replayed[0].Value("left") != "1" ||
		!strings.HasSuffix(replayed[0].Message, "1 records of service-ingress-octets passed, 1 did not: 1 cannot be used, 1 fields that nobody knows passed") {
		t.Errorf("%+v", replayed)
	}
}
