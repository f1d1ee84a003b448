package policy

import (
	"path/filepath"
	"slices"
	"strings"
)

var sourceKinds = []string{SourceLinux, SourceSynthetic, SourceReplay}

func knownSource(kind string) bool { return slices.Contains(sourceKinds, kind) }

// source checks that a source is a known one, has its own keys in their ranges,
// and none of another kind.
func (k *checker) source() {
	s := &k.c.Source
	if s.Kind == "" && !s.given.Bad("kind") {
		s.Kind = SourceLinux
	}
	k.rows = newRowFinder(s.Kind)
	line := func(key string) int { return s.given.Line(key, s.Line) }
	if !knownSource(s.Kind) {
		if !s.given.Bad("kind") {
			k.fail(RuleSource, line("kind"), "source", "kind %q is none of %s", bounded(s.Kind), strings.Join(sourceKinds, ", "))
		}
		return
	}
	subject := "source " + s.Kind
	for _, own := range []struct {
		key, kind string
		set       bool
	}{
		{"namespace", SourceLinux, s.Namespace != ""},
		{"seed", SourceSynthetic, s.Seed != 0},
		{"idle", SourceSynthetic, s.Idle != 0},
		{"path", SourceReplay, len(s.Path) > 0},
		{"profile", SourceReplay, s.Profile != ""},
		{"loop", SourceReplay, s.Loop},
	} {
		zero := own.key != "loop" && s.given.Has(own.key) // loop: false says nothing
		if own.kind != s.Kind && (own.set || zero) {
			k.fail(RuleSource, line(own.key), subject, "%s belongs to source %s", own.key, own.kind)
		}
	}
	switch s.Kind {
	case SourceLinux:
		if ns := s.Namespace; ns != "" && !filepath.IsAbs(ns) && (strings.Contains(ns, "/") || ns == "." || ns == "..") {
			k.fail(RuleSource, line("namespace"), subject, "namespace %q is neither a name below /run/netns nor an absolute path", bounded(ns))
		}
	case SourceSynthetic:
		if s.Idle < 0 || s.Idle > 100 {
			k.fail(RuleSource, line("idle"), subject, "idle %d is outside 0–100 percent", s.Idle)
		}
	case SourceReplay:
		k.recording(s, subject, line)
	}
}

// recording checks the paths of a replay. Whether they are there is seen when
// the source is made.
func (k *checker) recording(s *SourceConfig, subject string, line func(string) int) {
	if len(s.Path) == 0 && !s.given.Bad("path") {
		k.fail(RuleSource, line("path"), subject, "path is missing: it takes the directory or the files of the recording")
	}
	for _, path := range s.Path {
		if path == "" || len(path) > maxDirPath || hasControl(path) {
			k.fail(RuleSource, line("path"), subject, "path %q is empty, longer than %d bytes or has control characters", bounded(path), maxDirPath)
		}
	}
	if len(s.Profile) > maxDirPath || hasControl(s.Profile) {
		k.fail(RuleSource, line("profile"), subject, "profile %q is longer than %d bytes or has control characters", bounded(s.Profile), maxDirPath)
	}
}
