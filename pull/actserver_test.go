package pull

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"acctpull/internal/actserver"

	"golang.org/x/crypto/ssh"
)

// ownServer serves the directory of a rig with the server of this project.
func ownServer(t testing.TB, r *rig, change func(*actserver.Options)) {
	t.Helper()
	key := edKey(t)
	o := actserver.Options{Root: r.act, HostKeys: []ssh.Signer{key},
		Password: actserver.Passwords(map[string]string{testUser: testPassword})}
	if change != nil {
		change(&o)
	}
	s, err := actserver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	r.server.stop()
	r.server.keys, r.server.address = []ssh.Signer{key}, l.Addr().String()
	r.server.accepting = true
	r.setTarget()
	r.target.Path = actserver.DefaultVirtualPath
}

// Our server and our client, in every combination of what they can.
func TestOwnServer(t *testing.T) {
	old := ssh.InsecureAlgorithms()
	for what, c := range map[string]struct {
		change    func(*actserver.Options)
		transport Transport
		path      string
		legacy    bool
		kind      Transport
		want      string
	}{
		"sftp":                 {transport: Auto, kind: SFTP},
		"scp":                  {transport: SCP, kind: SCP},
		"scp, path of the CLI": {transport: SCP, path: `cf1:\act`, kind: SCP},
		"sftp, short path":     {transport: SFTP, path: "/act", kind: SFTP},
		"no sftp":              {change: func(o *actserver.Options) { o.NoSFTP = true }, transport: Auto, kind: SCP},
		"no scp":               {change: func(o *actserver.Options) { o.NoSCP = true }, transport: SCP, want: "no way to fetch files"},
		"interactive":          {change: func(o *actserver.Options) { o.KeyboardInteractive = true }, transport: Auto, kind: SFTP},
		"old": {change: func(o *actserver.Options) {
			o.Algorithms = &ssh.Algorithms{KeyExchanges: old.KeyExchanges[:1], Ciphers: []string{ssh.InsecureCipherAES128CBC}, MACs: []string{ssh.HMACSHA1}, HostKeys: []string{ssh.KeyAlgoED25519}}
		}, transport: Auto, legacy: true, kind: SFTP},
		"other directory": {transport: Auto, path: "/etc", want: "no such directory"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			ownServer(t, r, c.change)
			if c.path != "" {
				r.target.Path = c.path
			}
			if c.legacy {
				r.target.Legacy = LegacyAlgorithms()
			}
			if res, err := r.pull(c.transport); c.want == "" && (err != nil || res.Listed != 0) {
				t.Fatalf("empty: %s %v", brief(res), err)
			}
			for i := range 100 {
				r.put(actName(i), strings.Repeat(fmt.Sprintln(i), i*30), int64(i+1))
			}
			r.put("other", "", 1)
			res, err := r.pull(c.transport)
			if c.want != "" {
				oneLineError(t, err)
				if !strings.Contains(err.Error(), c.want) {
					t.Fatal(err)
				}
				return
			}
			if err != nil || res.Transport != c.kind || res.Count(Stored) != 100 || res.Ignored > 1 {
				t.Fatalf("%s %v", brief(res), err)
			}
			r.put(actName(100), "new\n", 5)
			if res, err = r.pull(c.transport); err != nil || !slices.Equal(outcomes(res), []string{actName(100) + " stored"}) || res.Known != 100 {
				t.Fatalf("%s %v", brief(res), err)
			}
		})
	}
}
