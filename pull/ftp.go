package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/textproto"
	"strconv"
	"sync"
	"time"

	"github.com/jlaffaye/ftp"
)

// ftpPort is the port of FTP.
const ftpPort = 21

// ftpReply bounds what a server may answer to one command, in bytes.
const ftpReply = 64 << 10

// ftpTransport fetches over FTP (RFC 959, RFC 2428, RFC 3659), for devices with
// nothing else: the password and the files go over the line in clear, and nobody
// proves to be the device. It is passive, and connects for the data to the
// address of the control connection only, whatever the server says.
type ftpTransport struct {
	c       *conn
	peer    string // host of every data connection
	dir     string
	control *ftpControl
	client  *ftp.ServerConn
	inDir   bool

	mu   sync.Mutex
	data *ftpData // the newest data connection
}

// connectFTP connects and logs in.
func connectFTP(ctx context.Context, t Target, getenv func(string) string, limits Limits) (*conn, error) {
	if !t.Password.set() {
		return nil, &AuthError{User: t.User, Offered: []string{"password"}}
	}
	password, err := t.Password.read(getenv)
	if err != nil {
		return nil, fmt.Errorf("read password: %w", err)
	}
	r, err := openRoute(ctx, t.Jump, getenv, limits)
	if err != nil {
		return nil, err
	}
	tcp, err := r.dial(ctx, t.dialAddress(), limits.Connect)
	if err != nil {
		r.close()
		return nil, err
	}
	c := &conn{raw: &heardConn{Conn: tcp}, route: r, limits: limits, watch: newWatch(limits)}
	c.details = Connected{Device: t.device(), Address: tcp.RemoteAddr().String(), Server: "FTP", Clear: true}
	f := &ftpTransport{c: c, dir: t.Path, control: &ftpControl{heardConn: c.raw, c: c}}
	f.peer, _, _ = net.SplitHostPort(c.details.Address)
	if len(t.Jump) > 0 {
		f.peer = or(t.Address, t.Host)
		c.details.Address, c.details.Jump = t.dialAddress(), JumpWords(t.Jump)
	}
	c.ftp = f
	c.start(ctx)
	if err := c.within(limits.Handshake, "FTP login", func() error { return f.logIn(ctx, t.User, password) }); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// logIn talks up to the binary mode.
func (f *ftpTransport) logIn(ctx context.Context, user, password string) error {
	first := true
	var err error
	f.client, err = ftp.Dial(f.peer, ftp.DialWithDialFunc(func(_, address string) (net.Conn, error) {
		if first {
			first = false
			return f.control, nil
		}
		return f.dialData(ctx, address)
	}))
	if err != nil {
		return f.explain(err)
	}
	err = f.client.Login(user, password)
	var said *textproto.Error
	if errors.As(err, &said) && said.Code/100 == 5 {
		return &AuthError{User: user, Tried: []string{"password"}, Notes: []string{"the device said " + quote(said.Msg)}}
	}
	return f.explain(err)
}

// dialData connects for data: of the address that the server gave, only the port
// counts.
func (f *ftpTransport) dialData(ctx context.Context, address string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := parsePort(text)
	if err != nil {
		return nil, protocolError("data connection to %v", err)
	}
	tcp, err := f.c.route.dial(ctx, net.JoinHostPort(f.peer, strconv.Itoa(port)), f.c.limits.Connect)
	if err != nil {
		return nil, err
	}
	d := &ftpData{Conn: tcp, c: f.c, left: math.MaxInt64}
	f.mu.Lock()
	f.data = d
	f.mu.Unlock()
	return d, nil
}

// cut closes what reads and writes could hang on.
func (f *ftpTransport) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.data != nil {
		_ = f.data.Conn.Close()
	}
	_ = f.c.raw.Close()
}

// explain finds the error that a person can act on.
func (f *ftpTransport) explain(err error) error {
	if err == nil {
		return nil
	}
	if cause := f.c.ended(); cause != nil {
		return cause
	}
	var said *textproto.Error
	if errors.As(err, &said) || errors.Is(err, ErrProtocol) || errors.Is(err, ErrTimeout) || isNetwork(err) {
		return fromPeer(err)
	}
	return fmt.Errorf("%w: %w", ErrCut, fromPeer(err))
}

func (f *ftpTransport) kind() Transport { return FTP }

