package pull

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// scpTransport fetches over SCP from devices without SFTP. SCP has no listing.
// It is made from a session over dir/* in which every file is refused, so that
// only the headers come. Then the files that are wanted are asked for:
//
//  1. by name, many in one session; or if the device takes one path only,
//  2. with the glob again, refusing what is not wanted, in the order of the
//     listing; and what is still missing,
//  3. by name, one by one.
//
// A device that ends the session after a refused file is recognised: its
// listing is made by reading all files to nowhere, and 2 is left out. So is one
// that ends the connection, on the next connection.
type scpTransport struct {
	c   *conn
	dir string

	noTimes  bool     // the device does not understand -p
	refusing answered // whether a refused file is followed by the next
	many     answered // whether several paths are taken
	order    []string // the names of the last listing, ours and others
}

// answered is what is known about an ability of the device.
type answered int

const (
	unasked answered = iota
	yes
	no
)

func newSCP(c *conn, dir string) *scpTransport { return &scpTransport{c: c, dir: dir} }

func (t *scpTransport) kind() Transport { return SCP }

// Bounds of one command line with several paths. It must fit into one SSH packet,
// for which every implementation takes 32768 bytes (RFC 4253 section 6.1).
const (
	scpManyFiles = 512
	scpManyBytes = 24 << 10
)

// scpRun is how one session ended.
type scpRun struct {
	files    int
	warnings []string
	status   int    // exit status, -1 if the device told none
	stderr   string // escaped
}

// complaint is what the device said, for errors.
func (r scpRun) complaint() string {
	said := strings.Join(r.warnings, "; ")
	if said == "" {
		said = r.stderr
	}
	if said == "" && r.status > 0 {
		said = fmt.Sprintf("exit status %d", r.status)
	}
	if said == "" {
		said = "no file and no reason"
	}
	return cut(said, 2*peerTextLimit)
}

// list makes a listing; see scpTransport.
func (t *scpTransport) list(ctx context.Context) (listing, error) {
	glob, err := globWord(t.dir)
	if err != nil {
		return listing{}, err
	}
	l, run, err := t.listOnce(ctx, glob, t.refusing != no)
	if err == nil && run.files == 0 && !t.noTimes && run.status != 0 {
		// Nothing came: perhaps because the device does not know -p.
		t.noTimes = true
		var again scpRun
		if l, again, err = t.listOnce(ctx, glob, t.refusing != no); err == nil && again.files == 0 {
			t.noTimes = false
		}
	}
	if errors.Is(err, ErrCut) && t.refusing == unasked && len(t.order) > 0 {
		err = &refusalCut{err}
	}
	if err != nil {
		return listing{}, err
	}
	if run.files == 0 && len(t.order) == 0 && (run.status != 0 || len(run.warnings) > 0) {
		return t.nothing(ctx, run)
	}
	switch {
	case t.refusing == unasked && len(t.order) > 1:
		t.refusing = yes
	case t.refusing == unasked && len(t.order) == 1:
		// One file, or a device that stops at the first refusal.
		if l, _, err = t.listOnce(ctx, glob, false); err != nil {
			return listing{}, err
		}
		if len(t.order) > 1 {
			t.refusing = no
		}
	}
	return l, nil
}

// refusalCut says that the connection ended after a file was refused, perhaps
// for that: on the next connection nothing is refused.
type refusalCut struct{ err error }

func (e *refusalCut) Error() string { return e.err.Error() + ", after a file was refused" }
func (e *refusalCut) Unwrap() error { return e.err }

// listOnce runs one listing session, refusing all files or reading them to
// nowhere.
func (t *scpTransport) listOnce(ctx context.Context, glob string, refuse bool) (listing, scpRun, error) {
	l := listing{}
	t.order = nil
	seen := make(map[string]bool)
	run, err := t.session(ctx, []string{glob}, scpPlan{
		take:     func(int) bool { return !refuse },
		maxFiles: t.c.limits.ListFiles,
		file: func(f scpFile, _ bool) (scpContent, error) {
			t.order = append(t.order, f.name)
			e, ok := accept(f.name, f.size, f.mtime)
			if !ok || seen[f.name] {
				l.ignored++
				return nil, nil
			}
			seen[f.name] = true
			l.files = append(l.files, e)
			return nil, nil
		},
	}, math.MaxInt64)
	l.complete = len(run.warnings) == 0
	return l, run, err
}

