package policy

import (
	"cmp"
	"slices"

	"acctpull/record"
)

// Set is a configuration that keeps every rule, with its defaults filled in. It
// does not change.
type Set struct {
	c        Config
	files    map[int]*FileID
	policies map[int]*AccountingPolicy
	defs     map[int]*record.Definition
	defaults map[Type]*AccountingPolicy
}

// New returns the Set of a configuration. If a rule is broken it returns a
// *ConfigError with every violation.
func New(c Config) (*Set, error) {
	k, violations := check(c)
	if len(violations) > 0 {
		return nil, &ConfigError{Violations: violations}
	}
	return newSet(k), nil
}

// Load returns the Set of a YAML configuration. The *ConfigError holds what is
// wrong with the text as well as what is wrong with what it says.
func Load(data []byte) (*Set, error) {
	c, parsed := parse(data)
	k, violations := check(c)
	violations = append(parsed, violations...)
	if len(violations) > 0 {
		slices.SortStableFunc(violations, func(a, b Violation) int { return cmp.Compare(a.Line, b.Line) })
		return nil, &ConfigError{Violations: violations}
	}
	return newSet(k), nil
}

func newSet(k *checker) *Set {
	s := &Set{c: k.c, files: k.files, policies: k.policies, defs: k.policyDef, defaults: map[Type]*AccountingPolicy{}}
	slices.SortFunc(s.c.Policies, func(a, b AccountingPolicy) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.c.FileIDs, func(a, b FileID) int { return cmp.Compare(a.ID, b.ID) })
	for i := range s.c.FileIDs {
		s.files[s.c.FileIDs[i].ID] = &s.c.FileIDs[i]
	}
	for i := range s.c.Policies {
		p := &s.c.Policies[i]
		s.policies[p.ID] = p
		if p.Default {
			s.defaults[p.Type] = p
		}
	}
	return s
}

// Config returns the configuration with every default filled in, policies and
// file-ids by id. The caller must not change what its slices hold.
func (s *Set) Config() Config { return s.c }

// For returns the policy that collects an object: its explicit policy, else the
// default policy of its type. It returns false if statistics collection is off
// or there is neither, and then nothing is collected (7210 SAS, "Accounting
// Records"). The policy may be shut down.
func (s *Set) For(o *Object) (AccountingPolicy, bool) {
	p := s.policyOf(o)
	if p == nil {
		return AccountingPolicy{}, false
	}
	return *p, true
}

func (s *Set) policyOf(o *Object) *AccountingPolicy {
	if !o.CollectStats {
		return nil
	}
	if o.Policy != 0 {
		return s.policies[o.Policy]
	}
	return s.defaults[o.Type]
}

// Plan is what one policy has to do.
type Plan struct {
	Policy AccountingPolicy
	// File is where it writes; its ID is 0 if the policy stores nothing.
	File FileID
	// Definition is what the catalogue knows of the record.
	Definition *record.Definition
	// Objects are those that the policy collects, in the order of the
	// configuration. There may be none.
	Objects []*Object
}

// Plan returns the policies that are in service, by id, each with its objects.
func (s *Set) Plan() []Plan {
	var out []Plan
	at := map[*AccountingPolicy]int{}
	for i := range s.c.Policies {
		p := &s.c.Policies[i]
		if p.Shutdown {
			continue
		}
		at[p] = len(out)
		out = append(out, s.home(*p))
	}
	for i := range s.c.Objects {
		o := &s.c.Objects[i]
		if p := s.policyOf(o); p != nil {
			if n, ok := at[p]; ok {
				out[n].Objects = append(out[n].Objects, o)
			}
		}
	}
	return out
}

// home returns record and file-id of a policy, also of one out of service.
func (s *Set) home(p AccountingPolicy) Plan {
	h := Plan{Policy: p, Definition: s.defs[p.ID]}
	if f := s.files[int(p.To)]; f != nil {
		h.File = *f
	}
	return h
}
