package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acctpull/event"
	"acctpull/internal/agent"
	"acctpull/internal/show"
	"acctpull/policy"
)

// agentConfig writes a configuration whose files lie in a directory with a path
// that is short enough for a socket.
func agentConfig(t *testing.T, more string) (file, location string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	location = filepath.Join(dir, "cf1")
	file = filepath.Join(dir, "agent.yaml")
	check(t, os.WriteFile(file, fmt.Appendf(nil, `%s
source: {kind: synthetic}
file-ids:
  - {id: 11, location: %s, rollover: 60}
  - {id: 12, location: %s}
accounting-policies:
  - {id: 10, record: service-ingress-octets, to: file 11, default: true}
  - {id: 20, record: combined-sdp-ingress-egress, to: file 12, shutdown: true}
objects:
  saps:
    - {sap: "1/1/1:100", service: 100}
`, more, location, location), 0o600))
	return file, location
}

// until waits until something is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for end := time.After(time.Minute); !is(); {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// ask returns what show prints as JSON.
func ask(t *testing.T, args ...string) show.Agent {
	t.Helper()
	out, errs, code := command(t, append([]string{"--json", "show"}, args...)...)
	if code != exitOK {
		t.Fatalf("show %v: exit code %d\n%s", args, code, errs)
	}
	var v show.Agent
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return v
}

// startAgent starts acctpull collect and waits until it answers.
func startAgent(t *testing.T, config string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program(t), "collect", "-c", config)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	until(t, "the agent answers", func() bool { return ask(t, "accounting-policy", "-c", config).Running })
	return cmd
}

// A real agent: it is asked, a second one is kept out, it is killed, and what it
// leaves neither looks alive nor keeps the next one from starting.
func TestShowOfAProcess(t *testing.T) {
	config, location := agentConfig(t, "")
	none := []string{"not running"}
	expect(t, exitOK, none, "show", "accounting-policy", "-c", config)
	expect(t, exitOK, none, "show", "file-id", "11", "--files", "-c", config)
	expect(t, exitFailed, []string{"no agent is running", "acctpull collect -c FILE"}, "clear", "log", "10", "-c", config)

	cmd := startAgent(t, config)
	v := ask(t, "accounting-policy", "-c", config, "--associations")
	if v.PID != cmd.Process.Pid || len(v.Policies) != 2 || v.Policies[0].Oper != show.Up || v.Policies[1].Admin != show.Shutdown || v.Policies[0].Associations[0].Objects[0].Service != "100" || v.FileIDs != nil {
		t.Errorf("%+v", v)
	}
	running := []string{fmt.Sprintf("running, pid %d", cmd.Process.Pid)}
	expect(t, exitOK, running, "show", "accounting-policy", "10", "-c", config)
	expect(t, exitOK, running, "show", "file-id", "-c", config)
	expect(t, exitOK, []string{"log 10 has no open file"}, "clear", "log", "10", "-c", config)
	expect(t, exitOK, []string{`"closed": []`}, "clear", "file-id", "11", "-c", config, "--json")
	expect(t, exitUsage, []string{"no accounting policy in service has the id 20"}, "clear", "log", "20", "-c", config)
	expect(t, exitUsage, []string{"no accounting policy in service writes to file-id 12"}, "clear", "file-id", "12", "-c", config)
	expect(t, exitLocked, []string{fmt.Sprintf("locked by pid %d", cmd.Process.Pid)}, "collect", "-c", config)

	// Somebody breaks the configuration: the agent still answers.
	good, err := os.ReadFile(config)
	check(t, err)
	check(t, os.WriteFile(config, append(good, "nonsense: true\n"...), 0o600))
	expect(t, exitOK, running, "show", "accounting-policy", "-c", config)
	check(t, os.WriteFile(config, good, 0o600))

	check(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait() // it was killed
	if _, err := os.Lstat(filepath.Join(location, ".acctpull.sock")); err != nil {
		t.Fatalf("the killed agent left no socket: %v", err)
	}
	check(t, os.MkdirAll(filepath.Join(location, policy.CollectDir), 0o750))
	check(t, os.WriteFile(filepath.Join(location, policy.CollectDir, "act1011-20260102-030405.xml.gz"), nil, 0o640))
	expect(t, exitOK, []string{"not running", "act1011-20260102-030405.xml.gz was left open"}, "show", "file-id", "11", "--files", "-c", config)

	cmd = startAgent(t, config)
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	if _, err := os.Lstat(filepath.Join(location, ".acctpull.sock")); err == nil {
		t.Error("an agent that ended in order left its socket")
	}
}

// runAgent runs an agent of the configuration in this process, with minutes of
// a few milliseconds, until the test ends, and then with an error that has the
// text (with none if that is empty).
func runAgent(t *testing.T, config, wrong string) {
	t.Helper()
	text, err := os.ReadFile(config)
	check(t, err)
	set, err := policy.Load(text)
	check(t, err)
	c, err := agent.New(agent.Options{Set: set, Minute: 4 * time.Millisecond})
	check(t, err)
	a := &app{events: event.Discard}
	job, err := a.controlJob(collectFlags{config: config}, c, show.Options{Started: time.Now()}, nil)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- together(ctx, []func(context.Context) error{job, c.Run}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; wrong == "" && err != nil || wrong != "" && !strings.Contains(errorText(err), wrong) {
			t.Errorf("the agent ended with %v, want %q", err, wrong)
		}
	})
}

