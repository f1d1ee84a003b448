package actserver

import (
	"net"
	"strconv"
)

// Login says who is at the other end of a connection. Its fields after Remote
// are empty until the client has logged in; they come from the key that signed
// or the password that was accepted, never from a key that was only offered.
// User and Client are the client's own text, cut to 256 bytes and not escaped.
type Login struct {
	Remote net.Addr
	User   string
	// Method is "publickey", "password" or "keyboard-interactive".
	Method string
	// Key is the SHA-256 fingerprint of the key that signed, else empty.
	Key string
	// Client is the version string of the client.
	Client string
}

// Transfer tells of one file that a client read, or began to read.
type Transfer struct {
	Login
	// Protocol is "scp" or "sftp".
	Protocol string
	// Name is the file's name inside act/.
	Name string
	// Size is what was announced, Sent the content bytes handed to the
	// connection. With sftp a client may read a part, or a part twice.
	Size, Sent int64
	// Err is nil when the client ended the transfer itself.
	Err error
}

// Refusal tells of something a client asked for and did not get.
type Refusal struct {
	Login
	// What is one of "connection", "login", "channel", "request", "scp",
	// "sftp", "cli".
	What string
	Err  error
}

// Hooks are called as things happen, from several goroutines at once; they
// must return quickly. Any of them may be nil.
type Hooks struct {
	// OnConn: a client has logged in.
	OnConn func(Login)
	// OnFile: a file was closed after it was opened for reading.
	OnFile func(Transfer)
	// OnRefused: a connection, login, channel, request or path was refused.
	OnRefused func(Refusal)
}

func (s *Server) loggedIn(l Login) {
	if s.o.Hooks.OnConn != nil {
		s.o.Hooks.OnConn(l)
	}
}

func (s *Server) transferred(t Transfer) {
	if s.o.Hooks.OnFile != nil {
		s.o.Hooks.OnFile(t)
	}
}

func (s *Server) refused(r Refusal) {
	if s.o.Hooks.OnRefused != nil {
		s.o.Hooks.OnRefused(r)
	}
}

// maxPeerText bounds text that came from a peer.
const maxPeerText = 256

// quote makes text from a peer safe to print: bounded and escaped.
func quote(text string) string { return strconv.QuoteToASCII(bounded(text)) }

func bounded(text string) string {
	if len(text) > maxPeerText {
		return text[:maxPeerText]
	}
	return text
}