// list enters the directory and lists it.
func (f *ftpTransport) list(ctx context.Context) (l listing, err error) {
	if ctx.Err() != nil {
		return listing{}, context.Cause(ctx)
	}
	defer f.recovered(&err)
	if !f.inDir {
		err := f.client.ChangeDir(f.dir)
		var said *textproto.Error
		if errors.As(err, &said) && said.Code/100 == 5 {
			return listing{}, errNoDirectory
		}
		if err != nil {
			return listing{}, f.broken(err)
		}
		f.inDir = true
	}
	f.control.listing = true
	defer func() { f.control.listing = false }()
	entries, err := f.client.List("")
	if err != nil {
		return listing{}, f.broken(err)
	}
	f.mu.Lock()
	lines := f.data.lines
	f.mu.Unlock()
	if len(entries) > f.c.limits.ListFiles {
		return listing{}, f.broken(protocolError("the listing has more than %d files", f.c.limits.ListFiles))
	}
	seen := map[string]bool{}
	for _, x := range entries {
		var mtime int64
		if f.client.IsTimePreciseInList() {
			mtime = x.Time.Unix() // a LIST has minutes of a zone that nobody tells
		}
		e, ok := entry{}, false
		if x.Type == ftp.EntryTypeFile && x.Size <= math.MaxInt64 {
			e, ok = accept(x.Name, int64(x.Size), mtime)
		}
		if !ok || seen[e.name] {
			l.ignored++
			continue
		}
		seen[e.name] = true
		l.files = append(l.files, e)
	}
	// A line that nobody understood may be a file.
	l.complete = lines <= len(entries)
	l.ignored += max(lines-len(entries), 0)
	return l, nil
}

// recovered turns a panic of the parser of listings, which reads what a device
// sends, into an error.
func (f *ftpTransport) recovered(err *error) {
	if p := recover(); p != nil {
		*err = f.broken(protocolError("the listing cannot be read: %s", quote(fmt.Sprint(p))))
	}
}

// broken ends the connection: after an error nobody knows what comes next.
func (f *ftpTransport) broken(err error) error {
	f.c.fail(f.explain(err))
	return f.c.ended()
}

func (f *ftpTransport) confirm(ctx context.Context, _ []entry) (map[string]entry, bool, error) {
	return confirmByListing(ctx, f)
}

// fetch gets the files, one after the other: FTP knows no other way.
func (f *ftpTransport) fetch(ctx context.Context, files []entry, r *receiver) error {
	for _, e := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f.fetchOne(e, r); err != nil {
			return err
		}
	}
	return nil
}

// fetchOne returns an error only if nothing more can be fetched.
func (f *ftpTransport) fetchOne(e entry, r *receiver) error {
	f.c.watch.restart()
	stop := f.c.fileLimit(e.name)
	defer stop()
	content, err := f.client.Retr(e.name)
	var said *textproto.Error
	if errors.As(err, &said) {
		r.failed(e, fmt.Errorf("open on the device: %w", fromPeer(err)))
		return nil
	}
	if err != nil {
		return f.broken(err)
	}
	d, err := r.begin(e)
	if err != nil {
		return err
	}
	_, err = io.Copy(d, content)
	// The end of the data is the end of the file only if the server says so.
	end := content.Close()
	var local *localError
	switch {
	case f.c.ended() != nil:
		err = f.c.ended()
	case err != nil && !errors.Is(err, errSize) && !errors.As(err, &local) && f.data.err == nil:
		err = &localError{err} // the data came, and could not be written
	case err == nil && end != nil:
		err = fmt.Errorf("%w: %w", ErrCut, fromPeer(end))
	}
	if err != nil {
		d.abandon(err)
		if errors.As(err, &local) || f.c.ended() != nil {
			return err
		}
		if end != nil && !errors.As(end, &said) {
			return f.broken(end)
		}
		return nil
	}
	stop() // what follows is our own disk
	return d.finish()
}

// ftpControl is the control connection: a server may say so much after a command
// and no more.
type ftpControl struct {
	*heardConn
	c       *conn
	said    int
	listing bool // the next data connection carries a listing
}

func (f *ftpControl) Read(p []byte) (n int, err error) {
	err = f.c.wait(func() (err error) {
		n, err = f.heardConn.Read(p)
		f.c.watch.got(n, time.Now())
		return err
	})
	if f.said += n; f.said > ftpReply {
		f.c.fail(protocolError("the answer to one FTP command has more than %d bytes", ftpReply))
		return 0, f.c.ended()
	}
	return n, err
}

func (f *ftpControl) Write(p []byte) (int, error) {
	f.said = 0
	if f.listing && (bytes.HasPrefix(p, []byte("LIST")) || bytes.HasPrefix(p, []byte("MLSD"))) {
		f.c.ftp.bound()
	}
	return f.heardConn.Write(p)
}

// bound limits the data connection that is open now to a listing.
func (f *ftpTransport) bound() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.data != nil {
		f.data.left = f.c.limits.ListBytes
	}
}

// ftpData is one data connection.
type ftpData struct {
	net.Conn
	c     *conn
	left  int64
	lines int
	err   error // of reading
}

func (d *ftpData) Read(p []byte) (n int, err error) {
	err = d.c.wait(func() (err error) {
		n, err = d.Conn.Read(p)
		d.c.watch.got(n, time.Now())
		return err
	})
	d.lines += bytes.Count(p[:n], []byte("\n"))
	if d.left -= int64(n); d.left < 0 {
		d.c.fail(protocolError("the listing does not end: more than %d bytes", d.c.limits.ListBytes))
		return 0, d.c.ended()
	}
	if err != nil && err != io.EOF {
		d.err = err
	}
	return n, err
}
