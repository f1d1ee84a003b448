package actserver

import (
	"encoding/binary"
	"io"
	"testing"

	"golang.org/x/crypto/ssh"
)

// SFTP packet types and status codes (draft-ietf-secsh-filexfer-02).
const (
	fxInit     = 1
	fxVersion  = 2
	fxOpen     = 3
	fxClose    = 4
	fxRead     = 5
	fxWrite    = 6
	fxLstat    = 7
	fxFstat    = 8
	fxSetstat  = 9
	fxFsetstat = 10
	fxOpendir  = 11
	fxReaddir  = 12
	fxRemove   = 13
	fxMkdir    = 14
	fxRmdir    = 15
	fxRealpath = 16
	fxStat     = 17
	fxRename   = 18
	fxReadlink = 19
	fxSymlink  = 20
	fxStatus   = 101
	fxHandle   = 102
	fxData     = 103
	fxName     = 104
	fxAttrs    = 105
	fxExtended = 200

	codeOK, codeEOF, codeNoSuchFile, codeDenied, codeFailure, codeUnsupported = 0, 1, 2, 3, 4, 8

	openRead, openWrite, openAppend, openCreate, openTruncate, openExclusive = 1, 2, 4, 8, 16, 32
)

// wire speaks SFTP packet by packet, so that a test can say what no library
// would.
type wire struct {
	t  testing.TB
	w  io.Writer
	r  io.Reader
	id uint32
}

// newWire starts the subsystem and exchanges versions; the answer to INIT is
// returned as it came.
func newWire(t testing.TB, c *ssh.Client) (*wire, []byte) {
	t.Helper()
	session, err := c.NewSession()
	must(t, err)
	t.Cleanup(func() { _ = session.Close() }) // the connection may be gone
	w, err := session.StdinPipe()
	must(t, err)
	r, err := session.StdoutPipe()
	must(t, err)
	must(t, session.RequestSubsystem("sftp"))
	x := &wire{t: t, w: w, r: r}
	x.send([]byte{fxInit, 0, 0, 0, 3})
	return x, x.receive()
}

func (x *wire) send(payload []byte) {
	x.t.Helper()
	_, err := x.w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...))
	must(x.t, err)
}

func (x *wire) receive() []byte {
	x.t.Helper()
	var length [4]byte
	_, err := io.ReadFull(x.r, length[:])
	must(x.t, err)
	payload := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err = io.ReadFull(x.r, payload)
	must(x.t, err)
	return payload
}

// request builds one packet: strings are length-prefixed, uint32 and uint64
// big-endian, bytes as they are.
func (x *wire) request(kind byte, fields ...any) []byte {
	x.id++
	p := binary.BigEndian.AppendUint32([]byte{kind}, x.id)
	for _, field := range fields {
		switch v := field.(type) {
		case string:
			p = append(binary.BigEndian.AppendUint32(p, uint32(len(v))), v...)
		case uint32:
			p = binary.BigEndian.AppendUint32(p, v)
		case uint64:
			p = binary.BigEndian.AppendUint64(p, v)
		case []byte:
			p = append(p, v...)
		default:
			x.t.Fatalf("field of type %T", field)
		}
	}
	return p
}

// ask sends a request and returns the kind of the answer and what follows its
// id.
func (x *wire) ask(kind byte, fields ...any) (byte, []byte) {
	x.t.Helper()
	x.send(x.request(kind, fields...))
	answer := x.receive()
	if len(answer) < 5 || binary.BigEndian.Uint32(answer[1:]) != x.id {
		x.t.Fatalf("answer % x is not for request %d", answer, x.id)
	}
	return answer[0], answer[5:]
}

// status asks for something that is answered with a status, and returns it.
func (x *wire) status(kind byte, fields ...any) uint32 {
	x.t.Helper()
	answer, body := x.ask(kind, fields...)
	if answer != fxStatus {
		x.t.Fatalf("request %d was answered with packet type %d, % x", kind, answer, body)
	}
	return binary.BigEndian.Uint32(body)
}

// handle asks for something that is answered with a handle, and returns it, or
// the status instead.
func (x *wire) handle(kind byte, fields ...any) (string, uint32) {
	x.t.Helper()
	answer, body := x.ask(kind, fields...)
	switch answer {
	case fxHandle:
		return string(body[4 : 4+binary.BigEndian.Uint32(body)]), codeOK
	case fxStatus:
		return "", binary.BigEndian.Uint32(body)
	}
	x.t.Fatalf("request %d was answered with packet type %d", kind, answer)
	return "", 0
}
