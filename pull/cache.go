package pull

import (
	"crypto/sha256"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Cache remembers between visits what reading known_hosts files and private keys
// gave, so that a fleet does not parse ten thousand host keys for every device it
// visits. What it says is what reading would say: known_hosts are read again when
// one of the files is another one or was changed, and private keys are always
// read and only parsed and decrypted once. The decrypted keys stay in memory for
// as long as the Cache does.
//
// It also remembers which devices were left with nothing open, so that a visit
// that finds nothing new writes nothing to the ledger. A Cache belongs to one
// ledger and one Owner.
//
// The zero value is empty and ready. It may be used from several goroutines. A
// nil *Cache remembers nothing.
type Cache struct {
	mu    sync.Mutex
	hosts map[string]*knownHosts // by the names of the files
	keys  map[[sha256.Size]byte]ssh.Signer
	clean map[string]time.Time // by directory of a device
}

// cleanFor is how long the ledger is not asked again for files of a device that
// are in no listing. Only another process can make such files meanwhile.
const cleanFor = time.Hour

// isClean reports whether a visit of this directory asked the ledger for
// everything that was open, not longer than cleanFor before now, and every visit
// since then left nothing open. The next visit is begun with that: it is not
// clean until setClean says so again.
func (c *Cache) isClean(dir string, now time.Time) (since time.Time, clean bool) {
	if c == nil {
		return time.Time{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	since, known := c.clean[dir]
	delete(c.clean, dir)
	return since, known && !now.Before(since) && now.Sub(since) < cleanFor
}

// setClean says that nothing was left open.
func (c *Cache) setClean(dir string, since time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clean == nil {
		c.clean = make(map[string]time.Time)
	}
	c.clean[dir] = since
}

// fileState tells one state of a file from another.
type fileState struct {
	dev, ino, size uint64
	mtime, ctime   unix.Timespec
}

// settleTime is how old a change has to be before the state of a file tells that
// nothing was changed since: the clock of a file system may be coarse.
const settleTime = 2 * time.Second

// fileStates returns the states of files, and whether all were last changed so
// long before now that a later change shows.
func fileStates(files []string, now time.Time) (states []fileState, settled bool, err error) {
	settled = true
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Stat(f, &st); err != nil {
			return nil, false, &os.PathError{Op: "stat", Path: f, Err: err}
		}
		s := fileState{dev: uint64(st.Dev), ino: st.Ino, size: uint64(st.Size), mtime: st.Mtim, ctime: st.Ctim}
		states = append(states, s)
		for _, t := range []unix.Timespec{s.mtime, s.ctime} {
			if now.Sub(time.Unix(t.Unix())) < settleTime { // or in the future
				settled = false
			}
		}
	}
	return states, settled, nil
}

// knownHosts is what known_hosts files say.
type knownHosts struct {
	db     *knownhosts.HostKeyDB
	states []fileState

	mu    sync.Mutex
	hosts map[string]*knownHost
}

// knownHost is what they say about one address.
type knownHost struct {
	known    []KnownKey
	keys     []knownhosts.PublicKey
	accepted map[string]bool // plain keys that were accepted, by their wire form
}

// knownHosts reads files that exist, or returns what reading them gave.
func (c *Cache) knownHosts(files []string, now time.Time) (*knownHosts, error) {
	if c == nil {
		return readKnownHosts(files)
	}
	states, settled, err := fileStates(files, now)
	if err != nil {
		return nil, err
	}
	name := strings.Join(files, "\x00")
	c.mu.Lock()
	old := c.hosts[name]
	c.mu.Unlock()
	if settled && old != nil && slices.Equal(old.states, states) {
		return old, nil
	}
	fresh, err := readKnownHosts(files)
	if err != nil {
		return nil, err
	}
	after, _, err := fileStates(files, now)
	if err != nil {
		return nil, err
	}
	if settled && slices.Equal(states, after) {
		fresh.states = states
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.hosts == nil {
			c.hosts = make(map[string]*knownHosts)
		}
		c.hosts[name] = fresh
	}
	return fresh, nil
}

func readKnownHosts(files []string) (*knownHosts, error) {
	db, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, err
	}
	return &knownHosts{db: db, hosts: make(map[string]*knownHost)}, nil
}

// host looks an address up.
func (k *knownHosts) host(address string) (*knownHost, error) {
	k.mu.Lock()
	h := k.hosts[address]
	k.mu.Unlock()
	if h != nil {
		return h, nil
	}
	known, err := lookUp(k.db, address)
	if err != nil {
		return nil, err
	}
	h = &knownHost{known: known, keys: k.db.HostKeys(address), accepted: make(map[string]bool)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hosts[address] = h
	return h, nil
}

// accepts checks a key as the files say. The answer for a plain key that is
// accepted depends on nothing but the files, and is remembered; that for a
// certificate also depends on the time.
func (k *knownHosts) accepts(address string, remote net.Addr, key ssh.PublicKey) error {
	check := func() error { return k.db.HostKeyCallback()(address, remote, key) }
	if _, isCert := key.(*ssh.Certificate); isCert {
		return check()
	}
	wire := string(key.Marshal())
	k.mu.Lock()
	h := k.hosts[address]
	ok := h != nil && h.accepted[wire]
	k.mu.Unlock()
	if ok {
		return nil
	}
	err := check()
	if err == nil && h != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		h.accepted[wire] = true
	}
	return err
}

// privateKey parses the bytes of a private key, with the passphrase if there is
// one.
func (c *Cache) privateKey(pem, passphrase []byte) (ssh.Signer, error) {
	parse := func() (ssh.Signer, error) {
		if passphrase != nil {
			return ssh.ParsePrivateKeyWithPassphrase(pem, passphrase)
		}
		return ssh.ParsePrivateKey(pem)
	}
	if c == nil {
		return parse()
	}
	// The sum of the two sums: no two pairs look alike.
	p, q := sha256.Sum256(pem), sha256.Sum256(passphrase)
	id := sha256.Sum256(append(p[:], q[:]...))
	c.mu.Lock()
	s := c.keys[id]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := parse()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys = make(map[[sha256.Size]byte]ssh.Signer)
	}
	c.keys[id] = s
	return s, nil
}
