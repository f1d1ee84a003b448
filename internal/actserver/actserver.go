// Package actserver is a read-only SSH server that offers one directory of
// finished accounting files, act/, by SCP and by SFTP.
//
// It understands "scp -f" with one file or one pattern, and the reading half
// of SFTP. There is no shell of the machine, no other command, no forwarding, no
// agent, no write verb and no SFTP extension; a command line that imitates the
// model device's can be added, see CLI. Only regular files directly
// inside the served directory are visible: symbolic links, directories, FIFOs,
// devices, names with control characters, names that start with a dot, and
// files with a second hard link are not.
//
// The limits on clients that have not logged in, on connections, sessions,
// handles and idle time are those of Limits; every number has a default.
package actserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// DefaultVirtualPath is the path under which act/ appears to clients when
// Options name no other: compact flash 1 of the model device.
const DefaultVirtualPath = "cf1:/act"

// collectName is the name of the directory of unfinished files beside act/.
const collectName = "act-collect"

// Options describe one server. Root, HostKeys and one way to log in are
// required; every other zero value has the meaning written beside it.
type Options struct {
	// Root is the directory whose files are served.
	Root string
	// Collect is the directory of files that are still being written, served
	// as "act-collect" beside act. Empty: invisible.
	Collect string
	// VirtualPath is the path clients see for Root. A first component that
	// ends in a colon is a volume, and clients may leave it out: with
	// "cf1:/act" the paths cf1:/act, cf1:\act, /act and act are the same
	// directory. Empty: DefaultVirtualPath.
	VirtualPath string

	// HostKeys identify the server; one per key type.
	HostKeys []ssh.Signer
	// Authorized says whether a user may log in with a public key. It is asked
	// for keys a client merely offers, so it must not remember anything. Nil:
	// public keys are not accepted.
	Authorized func(user string, key ssh.PublicKey) bool
	// Password says whether a user may log in with a password; see Passwords
	// for one that takes the same time for known and unknown users. Nil:
	// passwords are not accepted.
	Password func(user string, password []byte) bool
	// KeyboardInteractive offers Password by the keyboard-interactive method
	// too, as one prompt without echo.
	KeyboardInteractive bool
	// Algorithms replaces the offered algorithms, which are otherwise
	// ssh.SupportedAlgorithms. It exists to imitate old devices.
	Algorithms *ssh.Algorithms

	// NoSFTP refuses the sftp subsystem, NoSCP refuses scp, as devices do that
	// know only one of them.
	NoSFTP, NoSCP bool
	// HardLinks serves files that have more than one name. The default hides
	// them, because a second name can be a way into the directory for a file
	// that was never meant to be there.
	HardLinks bool
	// Length says how many bytes of a file are listed and served, out of size.
	// It exists to imitate a device with truncated files. Nil: all.
	Length func(name string, size int64) int64
	// Alter may change bytes of a file of that size, read at an offset, in
	// place, before they are sent. It exists to imitate a device whose flash
	// gives back other bytes than were written. Nil: it does not.
	Alter func(size int64, p []byte, off int64)
	// Prepare is called before a directory is listed, and (listing is false)
	// before a file is opened or described. It exists to imitate a device
	// whose files come and go; its error refuses the request. Nil: nothing.
	Prepare func(listing bool) error

	// CLI answers shell and exec requests. It exists to imitate a device; nil:
	// they are refused.
	CLI *CLI

	Limits Limits
	Hooks  Hooks
}

// Server serves act/. Its counts of connections and its penalties span all
// listeners it is given.
type Server struct {
	o      Options
	limits Limits
	tree   *tree
	config ssh.ServerConfig
	gate   *gate
}

// New checks the options, all at once, and returns a server that does nothing
// until Serve. It opens no file.
func New(o Options) (*Server, error) {
	var errs []error
	if o.Root == "" {
		errs = append(errs, errors.New("no directory to serve"))
	}
	if len(o.HostKeys) == 0 {
		errs = append(errs, errors.New("no host key"))
	}
	if o.Authorized == nil && o.Password == nil {
		errs = append(errs, errors.New("no way to log in: neither keys nor passwords"))
	}
	if o.KeyboardInteractive && o.Password == nil {
		errs = append(errs, errors.New("keyboard-interactive needs a password check"))
	}
	if o.NoSCP && o.NoSFTP {
		errs = append(errs, errors.New("neither scp nor sftp is offered"))
	}
	limits, err := o.Limits.complete()
	errs = append(errs, err)
	tree, err := newTree(o)
	errs = append(errs, err)
	algorithms := ssh.SupportedAlgorithms()
	if o.Algorithms != nil {
		algorithms = *o.Algorithms
	}
	config, err := newConfig(o, limits, algorithms)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, &Error{Op: "configure server", Err: err}
	}
	return &Server{o: o, limits: limits, tree: tree, config: config, gate: newGate(limits)}, nil
}

