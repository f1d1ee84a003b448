package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"acctpull/internal/need"
)

// TestNamespaceCountersReachParquet makes known traffic between two network
// namespaces, collects, exports, and compares what DuckDB reads with what
// `ip -s -j link` says the kernel counted.
func TestNamespaceCountersReachParquet(t *testing.T) {
	need.Root(t)
	ip := need.Tool(t, "ip")
	must := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command(ip, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return out
	}
	here, there := fmt.Sprintf("acctpull-a%d", os.Getpid()), fmt.Sprintf("acctpull-b%d", os.Getpid())
	for _, ns := range []string{here, there} {
		must("netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command(ip, "netns", "del", ns).Run() })
	}
	must("link", "add", "veth0", "netns", here, "type", "veth", "peer", "name", "veth1", "netns", there)
	must("-n", here, "addr", "add", "192.0.2.1/24", "dev", "veth0")
	must("-n", there, "addr", "add", "192.0.2.2/24", "dev", "veth1")
	// Without IPv6 the kernel sends nothing of its own after the traffic.
	for ns, link := range map[string]string{here: "veth0", there: "veth1"} {
		_ = exec.Command(ip, "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf."+link+".disable_ipv6=1").Run()
		must("-n", ns, "link", "set", link, "up")
	}
	// Each side knows the other's address, so no datagram waits for an answer.
	knows := func(ns, link, address, peerNS, peerLink string) {
		mac := linkOf(t, must("-n", peerNS, "-j", "link", "show", peerLink)).Address
		must("-n", ns, "neigh", "replace", address, "lladdr", mac, "nud", "permanent", "dev", link)
	}
	knows(here, "veth0", "192.0.2.2", there, "veth1")
	knows(there, "veth1", "192.0.2.1", here, "veth0")
	for state := ""; state != "UP"; {
		state = linkOf(t, must("-n", there, "-j", "link", "show", "veth1")).OperState
	}
	sendUDP(t, there, "192.0.2.1:9", 321, 700)
	sendUDP(t, here, "192.0.2.2:9", 123, 200)

	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	check(t, os.WriteFile(config, fmt.Appendf(nil, `
source: {kind: linux, namespace: %s}
file-ids:
  - {id: 11, location: %s/flash}
accounting-policies:
  - {id: 10, record: complete-service-ingress-egress, to: file 11, default: true}
objects:
  saps:
    - {sap: "veth0:0", service: 1, link: veth0}
`, here, dir), 0o640))
	if out, errs, code := command(t, "collect", "-c", config, "--once"); code != 0 {
		t.Fatalf("collect: exit code %d\n%s%s", code, out, errs)
	}
	kernel := linkOf(t, must("-n", here, "-s", "-j", "link", "show", "veth0")).Stats64
	dataset := filepath.Join(dir, "dataset")
	if out, errs, code := command(t, "export", filepath.Join(dir, "flash"), "--out", dataset); code != 0 {
		t.Fatalf("export: exit code %d\n%s%s", code, out, errs)
	}
	// One row for each direction; what Linux cannot know is NULL, not 0.
	const columns = "octets_offered_to_the_sap_ingress, packets_offered_to_the_sap_ingress, octets_forwarded_at_the_sap_egress, packets_forwarded_at_the_sap_egress, in_profile_octets_forwarded"
	got := fmt.Sprint(duck(t, fmt.Sprintf("select %s from read_parquet('%s/complete-service-ingress-egress/v1/**/*.parquet', hive_partitioning=true) order by sub_record desc", columns, dataset)))
	want := fmt.Sprintf("[[%d %d NULL NULL NULL] [NULL NULL %d %d NULL]]", kernel.RX.Bytes, kernel.RX.Packets, kernel.TX.Bytes, kernel.TX.Packets)
	if got != want {
		t.Errorf("Parquet has %s, the kernel counted %s", got, want)
	}
	if kernel.RX.Packets < 321 || kernel.TX.Packets < 123 {
		t.Errorf("the kernel counted %+v: the traffic did not arrive", kernel)
	}
	t.Logf("received %d octets in %d packets, sent %d octets in %d packets: equal in Parquet", kernel.RX.Bytes, kernel.RX.Packets, kernel.TX.Bytes, kernel.TX.Packets)
}

type linkCounters struct {
	RX, TX struct{ Bytes, Packets uint64 }
}

type link struct {
	Address   string       `json:"address"`
	OperState string       `json:"operstate"`
	Stats64   linkCounters `json:"stats64"`
}

// linkOf reads what ip(8) prints of one link.
func linkOf(t *testing.T, js []byte) link {
	t.Helper()
	var links []link
	if err := json.Unmarshal(js, &links); err != nil || len(links) != 1 {
		t.Fatalf("ip -j: %v: %s", err, js)
	}
	return links[0]
}

// sendUDP sends n datagrams of the size from inside a network namespace.
func sendUDP(t *testing.T, ns, to string, n, size int) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its namespace with it
		ended <- func() error {
			h, err := netns.GetFromName(ns)
			if err != nil {
				return err
			}
			defer h.Close()
			if err := netns.Set(h); err != nil {
				return err
			}
			c, err := net.Dial("udp", to)
			if err != nil {
				return err
			}
			defer c.Close()
			for range n {
				_, _ = c.Write(make([]byte, size)) // a port unreachable message makes the next write fail; the datagram is counted all the same
			}
			return nil
		}()
	}()
	check(t, <-ended)
}