// nothing finds out why a listing is empty: an empty directory is one, a missing
// directory is an error. The shell of the device says "no such file" for both;
// asked for the directory itself, it says of one that exists that it is not a
// regular file.
func (t *scpTransport) nothing(ctx context.Context, run scpRun) (listing, error) {
	if run.status == 127 || strings.Contains(run.stderr, "not found") {
		return listing{}, &hinted{fmt.Errorf("%w: SCP: %s", ErrNoTransport, run.complaint()), "the device has no scp program; use --transport sftp, if it has that"}
	}
	word, err := shellWord(t.dir)
	if err != nil {
		return listing{}, err
	}
	probe, err := t.session(ctx, []string{word}, scpPlan{
		take:     func(int) bool { return false },
		maxFiles: 1,
		file:     func(scpFile, bool) (scpContent, error) { return nil, nil },
	}, math.MaxInt64)
	if err != nil {
		return listing{}, err
	}
	if probe.files == 0 && strings.Contains(probe.complaint(), "not a regular file") {
		return listing{complete: true}, nil
	}
	return listing{}, fmt.Errorf("%w: %s", errNoDirectory, run.complaint())
}

// fetch gets files; see scpTransport.
func (t *scpTransport) fetch(ctx context.Context, files []entry, r *receiver) error {
	w := &scpWanted{r: r, files: make(map[string]entry, len(files))}
	for _, e := range files {
		w.files[e.name] = e
	}
	rest := files
	for len(rest) > 1 && t.many != no {
		part, words, err := t.firstPart(rest)
		if err != nil {
			return err
		}
		before := len(w.files)
		if _, err := t.byName(ctx, words, len(part), w); err != nil {
			return err
		}
		if len(w.files) == before {
			t.many = no
			break
		}
		t.many = yes
		rest = rest[len(part):]
	}
	if len(w.files) > 1 && t.many == no && t.refusing == yes {
		if err := t.byGlob(ctx, w); err != nil {
			return err
		}
	}
	for _, e := range files {
		if _, missing := w.files[e.name]; !missing {
			continue
		}
		word, err := shellWord(joinPath(t.dir, e.name))
		if err != nil {
			return err
		}
		run, err := t.byName(ctx, []string{word}, 1, w)
		if err != nil {
			return err
		}
		if _, missing := w.files[e.name]; missing {
			r.failed(e, fmt.Errorf("the device did not send it: %s", run.complaint()))
		}
	}
	return nil
}

// firstPart takes as many files as one command line may name.
func (t *scpTransport) firstPart(files []entry) (part []entry, words []string, err error) {
	length := 0
	for i, e := range files {
		word, err := shellWord(joinPath(t.dir, e.name))
		if err != nil {
			return nil, nil, err
		}
		if length += len(word) + 1; i == scpManyFiles || length > scpManyBytes && i > 0 {
			break
		}
		words = append(words, word)
	}
	return files[:len(words)], words, nil
}

// byName asks for n files by their paths.
func (t *scpTransport) byName(ctx context.Context, words []string, n int, w *scpWanted) (scpRun, error) {
	return t.session(ctx, words, scpPlan{
		take:     func(int) bool { return true },
		maxFiles: n,
		file: func(f scpFile, _ bool) (scpContent, error) {
			if _, asked := w.files[f.name]; !asked {
				return nil, protocolError("the device sends %s, which nobody asked for", quote(f.name))
			}
			return w.begin(t.c, f)
		},
	}, t.c.limits.FileSize)
}

// byGlob asks for everything and takes what is wanted, in the order of the last
// listing. Files that came or went since then shift the order: what is taken
// and not wanted is read to nowhere, and what is wanted and not taken is missing
// afterwards.
func (t *scpTransport) byGlob(ctx context.Context, w *scpWanted) error {
	glob, err := globWord(t.dir)
	if err != nil {
		return err
	}
	want := make([]bool, len(t.order))
	for i, name := range t.order {
		_, want[i] = w.files[name]
	}
	_, err = t.session(ctx, []string{glob}, scpPlan{
		take:     func(k int) bool { return k < len(want) && want[k] },
		maxFiles: t.c.limits.ListFiles,
		file: func(f scpFile, taken bool) (scpContent, error) {
			if _, wanted := w.files[f.name]; !wanted || !taken {
				return nil, nil
			}
			return w.begin(t.c, f)
		},
	}, t.c.limits.FileSize)
	return err
}

// scpWanted is the set of files that did not come yet.
type scpWanted struct {
	r     *receiver
	files map[string]entry
}

