package policy

import "path/filepath"

const (
	// MaxControlSocket is how many bytes the path of a Unix socket may have:
	// sun_path of sockaddr_un has 108, one of them ends it (unix(7)).
	MaxControlSocket = 107
	// NoControlSocket as the control socket of a Config means that there is
	// none.
	NoControlSocket = "none"

	controlName = ".acctpull.sock"
)

// Control returns the path of the socket by which operators reach the agent
// that runs this configuration: what control-socket says, else .acctpull.sock
// in the location of the file-id with the lowest number, beside its lock. It
// returns "" if there is none: control-socket says none, or it says nothing and
// there is no file-id with a location.
//
// It holds for a Config that keeps no rule, too, so that an agent can be asked
// while somebody edits its configuration. The path that a location leads to may
// be longer than MaxControlSocket; who listens or connects says so.
func (c *Config) Control() string {
	switch c.ControlSocket {
	case NoControlSocket:
		return ""
	case "":
		var first *FileID
		for i := range c.FileIDs {
			if f := &c.FileIDs[i]; f.Location != "" && (first == nil || f.ID < first.ID) {
				first = f
			}
		}
		if first == nil {
			return ""
		}
		return filepath.Join(first.Location, controlName)
	}
	return c.ControlSocket
}