// clear log closes the file that is being written, and only the next collection
// begins another.
func TestClearLog(t *testing.T) {
	config, location := agentConfig(t, "")
	runAgent(t, config, "")
	var open string
	until(t, "a file is open", func() bool {
		open = ask(t, "accounting-policy", "10", "-c", config).Policies[0].CurrentFile
		return open != ""
	})
	for _, f := range ask(t, "file-id", "11", "--files", "-c", config).FileIDs[0].Files {
		if f.Name == open && f.State != show.InProgress {
			t.Errorf("%s is %s", f.Name, f.State)
		}
	}
	out, _ := expect(t, exitOK, []string{"closed act1011-"}, "clear", "log", "10", "-c", config)
	closed := strings.Fields(out)[1]
	st, err := os.Stat(filepath.Join(location, policy.ArchiveDir, closed))
	check(t, err)
	if want := fmt.Sprintf("(%d bytes)", st.Size()); !strings.Contains(out, want) {
		t.Errorf("no %q in %s", want, out)
	}
	until(t, "another file is open", func() bool {
		next := ask(t, "file-id", "11", "-c", config).FileIDs[0].CurrentFile
		return next != "" && next != closed
	})
}

// A policy whose file cannot be written says why and what to do, and when that
// is done it is up again.
func TestShowOfTrouble(t *testing.T) {
	config, location := agentConfig(t, "")
	obstacle := filepath.Join(location, policy.CollectDir)
	check(t, os.MkdirAll(location, 0o750))
	check(t, os.WriteFile(obstacle, nil, 0o600))
	runAgent(t, config, "recover") // it could not look for files of an earlier run
	down := func() bool {
		p := ask(t, "accounting-policy", "10", "-c", config).Policies[0]
		return p.Oper == show.Down && p.DataLoss > 0
	}
	until(t, "the policy is down", down)
	expect(t, exitOK, []string{"Policy 10 is down: ", policy.CollectDir, "What to do: "}, "show", "accounting-policy", "-c", config)
	expect(t, exitOK, []string{"Oper state          : down", "Reason              : ", "What to do          : ", "Incomplete because  : "}, "show", "accounting-policy", "10", "-c", config)
	check(t, os.Remove(obstacle))
	expect(t, exitOK, nil, "clear", "log", "10", "-c", config)
	until(t, "the policy is up", func() bool {
		return !down() && ask(t, "accounting-policy", "10", "-c", config).Policies[0].CurrentFile != ""
	})
}

// Where a socket that was asked for cannot be, the agent does not start; where
// none was asked for, it runs without one and says so.
func TestControlSocketThatCannotBe(t *testing.T) {
	denied, _ := agentConfig(t, "control-socket: /proc/agent.sock")
	expect(t, exitFailed, []string{"listen", "/proc/agent.sock", "control-socket in the configuration"}, "collect", "-c", denied)

	config, location := agentConfig(t, "")
	check(t, os.MkdirAll(location, 0o750))
	check(t, os.Chmod(location, 0o777)) // whatever the umask
	text, err := os.ReadFile(config)
	check(t, err)
	set, err := policy.Load(text)
	check(t, err)
	c, err := agent.New(agent.Options{Set: set})
	check(t, err)
	var seen event.Recorder
	a := &app{events: &seen}
	job, err := a.controlJob(collectFlags{}, c, show.Options{}, nil)
	if job != nil || err != nil || len(seen.Events("controlUnavailable")) != 1 {
		t.Errorf("%v, %v, %v", job != nil, err, seen.Events())
	}

	config, _ = agentConfig(t, "control-socket: none")
	expect(t, exitUsage, []string{"no control socket"}, "clear", "log", "10", "-c", config)
	expect(t, exitOK, []string{"not running"}, "show", "accounting-policy", "-c", config)
}

// An agent without a socket is not taken for one that does not run.
func TestShowSeesTheLock(t *testing.T) {
	config, location := agentConfig(t, "control-socket: none")
	check(t, os.MkdirAll(location, 0o750))
	check(t, os.WriteFile(filepath.Join(location, agent.LockName), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600))
	expect(t, exitOK, []string{fmt.Sprintf("Process %d holds the lock", os.Getpid())}, "show", "file-id", "-c", config)
}

func TestShowUsage(t *testing.T) {
	config, _ := agentConfig(t, "")
	for _, c := range []struct{ args, want string }{
		{"show accounting-policy", `required flag(s) "config"`},
		{"show accounting-policy 30 -c " + config, "no accounting-policy 30"},
		{"show accounting-policy x -c " + config, "no number from 1 to 99"},
		{"show file-id 13 -c " + config, "no file-id 13"},
		{"show file-id -c /does/not/exist", "read configuration"},
		{"show file-id -c " + config + " --rule never", "no retention rule"},
		{"clear log 100 -c " + config, "no number from 1 to 99"},
	} {
		expect(t, exitUsage, []string{c.want}, strings.Fields(c.args)...)
	}
	expect(t, exitOK, []string{"Accounting Policy Records", "service-ingress-octets"}, "show", "accounting-records")
	out, _ := expect(t, exitOK, nil, "show", "accounting-records", "-c", config, "--json")
	var v struct {
		Records []show.Record `json:"accounting_records"`
	}
	check(t, json.Unmarshal([]byte(out), &v))
	if len(v.Records) < 20 || v.Records[0].Policy != 10 || v.Records[0].Name != "service-ingress-octets" {
		t.Errorf("%s", out)
	}
}
