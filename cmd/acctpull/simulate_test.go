package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// simulated starts acctpull simulate and returns what it says of itself, and a
// function that ends it and returns its last words.
func simulated(t *testing.T, args ...string) (sim struct {
	Directory string
	SSHConfig string `json:"ssh_config"`
	Devices   []struct {
		Name    string
		Address string
		Port    int
	}
}, end func() simStatus) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	code := make(chan int, 1)
	var stderr buffer
	go func() {
		code <- run(ctx, append([]string{"simulate", "--json", "--port-each", "--listen", "127.0.0.1:0"}, args...), os.Environ(), nil, in, &stderr)
		_ = in.Close()
	}()
	dec := json.NewDecoder(bufio.NewReader(out))
	if err := dec.Decode(&sim); err != nil {
		t.Fatalf("simulate: %v\n%s", err, stderr.String())
	}
	return sim, func() simStatus {
		t.Helper()
		cancel()
		var st simStatus
		check(t, dec.Decode(&st))
		if c := <-code; c != exitOK {
			t.Errorf("simulate ended with %d\n%s", c, stderr.String())
		}
		return st
	}
}

// What simulate prints is enough to pull, and what was pulled is the truth.
func TestSimulateAndPull(t *testing.T) {
	dir := t.TempDir()
	truthFile := filepath.Join(dir, "truth.json")
	sim, end := simulated(t, "-n", "1", "--group", "core n=1 record=network-egress-octets objects=3 scp-only", "--dir", filepath.Join(dir, "fleet"), "--backfill", "2h", "--truth", truthFile)
	records := map[string]int64{}
	for _, d := range sim.Devices {
		stdout, _ := expect(t, exitOK, nil, "pull", "--json", "-F", sim.SSHConfig, d.Name+":cf1:/act", "--out", filepath.Join(dir, "data"))
		var sum struct {
			Records int64 `json:"records"`
			Files   int   `json:"fetched"`
		}
		check(t, json.Unmarshal([]byte(stdout), &sum))
		records[d.Name] = sum.Records
	}
	// All of them by the inventory that it wrote, into another directory.
	expect(t, exitOK, []string{"2 devices: ", "0 failed"}, "pull", "-c", filepath.Join(dir, "fleet", "fleet.yaml"))
	if st := end(); st.Devices != 2 || st.Logins != 4 || st.Files < 14 {
		t.Errorf("at the end: %+v", st)
	}
	text, err := os.ReadFile(truthFile)
	check(t, err)
	for line := range strings.Lines(string(text)) {
		var truth struct {
			Device string
			Files  []struct {
				Name, Sealed string
				Records      int64
			}
			Sums []map[string]uint64
		}
		check(t, json.Unmarshal([]byte(line), &truth))
		var want int64
		for _, f := range truth.Files {
			if f.Sealed != "" {
				want += f.Records
			}
		}
		if want == 0 || records[truth.Device] != want || len(truth.Sums) != len(truth.Files) {
			t.Errorf("%s: %d records were pulled, %d are the truth", truth.Device, records[truth.Device], want)
		}
	}
}

func TestSimulatePrintsAndRefuses(t *testing.T) {
	dir := t.TempDir()
	expect(t, exitOK, []string{"127.64.0.2", "sim-2"}, "simulate", "-n", "2", "--dir", dir, "--print", "inventory")
	expect(t, exitOK, []string{"[127.64.0.1]:2022 ssh-ed25519"}, "simulate", "-n", "2", "--dir", dir, "--print", "known-hosts")
	expect(t, exitOK, []string{"Host sim-1\n", "IdentityFile"}, "simulate", "-n", "2", "--dir", dir, "--print", "ssh-config")
	expect(t, exitOK, []string{"host: \"127.64.0.2\", port: 2022}"}, "simulate", "-n", "2", "--dir", dir, "--print", "fleet")
	bad := filepath.Join(dir, "bad.txt")
	check(t, os.WriteFile(bad, []byte("at +1m nobody: reboot\n"), 0o600))
	for want, args := range map[string]string{
		"no devices":            "",
		"loopback":              "-n 1 --listen 192.0.2.1:22",
		"there is inventory":    "-n 1 --print everything",
		"only while":            "-n 1 --print inventory --listen 127.0.0.1:0",
		"--minute":              "-n 1 --minute 1ns",
		"--backfill":            "-n 1 --backfill yesterday",
		"there is no key":       "--group=x|colour=red",
		"1 to 10000":            "-n 10001",
		"no device has such":    "-n 1 --scenario " + bad,
		"was made with":         "-n 1 --minute 1s --dir " + dir,
		"read scenario":         "-n 1 --scenario " + dir + "/none",
		"unknown command \"x\"": "x",
	} {
		expect(t, exitUsage, []string{want}, append([]string{"simulate"}, splitArgs(args)...)...)
	}
}

// splitArgs splits at spaces; a | stands for a space in a word.
func splitArgs(line string) []string {
	words := strings.Fields(line)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "|", " ")
	}
	return words
}
