package export

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
)

// Errors name what they are about in one line, with device text escaped and
// bounded, and say what a person can do.
func TestErrors(t *testing.T) {
	e := &Error{Op: "write output", Device: "r\n1", File: strings.Repeat("ß", 200), Path: "/x", Err: errors.Join(errors.New("a"), fs.ErrNotExist)}
	text := e.Error()
	if !strings.HasPrefix(text, `write output, device "r\n1", file "ßß`) || strings.Contains(text, "\n") || len(text) > 400 ||
		!strings.HasSuffix(text, `… "/x": a; file does not exist`) && !strings.Contains(text, `…" "/x": a; file does not exist`) {
		t.Errorf("%s", text)
	}
	if !errors.Is(e, fs.ErrNotExist) || !isMissing(e) {
		t.Error("the cause is hidden")
	}
	for cause, want := range map[error]string{
		ErrConflict: "version", syscall.ENOSPC: "free space", syscall.EDQUOT: "free space", syscall.EMFILE: "open files",
		fs.ErrPermission: "writable", syscall.EROFS: "writable", errors.New("x"): "",
	} {
		got := (&Error{Err: cause}).Hint()
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%v: hint %q", cause, got)
		}
	}
	for limit := range 10 {
		if s := clip("aßßßß", limit); !utf8.ValidString(s) || len(s) > limit+len("…") {
			t.Errorf("clip to %d: %q", limit, s)
		}
	}
}