// newConfig builds the part of the SSH configuration that all connections
// share.
func newConfig(o Options, limits Limits, a ssh.Algorithms) (ssh.ServerConfig, error) {
	config := ssh.ServerConfig{
		Config: ssh.Config{
			KeyExchanges:   a.KeyExchanges,
			Ciphers:        a.Ciphers,
			MACs:           a.MACs,
			RekeyThreshold: rekeyBytes,
		},
		PublicKeyAuthAlgorithms: a.PublicKeyAuths,
		MaxAuthTries:            limits.AuthTries,
		ServerVersion:           "SSH-2.0-acctpull",
	}
	var errs []error
	types := make(map[string]bool)
	for _, key := range o.HostKeys {
		kind := key.PublicKey().Type()
		restricted, err := restrictSigner(key, a.HostKeys)
		if err == nil && types[kind] {
			err = fmt.Errorf("two host keys of type %s", kind)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		types[kind] = true
		config.AddHostKey(restricted)
	}
	return config, errors.Join(errs...)
}

// restrictSigner lets a host key sign only with the named algorithms, so that
// an RSA key does not offer SHA-1 unasked.
func restrictSigner(key ssh.Signer, algorithms []string) (ssh.Signer, error) {
	signer, ok := key.(ssh.AlgorithmSigner)
	if !ok {
		if slices.Contains(algorithms, key.PublicKey().Type()) {
			return key, nil
		}
		return nil, fmt.Errorf("host key of type %s: the type is not among the offered algorithms", key.PublicKey().Type())
	}
	var usable []string
	for _, algorithm := range algorithms {
		if _, err := ssh.NewSignerWithAlgorithms(signer, []string{algorithm}); err == nil {
			usable = append(usable, algorithm)
		}
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("host key of type %s: it fits none of the offered algorithms %s",
			key.PublicKey().Type(), strings.Join(algorithms, ", "))
	}
	return ssh.NewSignerWithAlgorithms(signer, usable)
}

// Serve accepts connections from ln until ctx ends, then closes ln and every
// connection and returns nil once all of them are gone. It returns an error
// when the served directory cannot be opened or the listener fails; it waits
// for the connections in that case too. Serve closes ln in every case.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	closeOnce := sync.OnceValue(ln.Close)
	stop := context.AfterFunc(ctx, func() { _ = closeOnce() }) // the result is read below
	defer stop()

	var connections sync.WaitGroup
	err := s.tree.check()
	if err == nil {
		err = s.accept(ctx, ln, &connections)
	}
	cancel()
	connections.Wait()
	closeErr := closeOnce()
	if errors.Is(closeErr, net.ErrClosed) {
		closeErr = nil // whoever made the listener closed it first
	}
	if err = errors.Join(err, closeErr); err != nil {
		return &Error{Op: "serve", Path: s.tree.served[0].path, Err: err}
	}
	return nil
}

// accept is the loop of Serve. It returns nil when ctx ended.
func (s *Server) accept(ctx context.Context, ln net.Listener, connections *sync.WaitGroup) error {
	retried := func(err error) { s.refused(Refusal{What: "connection", Err: err}) }
	return Accept(ctx, ln, retried, func(nc net.Conn) {
		if t := s.admit(nc); t != nil {
			connections.Go(func() { s.serveConn(ctx, nc, t) })
		}
	})
}

// admit asks the gate about a connection, and closes it if it is refused.
func (s *Server) admit(nc net.Conn) *ticket {
	t, err := s.gate.enter(nc.RemoteAddr(), time.Now())
	if err != nil {
		err = errors.Join(err, nc.Close())
		s.refused(Refusal{Login: Login{Remote: nc.RemoteAddr()}, What: "connection", Err: err})
		return nil
	}
	return t
}

// ServeConn serves one connection, made by whatever listener, until it ends or
// ctx does. It closes the connection in every case.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) {
	if t := s.admit(nc); t != nil {
		s.serveConn(ctx, nc, t)
	}
}

// Accept takes connections from ln until ctx ends, and then returns nil, or
// until the listener is broken. An error that passes (out of descriptors, a
// peer that gave up) is handed to retried and waited out: others may finish and
// make room. Whoever calls it closes ln when ctx ends.
func Accept(ctx context.Context, ln net.Listener, retried func(error), take func(net.Conn)) error {
	const firstPause, longestPause = 5 * time.Millisecond, time.Second
	pause := firstPause
	for {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				abandon(nc)
			}
			return nil
		case err == nil:
			pause = firstPause
			take(nc)
		case passing(err):
			retried(err)
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			pause = min(2*pause, longestPause)
		default:
			return err
		}
	}
}

// passing says that an error of Accept does not mean the listener is broken.
func passing(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
