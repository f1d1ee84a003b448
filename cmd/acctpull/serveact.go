package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"acctpull/internal/actserver"
	"acctpull/internal/durable"
)

// serveFlags say how a directory of accounting files is offered.
type serveFlags struct {
	listen, authorized, hostKey, user, path string
}

func (f *serveFlags) register(c *cobra.Command, listen string) {
	c.Flags().StringVar(&f.listen, "listen", listen, "`address` to listen on, as host:port")
	c.Flags().StringVar(&f.authorized, "authorized-keys", "", "`file` of public keys that may log in (one per line)")
	c.Flags().StringVar(&f.hostKey, "host-key", "", "private host key `file`; made if it does not exist (default: ssh_host_ed25519_key beside the directory)")
	c.Flags().StringVar(&f.user, "user", "", "`name` that may log in (default: the local user)")
	c.Flags().StringVar(&f.path, "path", actserver.DefaultVirtualPath, "`path` under which clients see the directory")
}

func (a *app) serveActCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve-act DIR",
		Short: "Offer a directory of closed accounting files by SCP and SFTP, read-only",
		Long: `serve-act is an SSH server that can do one thing: give the accounting files in DIR
to clients that log in with a known key. There is no shell, nothing can be
written, and nothing outside DIR can be read.`,
		Example: `  acctpull serve-act /var/lib/acctpull/act --listen :2022 --authorized-keys ~/.ssh/id_ed25519.pub
  scp -P 2022 'router:cf1:/act/*' .`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			server, ln, err := a.actServer(c.Context(), f, args[0])
			if err != nil {
				return err
			}
			return server.Serve(c.Context(), ln)
		},
	}
	f.register(c, "127.0.0.1:2022")
	return c
}

// actServer builds the server and its listener, and says where it listens.
func (a *app) actServer(ctx context.Context, f serveFlags, dir string) (*actserver.Server, net.Listener, error) {
	if f.authorized == "" {
		return nil, nil, usagef("give the public keys that may log in: --authorized-keys FILE", "no public keys: nobody could log in")
	}
	if f.user == "" {
		me, err := user.Current()
		if err != nil {
			return nil, nil, fmt.Errorf("find the local user: %w", err)
		}
		f.user = me.Username
	}
	keys, err := readAuthorizedKeys(f.authorized)
	if err != nil {
		return nil, nil, err
	}
	if f.hostKey == "" {
		f.hostKey = defaultHostKey(dir)
	}
	signer, err := hostSigner(f.hostKey)
	if err != nil {
		return nil, nil, err
	}
	server, err := actserver.New(actserver.Options{
		Root: dir, VirtualPath: f.path, HostKeys: []ssh.Signer{signer},
		Authorized: actserver.AuthorizedKeys(map[string][]ssh.PublicKey{f.user: keys}),
		Hooks:      a.serverHooks(),
	})
	if err != nil {
		return nil, nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintf(a.stderr, "acctpull: serving %s as %s on %s, user %s, host key %s\n", dir, f.path, ln.Addr(), f.user, ssh.FingerprintSHA256(signer.PublicKey()))
	return server, ln, nil
}

// defaultHostKey is the host key of the server of a directory: it lies beside it.
func defaultHostKey(dir string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(dir)), "ssh_host_ed25519_key")
}

func readAuthorizedKeys(path string) ([]ssh.PublicKey, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read authorized keys: %w", err)
	}
	var keys []ssh.PublicKey
	for len(rest) > 0 {
		key, _, _, next, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break // what follows is blank or a comment: ParseAuthorizedKey skips lines it cannot read
		}
		keys, rest = append(keys, key), next
	}
	if len(keys) == 0 {
		return nil, usagef("the file holds one public key per line, as in ~/.ssh/authorized_keys", "%s: no public key in it", path)
	}
	return keys, nil
}

// hostSigner reads the private host key, or makes one (ed25519, mode 0600).
func hostSigner(path string) (ssh.Signer, error) {
	pem, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		pair, err := actserver.NewKey("acctpull")
		if err != nil {
			return nil, err
		}
		if err := durable.ReplaceFile(path, pair.PEM, durable.StateMode); err != nil {
			return nil, fmt.Errorf("write host key: %w", err)
		}
		return pair.Signer, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	if st, err := os.Stat(path); err != nil {
		return nil, err
	} else if st.Mode().Perm()&0o077 != 0 {
		return nil, usagef("chmod 600 "+path, "host key %s can be read by others (mode %04o)", path, st.Mode().Perm())
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("host key %s: %w", path, err)
	}
	return signer, nil
}