// begin starts the file of a header that was checked to be wanted. A file that
// is no longer what was listed is read to nowhere: the listing made afterwards
// shows what it is now.
func (w *scpWanted) begin(c *conn, f scpFile) (scpContent, error) {
	e := w.files[f.name]
	delete(w.files, f.name)
	if now := entry(f); !now.same(e) {
		w.r.failed(e, fmt.Errorf("%w: listed with %d bytes and time %d, sent with %d bytes and time %d", errSize, e.size, e.mtime, now.size, now.mtime))
		return nil, nil
	}
	d, err := w.r.begin(e)
	if err != nil {
		return nil, err
	}
	return &scpDownload{d, c.fileLimit(f.name)}, nil
}

// scpDownload is a download with its time limit.
type scpDownload struct {
	*download
	stop func() bool
}

func (d *scpDownload) finish() error {
	d.stop()
	return d.download.finish()
}

func (d *scpDownload) abandon(err error) {
	d.stop()
	d.download.abandon(err)
}

// session runs one scp command. Its error means that the connection cannot be
// used any longer; a command that brought nothing is in the result.
func (t *scpTransport) session(ctx context.Context, words []string, p scpPlan, maxSize int64) (scpRun, error) {
	if err := ctx.Err(); err != nil {
		return scpRun{}, context.Cause(ctx)
	}
	command := "scp -f "
	if !t.noTimes {
		command += "-p "
	}
	command += strings.Join(words, " ")
	s, err := t.c.open("SCP", func(s *ssh.Session) error { return s.Start(command) })
	if err != nil {
		if cause := t.c.ended(); cause != nil {
			return scpRun{}, cause
		}
		return scpRun{}, &hinted{fmt.Errorf("%w: SCP: %w", ErrNoTransport, fromPeer(err)), "the device runs no commands for this user"}
	}
	look := p.file
	p.file = func(f scpFile, taken bool) (scpContent, error) {
		if taken && f.size > maxSize {
			return nil, protocolError("%s is announced with %d bytes, the limit is %d", quote(f.name), f.size, maxSize)
		}
		return look(f, taken)
	}
	sink := &scpSink{r: bufio.NewReaderSize(&watchedReader{t.c, s}, 64<<10), w: &watchedWriter{t.c, s}}
	err = sink.run(p)
	run := scpRun{files: sink.files, warnings: sink.warnings}
	if err == nil {
		run.status, err = t.finish(s)
	}
	run.stderr = s.errors.String()
	if err == nil {
		return run, nil
	}
	// Whatever comes after an error cannot be told from an attack.
	t.c.fail(sessionError(err))
	return run, t.c.ended()
}

// sessionError tells violations, cuts and local failures from each other.
func sessionError(err error) error {
	var local *localError
	if errors.Is(err, ErrProtocol) || errors.Is(err, ErrCut) || errors.Is(err, ErrTimeout) || errors.As(err, &local) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCut, fromPeer(err))
}

// finish waits for the end of the command after its output ended, and makes
// sure that it was the command that ended and not the connection: only then is
// a listing all there is.
func (t *scpTransport) finish(s *session) (status int, err error) {
	_ = s.in.Close() // the device may have closed it before
	err = t.c.within(t.c.limits.Open, "end of the command", s.Wait)
	_ = s.Close()
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil:
		return 0, nil
	case t.c.ended() != nil:
		return 0, t.c.ended()
	case errors.As(err, &exit) && exit.Signal() == "":
		return exit.ExitStatus(), nil
	case errors.As(err, &exit):
		return 0, fmt.Errorf("%w: the command was ended by signal %s", ErrCut, quote(exit.Signal()))
	case errors.As(err, &missing):
		// Some devices tell no status. If the connection lives, the command
		// ended by itself.
		return -1, t.c.within(t.c.limits.Open, "answer after the command", t.c.alive)
	}
	return 0, err
}

// confirm makes a new listing.
func (t *scpTransport) confirm(ctx context.Context, files []entry) (map[string]entry, bool, error) {
	l, err := t.list(ctx)
	if err != nil {
		return nil, false, err
	}
	found := make(map[string]entry, len(l.files))
	for _, e := range l.files {
		found[e.name] = e
	}
	return found, l.complete, nil
}

// watchedReader and watchedWriter tell the watch when the peer is waited for.
type watchedReader struct {
	c *conn
	s *session
}

func (r *watchedReader) Read(p []byte) (n int, err error) {
	err = r.c.wait(func() error {
		n, err = r.s.out.Read(p)
		r.c.watch.got(n, time.Now())
		return err
	})
	return n, err
}

type watchedWriter struct {
	c *conn
	s *session
}

func (w *watchedWriter) Write(p []byte) (n int, err error) {
	err = w.c.wait(func() error {
		n, err = w.s.in.Write(p)
		return err
	})
	return n, err
}
