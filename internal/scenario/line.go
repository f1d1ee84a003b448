package scenario

import (
	"slices"
	"strings"
	"time"
)

// span is when a line happens: once at first, or every so often until last.
type span struct {
	first, every, last time.Duration
}

// timed reads a line of the script:
//
//	at TIME [for DURATION] [TARGET… :] VERB [ARGUMENT…]
//	every DURATION [from TIME] [until TIME] [for DURATION] [TARGET… :] VERB [ARGUMENT…]
func (p *parser) timed(t timed) {
	when, rest, ok := p.span(t)
	if !ok {
		return
	}
	undoAfter := time.Duration(-1)
	if len(rest) > 0 && rest[0] == "for" {
		if len(rest) == 1 {
			p.fail(t.line, "for: the duration is missing")
			return
		}
		d, err := ParseDuration(rest[1])
		if err != nil {
			p.fail(t.line, "for: %q %v", bounded(rest[1]), err)
			return
		}
		undoAfter, rest = d, rest[2:]
	}
	targets, rest := cutTargets(rest)
	verb, args, ok := p.verb(t.line, rest)
	if !ok {
		return
	}
	if len(targets) > 0 && !verb.Targets {
		p.fail(t.line, "%s happens to nobody by name: %q", verb.Name, bounded(strings.Join(targets, " ")))
		return
	}
	if !p.args(t.line, verb, args) {
		return
	}
	step := Step{Line: t.line, Targets: targets, Verb: verb.Name, Args: args}
	undo, ok := p.undo(t.line, verb, step, undoAfter)
	if ok {
		p.expand(t.line, when, step, undo, undoAfter)
	}
}

// span reads the time at the beginning of a line.
func (p *parser) span(t timed) (when span, rest []string, ok bool) {
	if t.words[0] != "at" && t.words[0] != "every" {
		p.fail(t.line, `a line begins with "at", with "every", or is a setting "name: value"; it begins with %q`, bounded(t.words[0]))
		return span{}, nil, false
	}
	if len(t.words) < 2 {
		p.fail(t.line, "%s: the time is missing", t.words[0])
		return span{}, nil, false
	}
	rest = t.words[2:]
	if t.words[0] == "at" {
		d, err := p.when(t.words[1])
		if err != nil {
			p.fail(t.line, "at: %q %v", bounded(t.words[1]), err)
			return span{}, nil, false
		}
		return span{first: d, last: d}, rest, true
	}
	every, err := ParseDuration(t.words[1])
	switch {
	case err != nil:
		p.fail(t.line, "every: %q %v", bounded(t.words[1]), err)
		return span{}, nil, false
	case every == 0:
		p.fail(t.line, "every: the duration is 0")
		return span{}, nil, false
	}
	when = span{first: every, every: every, last: -1}
	for len(rest) > 1 && (rest[0] == "from" || rest[0] == "until") {
		d, err := p.when(rest[1])
		if err != nil {
			p.fail(t.line, "%s: %q %v", rest[0], bounded(rest[1]), err)
			return span{}, nil, false
		}
		if rest[0] == "from" {
			when.first = d
		} else {
			when.last = d
		}
		rest = rest[2:]
	}
	if when.last < 0 {
		d, err := ParseDuration(p.s.settings["length"])
		if err != nil {
			p.fail(t.line, "every needs an end: until TIME in the line, or the setting length")
			return span{}, nil, false
		}
		when.last = d
	}
	if when.last < when.first {
		p.fail(t.line, "every: it ends at +%s, before it begins at +%s", FormatDuration(when.last), FormatDuration(when.first))
		return span{}, nil, false
	}
	return when, rest, true
}

// cutTargets takes the words up to the first that ends in a colon.
func cutTargets(words []string) (targets, rest []string) {
	i := slices.IndexFunc(words, func(w string) bool { return len(w) > 1 && strings.HasSuffix(w, ":") })
	if i < 0 {
		return nil, words
	}
	targets = slices.Clone(words[:i+1])
	targets[i] = strings.TrimSuffix(targets[i], ":")
	return targets, words[i+1:]
}

// verb finds the verb whose name the words begin with; of two the longer one.
func (p *parser) verb(line int, words []string) (verb *Verb, args []string, ok bool) {
	if len(words) == 0 {
		p.fail(line, "the line does not say what happens")
		return nil, nil, false
	}
	for i := range p.l.Verbs {
		v := &p.l.Verbs[i]
		name := strings.Fields(v.Name)
		if len(name) <= len(words) && slices.Equal(name, words[:len(name)]) && (verb == nil || len(v.Name) > len(verb.Name)) {
			verb, args = v, words[len(name):]
		}
	}
	if verb == nil {
		var names []string
		for _, v := range p.l.Verbs {
			names = append(names, v.Name)
		}
		p.fail(line, "there is no verb %q; the verbs are %s", bounded(words[0]), strings.Join(names, ", "))
	}
	return verb, slices.Clone(args), verb != nil
}

// args checks the arguments of a verb.
func (p *parser) args(line int, verb *Verb, args []string) bool {
	ok := true
	for i, a := range verb.Args {
		if i >= len(args) {
			if !a.Optional {
				p.fail(line, "%s: %s is missing", verb.Name, a.Name)
				return false
			}
			return ok
		}
		of := args[i : i+1]
		if a.Many {
			of = args[i:]
		}
		for _, word := range of {
			if a.Check == nil {
				continue
			}
			if err := a.Check(word); err != nil {
				p.fail(line, "%s: %s %q %v", verb.Name, a.Name, bounded(word), err)
				ok = false
			}
		}
		if a.Many {
			return ok
		}
	}
	if n := len(verb.Args); len(args) > n {
		p.fail(line, "%s: %q is one argument too many", verb.Name, bounded(args[n]))
		return false
	}
	return ok
}

// undo returns the step that ends another.
func (p *parser) undo(line int, verb *Verb, step Step, after time.Duration) (Step, bool) {
	if after < 0 {
		return Step{}, true
	}
	i := slices.IndexFunc(p.l.Verbs, func(v Verb) bool { return v.Name == verb.Undo })
	if verb.Undo == "" || i < 0 {
		p.fail(line, "%s cannot be given an end with for", verb.Name)
		return Step{}, false
	}
	undo := step
	undo.Verb = verb.Undo
	n := len(p.l.Verbs[i].Args)
	undo.Args = step.Args[:min(n, len(step.Args))]
	return undo, true
}

// expand adds a step for each time at which a line happens.
func (p *parser) expand(line int, when span, step, undo Step, undoAfter time.Duration) {
	for at := when.first; at <= when.last; at += when.every {
		if len(p.s.Steps) >= maxSteps {
			p.fail(line, "the scenario has more than %d steps", maxSteps)
			return
		}
		step.At = at
		p.s.Steps = append(p.s.Steps, step)
		if undoAfter >= 0 {
			undo.At = at + undoAfter
			p.s.Steps = append(p.s.Steps, undo)
		}
		if when.every == 0 {
			return
		}
	}
}
