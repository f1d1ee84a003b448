package policy

import (
	"cmp"
	"slices"
	"time"
)

// The warnings: configurations that keep every rule and are still seldom meant.
// Warnings tells what each is about.
const (
	WarnPolicyEmpty        Rule = "policy-empty"
	WarnPolicyShutdown     Rule = "policy-shutdown"
	WarnObjectNotCollected Rule = "object-not-collected"
	WarnFileUnused         Rule = "file-unused"
	WarnRolloverShort      Rule = "rollover-short"
	WarnRetentionShort     Rule = "retention-short"
)

// Warnings returns every warning in the order of the constants.
func Warnings() []RuleDoc {
	return []RuleDoc{
		{WarnPolicyEmpty, "A policy in service collects no object."},
		{WarnPolicyShutdown, "A policy that is shut down has objects, which are not collected."},
		{WarnObjectNotCollected, "An object with `collect-stats` names no policy, and its type has no default policy: nothing is collected for it."},
		{WarnFileUnused, "No policy writes to a file-id."},
		{WarnRolloverShort, "The rollover of a file-id is shorter than the collection interval of its policy: every file has one collection, and the rollover is late."},
		{WarnRetentionShort, "The retention of a file-id is shorter than twice its rollover: a collector of files that is away for that long loses some."},
	}
}

// Warnings returns what in the configuration is legal and still suspicious, in
// the order of the lines.
func (s *Set) Warnings() []Violation {
	w := warner{s: s, objects: map[*AccountingPolicy]int{}}
	for i := range s.c.Objects {
		w.object(&s.c.Objects[i])
	}
	writers := map[int]*AccountingPolicy{}
	for i := range s.c.Policies {
		p := &s.c.Policies[i]
		if p.To > 0 {
			writers[int(p.To)] = p
		}
		w.policy(p)
	}
	for i := range s.c.FileIDs {
		w.file(&s.c.FileIDs[i], writers[s.c.FileIDs[i].ID])
	}
	slices.SortStableFunc(w.out, func(a, b Violation) int { return cmp.Compare(a.Line, b.Line) })
	return w.out
}

// warner gathers warnings.
type warner struct {
	checker
	s       *Set
	objects map[*AccountingPolicy]int // how many each policy collects
}

func (w *warner) object(o *Object) {
	p := w.s.policyOf(o)
	if p != nil {
		w.objects[p]++
	} else if o.CollectStats {
		w.fail(WarnObjectNotCollected, o.Line, subject(o), "nothing is collected for it: it names no accounting-policy, and there is no default policy of type %s", o.Type)
	}
}

func (w *warner) policy(p *AccountingPolicy) {
	n := w.objects[p]
	switch {
	case w.s.discovers(p.Type):
		// its objects are those of the recording
	case p.Shutdown && n > 0:
		w.fail(WarnPolicyShutdown, p.given.Line("shutdown", p.Line), policyName(p.ID), "it is shut down, so nothing is collected for its %s", count(n, "object"))
	case !p.Shutdown && n == 0 && p.Default:
		w.fail(WarnPolicyEmpty, p.given.Line("default", p.Line), policyName(p.ID), "it collects nothing: it is the default of type %s, and no %s without a policy collects statistics", p.Type, p.Type.Object())
	case !p.Shutdown && n == 0:
		w.fail(WarnPolicyEmpty, p.Line, policyName(p.ID), "it collects nothing: no %s that collects statistics names it", p.Type.Object())
	}
}

// discovers tells whether the objects of a type come from the source, because
// the configuration lists none.
func (s *Set) discovers(t Type) bool {
	return s.c.Source.Kind == SourceReplay && !slices.ContainsFunc(s.c.Objects, func(o Object) bool { return o.Type == t })
}

func (w *warner) file(f *FileID, p *AccountingPolicy) {
	name := fileName(f.ID)
	if p == nil {
		w.fail(WarnFileUnused, f.Line, name, "no accounting-policy writes to it")
		return
	}
	if f.Rollover < p.CollectionInterval {
		w.failPair(WarnRolloverShort, f.given.Line("rollover", f.Line), name, policyName(p.ID), p.Line,
			"rollover %s minutes is shorter than the interval of %s minutes of %s: every file has one collection", inUnits(f.Rollover, time.Minute), inUnits(p.CollectionInterval, time.Minute), policyName(p.ID))
	}
	if f.Retention < 2*f.Rollover {
		w.fail(WarnRetentionShort, f.given.Line("retention", f.given.Line("rollover", f.Line)), name,
			"retention %s is shorter than twice the rollover of %s: a collector of files that stays away for that long loses some", short(f.Retention), short(f.Rollover))
	}
}

// short prints a duration of whole minutes in the largest unit that fits.
func short(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return count(int(d/time.Hour), "hour")
	default:
		return count(int(d/time.Minute), "minute")
	}
}
