package pull

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// refusedAlgorithms are never used, not even for a legacy device: arcfour is
// broken in practice and ssh-dss keys are 1024 bits.
var refusedAlgorithms = []string{
	ssh.InsecureCipherRC4, ssh.InsecureCipherRC4128, ssh.InsecureCipherRC4256,
	"ssh-dss", "ssh-dss-cert-v01@openssh.com",
}

// algorithmKind is one field of ssh.Algorithms, in the words of errors.
type algorithmKind struct {
	name string
	list func(*ssh.Algorithms) *[]string
}

var algorithmKinds = []algorithmKind{
	{"key exchange", func(a *ssh.Algorithms) *[]string { return &a.KeyExchanges }},
	{"cipher", func(a *ssh.Algorithms) *[]string { return &a.Ciphers }},
	{"MAC", func(a *ssh.Algorithms) *[]string { return &a.MACs }},
	{"host key", func(a *ssh.Algorithms) *[]string { return &a.HostKeys }},
}

// legacyAlgorithms are the insecure ones that may be allowed for a device.
func legacyAlgorithms() ssh.Algorithms {
	a := ssh.InsecureAlgorithms()
	for _, k := range algorithmKinds {
		l := k.list(&a)
		*l = slices.DeleteFunc(*l, func(s string) bool { return slices.Contains(refusedAlgorithms, s) })
	}
	return a
}

// LegacyAlgorithms returns every insecure algorithm that Target.Legacy may
// hold: what golang.org/x/crypto/ssh calls InsecureAlgorithms, without arcfour
// and ssh-dss. It is the meaning of `legacy: true`.
func LegacyAlgorithms() []string {
	a := legacyAlgorithms()
	var all []string
	for _, k := range algorithmKinds {
		for _, s := range *k.list(&a) {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// allowed returns the algorithms to offer to a device: the supported ones and,
// after them, the insecure ones that were asked for by name.
func allowed(legacy []string) (ssh.Algorithms, error) {
	a, insecure := ssh.SupportedAlgorithms(), legacyAlgorithms()
	if err := CheckLegacy(legacy); err != nil {
		return a, err
	}
	for _, name := range legacy {
		for _, k := range algorithmKinds {
			if l := k.list(&a); slices.Contains(*k.list(&insecure), name) && !slices.Contains(*l, name) {
				*l = append(*l, name)
			}
		}
	}
	return a, nil
}

// CheckLegacy returns an error that names everything in a list of algorithms that
// cannot be allowed: what the SSH library does not have, what is never used, and what
// needs no permission because it is current.
func CheckLegacy(legacy []string) error {
	possible, current := LegacyAlgorithms(), ssh.SupportedAlgorithms()
	var wrong []string
	for _, name := range legacy {
		why := "is not in the SSH library"
		switch {
		case slices.Contains(possible, name):
			continue
		case slices.Contains(refusedAlgorithms, name):
			why = "is never used"
		case slices.ContainsFunc(algorithmKinds, func(k algorithmKind) bool { return slices.Contains(*k.list(&current), name) }):
			why = "is current and always offered"
		}
		wrong = append(wrong, quote(name)+" "+why)
	}
	if wrong == nil {
		return nil
	}
	return &hinted{fmt.Errorf("legacy algorithm %s", strings.Join(wrong, ", ")),
		"possible are " + strings.Join(possible, " ")}
}

// AlgorithmError says that a device offers nothing of one kind that may be used.
type AlgorithmError struct {
	// Kind is "key exchange", "host key", "cipher" or "MAC", with the
	// direction where it matters.
	Kind string
	// Offered is what the device has, escaped.
	Offered []string
	// Legacy are those of them that Target.Legacy could allow.
	Legacy []string
}

// Error names what the device offers and what is missing.
func (e *AlgorithmError) Error() string {
	s := fmt.Sprintf("no common %s: the device offers only %s", e.Kind, strings.Join(e.Offered, " "))
	if len(e.Legacy) == 0 {
		return s + ", and the SSH library has none of them"
	}
	return s + ", which are insecure and not allowed for this device"
}

// Hint says how to allow it, if that is possible.
func (e *AlgorithmError) Hint() string {
	if len(e.Legacy) == 0 {
		return "enable a current " + e.Kind + " algorithm on the device, such as " + strings.Join(suggestion(e.Kind), " or ")
	}
	return "enable a current algorithm on the device, or mark it legacy to allow " + strings.Join(e.Legacy, " ")
}

// suggestion names widely implemented algorithms of a kind.
func suggestion(kind string) []string {
	switch {
	case strings.Contains(kind, "key exchange"):
		return []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeDH14SHA256}
	case strings.Contains(kind, "cipher"):
		return []string{ssh.CipherAES128GCM, ssh.CipherAES256CTR}
	case strings.Contains(kind, "MAC"):
		return []string{ssh.HMACSHA256, ssh.HMACSHA512}
	}
	return []string{ssh.KeyAlgoED25519, ssh.KeyAlgoRSASHA512}
}

// explainNegotiation turns the SSH library's error about algorithms into one
// that names what is missing. Any other error stays as it is.
func explainNegotiation(err error) error {
	var neg *ssh.AlgorithmNegotiationError
	if !errors.As(err, &neg) {
		return err
	}
	e := &AlgorithmError{Kind: neg.What}
	legacy := LegacyAlgorithms()
	for i, a := range neg.RequestedAlgorithms {
		if i == 16 {
			e.Offered = append(e.Offered, "…")
			break
		}
		if strings.HasPrefix(a, "kex-strict-") || strings.HasPrefix(a, "ext-info-") {
			continue // markers, not algorithms
		}
		e.Offered = append(e.Offered, clean(cut(a, 64)))
		if slices.Contains(legacy, a) {
			e.Legacy = append(e.Legacy, a)
		}
	}
	if len(e.Offered) == 0 {
		e.Offered = []string{"nothing"}
	}
	return e
}

// negotiated lists the algorithms of a connection, and which are insecure.
func negotiated(a ssh.NegotiatedAlgorithms) (all, insecure []string) {
	legacy := LegacyAlgorithms()
	for _, s := range []string{a.KeyExchange, a.HostKey, a.Read.Cipher, a.Write.Cipher, a.Read.MAC, a.Write.MAC} {
		if s == "" || slices.Contains(all, s) {
			continue
		}
		all = append(all, s)
		if slices.Contains(legacy, s) {
			insecure = append(insecure, s)
		}
	}
	return all, insecure
}
