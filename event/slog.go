package event

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Slog returns a Sink that writes every event to the logger: the message, then
// the keys application, number, name, severity, stream and subject, then the
// parameters under their own names (device, policy, file_id, file, record mean
// the same in every event). Critical and major are errors, minor and warning
// warnings, the others information.
//
// Text is made safe for one line: control characters, line ends, bidirectional
// overrides and bytes that are not UTF-8 are written as escapes, and long text
// is cut, so that no event exceeds 8 KiB. As with log/slog, an error of the
// handler is not reported.
func Slog(logger *slog.Logger) Sink { return slogSink{logger.Handler()} }

type slogSink struct{ h slog.Handler }

// Limits of one text in a log line, in bytes.
const (
	maxMessage = 1024
	maxValue   = 384
)

func (s slogSink) Emit(e Event) {
	ctx := context.Background()
	level := e.Severity.level()
	if !s.h.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(e.Time, level, printable(e.Message, maxMessage), 0)
	r.AddAttrs(
		slog.String("application", printable(e.Application, maxValue)),
		slog.Int("number", e.Number),
		slog.String("name", printable(e.Name, maxValue)),
		slog.String("severity", e.Severity.String()),
		slog.String("stream", e.Stream.String()),
		slog.String("subject", printable(e.Subject, maxValue)))
	for _, p := range e.Params {
		r.AddAttrs(slog.String(p.Name, printable(p.Value, maxValue)))
	}
	_ = s.h.Handle(ctx, r) // documented above
}

// level is the nearest level of log/slog.
func (s Severity) level() slog.Level {
	switch rank := s.Rank(); {
	case rank >= Major.Rank():
		return slog.LevelError
	case rank >= Warning.Rank():
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// printable escapes what could end, hide or forge a line, and cuts the result
// at limit bytes.
func printable(s string, limit int) string {
	if len(s) <= limit && !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if b.Len() >= limit-len("\\U0010ffff…") {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unprintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// unprintable reports runes that a log line must not hold as they are. Bytes that
// are not UTF-8 arrive as RuneError.
func unprintable(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) ||
		r == '\u2028' || r == '\u2029'
}
