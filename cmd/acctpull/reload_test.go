package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"acctpull/event"
	"acctpull/internal/actserver"
	"acctpull/internal/agent"
	"acctpull/internal/show"
	"acctpull/policy"
)

// reloadYAML has two policies; the directories are FLASH and SECOND.
const reloadYAML = `source: {kind: synthetic}
file-ids:
  - {id: 11, location: FLASH, rollover: 10080, retention: 500}
  - {id: 12, location: FLASH, rollover: 10080, retention: 500}
accounting-policies:
  - {id: 10, record: service-ingress-octets, to: file 11, default: true}
  - {id: 20, record: service-egress-octets, to: file 12}
objects:
  saps:
    - {sap: "1/1/1:100", service: 100}
    - {sap: "1/1/1:200", service: 200, accounting-policy: 20}
`

// listed returns the files of a directory that hold accounting data, and how
// many bytes they have together.
func listed(dir string) (names []string, bytes int64) {
	all, _ := filepath.Glob(filepath.Join(dir, "act*.gz")) // the pattern is good
	for _, path := range all {
		if st, err := os.Stat(path); err == nil {
			names, bytes = append(names, filepath.Base(path)), bytes+st.Size()
		}
	}
	return names, bytes
}

// A running agent, of which a minute lasts 20 ms, gets SIGHUP: with a mistake it
// goes on as it was; without, its open files stay open, and what it serves, its
// control socket and its host key follow the new configuration.
func TestReloadOnHangup(t *testing.T) {
	dir, err := os.MkdirTemp("", "reload-") // short enough for a socket
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	flash, second := filepath.Join(dir, "cf1"), filepath.Join(dir, "cf2")
	config := filepath.Join(dir, "agent.yaml")
	write := func(text string) {
		t.Helper()
		check(t, os.WriteFile(config, []byte(strings.ReplaceAll(text, "FLASH", flash)), 0o600))
	}
	write(reloadYAML)
	key, err := actserver.NewKey("puller")
	check(t, err)
	keys := filepath.Join(dir, "puller.pub")
	check(t, os.WriteFile(keys, ssh.MarshalAuthorizedKey(key.Signer.PublicKey()), 0o600))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := ln.Addr().String()
	check(t, ln.Close())

	var events event.Recorder
	var stderr buffer
	a := &app{stdin: bytes.NewReader(nil), stdout: &stderr, stderr: &stderr, events: &events}
	set, err := a.loadConfig(config)
	check(t, err)
	c, err := agent.New(agent.Options{Set: set, Minute: 20 * time.Millisecond, Events: a.events})
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	f := collectFlags{config: config, serve: serveFlags{listen: address, authorized: keys, user: "puller", path: "cf1:/act"}}
	go func() { done <- a.collectForEver(ctx, f, c, show.Options{Zone: time.UTC}) }()

	collect := filepath.Join(flash, policy.CollectDir)
	until(t, "both files are open", func() bool { n, _ := listed(collect); return len(n) == 2 })
	before, _ := listed(collect)
	hangup := func(event string) string {
		t.Helper()
		n := len(events.Events(event))
		check(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		until(t, event, func() bool { return len(events.Events(event)) > n })
		return events.Events(event)[n].Message
	}
	goesOn := func() {
		t.Helper()
		_, size := listed(collect)
		until(t, "files grow", func() bool { _, n := listed(collect); return n > size })
		if now, _ := listed(collect); !slices.Equal(now, before) {
			t.Fatalf("open files %q, before %q", now, before)
		}
	}

	// Mistakes, a second location (which --listen cannot serve), no file.
	write(strings.Replace(reloadYAML, "to: file 12}", "to: file 11, align: perhaps}", 1))
	if m := hangup("configRefused"); !strings.Contains(m, `line 7: align: "perhaps" is neither true nor false`) || !strings.Contains(m, "(accounting-policy 10 is in line 6)") {
		t.Errorf("the mistakes: %s", m)
	}
	goesOn()
	write(strings.Replace(reloadYAML, "12, location: FLASH", "12, location: "+second, 1))
	if m := hangup("configRefused"); !strings.Contains(m, "--listen serves one location") {
		t.Errorf("two locations: %s", m)
	}
	check(t, os.Remove(config))
	if m := hangup("configRefused"); !strings.Contains(m, "no such file") {
		t.Errorf("no file: %s", m)
	}
	goesOn()

	// One more object; all else as it was.
	more := reloadYAML + `    - {sap: "1/1/1:300", service: 300}` + "\n"
	write(more)
	if m := hangup("configLoaded"); !strings.Contains(m, "policies in service 10 20, shut down none, 3 objects") {
		t.Errorf("reloaded: %s", m)
	}
	goesOn()

	// Another location: the files that are open stay where they are.
	write(strings.ReplaceAll(more, "FLASH", second))
	hangup("configLoaded")
	goesOn()
	serving := regexp.MustCompile(`serving (\S+) as .* host key (\S+)`)
	until(t, "the new location is served", func() bool { return len(serving.FindAllString(stderr.String(), -1)) == 2 })
	lines := serving.FindAllStringSubmatch(stderr.String(), -1)
	if lines[1][1] != filepath.Join(second, policy.ArchiveDir) || lines[0][2] != lines[1][2] {
		t.Errorf("served %q", lines)
	}
	until(t, "the control socket follows", func() bool { return ask(t, "accounting-policy", "-c", config).Running })

	stop()
	check(t, <-done)
	sealed, _ := listed(filepath.Join(flash, policy.ArchiveDir))
	if !slices.Equal(sealed, before) {
		t.Errorf("closed files %q, opened %q", sealed, before)
	}
	// Intervals last 100 ms here, so a busy machine may miss one.
	for _, bad := range []string{"recoveryFailed", "fileLeft", "policyDown"} {
		if e := events.Events(bad); len(e) != 0 {
			t.Errorf("%v", e)
		}
	}
}

// The program itself: SIGHUP with a mistake in its configuration does not end
// it, and the correction is in force at once.
func TestReloadOfAProcess(t *testing.T) {
	config, _ := agentConfig(t, "")
	good, err := os.ReadFile(config)
	check(t, err)
	cmd := startAgent(t, config)
	inService := func() int {
		n := 0
		for _, p := range ask(t, "accounting-policy", "-c", config).Policies {
			if p.Admin != show.Shutdown {
				n++
			}
		}
		return n
	}
	if n := inService(); n != 1 {
		t.Fatalf("%d policies in service", n)
	}
	check(t, os.WriteFile(config, append(slices.Clone(good), "nonsense: true\n"...), 0o600))
	check(t, cmd.Process.Signal(syscall.SIGHUP))
	check(t, os.WriteFile(config, bytes.Replace(good, []byte(", shutdown: true"), nil, 1), 0o600))
	check(t, cmd.Process.Signal(syscall.SIGHUP))
	until(t, "the correction is in force", func() bool { return inService() == 2 })

	// acctpull reload does the same, with an answer.
	check(t, os.WriteFile(config, append(slices.Clone(good), "nonsense: true\n"...), 0o600))
	expect(t, exitUsage, []string{`there is no key "nonsense"`}, "reload", "-c", config)
	check(t, os.WriteFile(config, good, 0o600))
	expect(t, exitOK, []string{"is in force"}, "reload", "-c", config)
	if n := inService(); n != 1 {
		t.Errorf("%d policies in service after a reload", n)
	}
	check(t, os.WriteFile(config, bytes.Replace(good, []byte("synthetic"), []byte("synthetic, seed: 7"), 1), 0o600))
	expect(t, exitFailed, []string{"the source of counters cannot change", "restart the agent"}, "reload", "-c", config)

	check(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != exitInterrupted {
		t.Errorf("the end: %v", err)
	}
	expect(t, exitFailed, []string{"no agent is running"}, "reload", "-c", config)
}
