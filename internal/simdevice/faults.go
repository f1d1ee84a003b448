package simdevice

import "time"

// Faults are what is wrong with a device; the zero value is a healthy one.
// They are replaced as a whole, see Device.SetFaults. A negative number counts
// as 0.
type Faults struct {
	// Down: open connections are reset, and new ones as soon as they arrive.
	Down bool
	// Silent: new connections are accepted and never answered.
	Silent bool
	// EndlessBanner: new connections get lines of text before the version of
	// the SSH protocol, for ever.
	EndlessBanner bool
	// RefuseAuth: nobody may log in.
	RefuseAuth bool
	// ChangeHostKey presents another host key on new connections.
	ChangeHostKey bool
	// Legacy: new connections find an old device, see Options.Legacy.
	Legacy bool
	// SCPOnly: new connections find no SFTP.
	SCPOnly bool
	// DropAfter cuts every connection once the device has sent that many bytes
	// on it, SSH handshake included. 0: never.
	DropAfter int64
	// SlowBytesPerSecond bounds what the device sends on a connection. 0: no
	// bound.
	SlowBytesPerSecond int64
	// Latency is added to every round trip of new connections. What is under
	// way at once is not bounded by it.
	Latency time.Duration
	// TruncateGzip lists and serves only the first half of each .gz file.
	TruncateGzip bool
	// CorruptByte inverts one byte in the middle of each file that is sent.
	CorruptByte bool
	// Vanish is how many of the oldest files expire after each listing, before
	// the first file is opened. It needs a Life.
	Vanish int
	// FullFlash: the flash has no room left but that of the files on it. For
	// each new file the oldest has to go; if there is none, nothing can be
	// written. It needs a Life.
	FullFlash bool
}

// MaxLatency is the longest Faults.Latency; a longer one is cut to it.
const MaxLatency = time.Minute
