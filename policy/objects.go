package policy

import (
	"fmt"
	"strings"
)

// objectKey is the identity of an object. A SAP belongs to one service and is
// unique without it; an SDP has one binding per service, an SAA test is one of
// its owner.
type objectKey struct {
	t         Type
	id, under string
}

func keyOf(o *Object) objectKey {
	k := objectKey{t: o.Type, id: o.ID}
	switch o.Type {
	case SDP:
		k.under = o.Service
	case SAA:
		k.under = o.Owner
	}
	return k
}

// objects checks every object by itself, against the others and against the
// policies.
func (k *checker) objects() {
	seen := make(map[objectKey]*Object, len(k.c.Objects))
	units := measured{}
	defaults := map[Type]*AccountingPolicy{}
	for i := range k.c.Policies {
		if p := &k.c.Policies[i]; p.Default && defaults[p.Type] == nil {
			defaults[p.Type] = p
		}
	}
	for i := range k.c.Objects {
		o := &k.c.Objects[i]
		if int(o.Type) >= len(typeNames) || o.Type == 0 {
			k.fail(RuleObject, o.Line, fmt.Sprintf("object %q", bounded(o.ID)), "its type is none of %s", typeList())
			continue
		}
		k.objectText(o)
		k.objectFields(o)
		measurable := k.c.Source.Kind == SourceLinux && k.objectUnits(o, units)
		if o.ID != "" {
			if first, ok := seen[keyOf(o)]; ok {
				k.failPair(RuleObjectTwice, o.Line, subject(o), "the first", first.Line, "it is given twice")
			} else {
				seen[keyOf(o)] = o
			}
		}
		p := k.objectPolicy(o, defaults)
		if p != nil && measurable && o.CollectStats {
			if def := k.policyDef[p.ID]; def != nil && k.rows.collects(def) {
				k.objectRecord(o, p, def)
			}
		}
	}
}

// subject names an object in a message, also if its id is unusable.
func subject(o *Object) string {
	if !idText(o.ID) || o.Service != "" && !idText(o.Service) || o.Owner != "" && !idText(o.Owner) {
		return fmt.Sprintf("%s %q", o.Type.Object(), bounded(o.ID))
	}
	return o.String()
}

// idText tells whether s can be an id.
func idText(s string) bool {
	return s != "" && len(s) <= MaxText && printable(s) && strings.TrimSpace(s) == s
}

func (k *checker) objectText(o *Object) {
	for _, f := range []struct {
		what, text     string
		bad, mandatory bool
	}{
		{"id", o.ID, o.bad.has(badID), true},
		{"service", o.Service, o.bad.has(badService), o.Type == Access},
		{"owner", o.Owner, o.bad.has(badOwner), o.Type == SAA},
	} {
		switch {
		case f.bad:
		case f.text == "" && f.mandatory:
			k.fail(RuleObject, o.Line, subject(o), "it has no %s", f.what)
		case f.text != "" && !idText(f.text):
			k.fail(RuleObject, o.Line, subject(o), "%s %q is not up to %d printable ASCII characters without spaces around them", f.what, bounded(f.text), MaxText)
		}
	}
}

// objectFields checks the fields that only some types have, and fills in
// defaults.
func (k *checker) objectFields(o *Object) {
	if o.Service != "" && o.Type != Access && o.Type != SDP {
		k.fail(RuleObjectFields, o.Line, subject(o), "it cannot have a service")
	}
	if o.Owner != "" && o.Type != SAA {
		k.fail(RuleObjectFields, o.Line, subject(o), "it cannot have an owner")
	}
	if int(o.CounterMode) >= len(modeNames) || o.CounterMode != 0 && o.Type != Access && o.Type != AccessPort {
		k.fail(RuleObjectFields, o.Line, subject(o), "it cannot have the counter-mode %s", o.CounterMode)
	}
	hasMeters := o.Type == Access || o.Type == AccessPort || o.Type == NetworkIf
	k.objectCount(o, "meters", &o.Meters, o.bad.has(badMeters), hasMeters, defMeters, MaxMeters)
	k.objectCount(o, "egress-meters", &o.EgressMeters, o.bad.has(badEgress), o.Type == Access, 0, MaxEgress)
	k.objectCount(o, "queues", &o.Queues, o.bad.has(badQueues), o.Type == AccessPort || o.Type == Network, defQueues, MaxQueues)
}

func (k *checker) objectCount(o *Object, key string, n *int, bad, has bool, def, most int) {
	switch {
	case bad:
	case !has:
		if *n != 0 {
			k.fail(RuleObjectFields, o.Line, subject(o), "it cannot have %s", key)
		}
	case *n == 0:
		*n = def
	case *n < 1 || *n > most:
		k.fail(RuleObjectFields, o.Line, subject(o), "%s %d is outside 1–%d", key, *n, most)
	}
}

// objectPolicy checks the policy of an object and returns it, nil if there is
// none or a wrong one.
func (k *checker) objectPolicy(o *Object, defaults map[Type]*AccountingPolicy) *AccountingPolicy {
	p := defaults[o.Type]
	if o.bad.has(badPolicy) {
		return nil
	}
	if o.Policy != 0 {
		if p = k.policies[o.Policy]; p == nil {
			k.fail(RuleObjectPolicy, o.Line, subject(o), "there is no accounting-policy %d", o.Policy)
			return nil
		}
		if p.Type != 0 && p.Type != o.Type {
			k.failPair(RuleObjectType, o.Line, subject(o), policyName(p.ID), p.Line, "%s is of type %s; %s %s takes one of type %s", policyName(p.ID), p.Type, article(o.Type), o.Type.Object(), o.Type)
			return nil
		}
	}
	if o.Type != SDP || o.Service == "" || p == nil {
		return p
	}
	if def := k.policyDef[p.ID]; def != nil && k.rows.collects(def) && !k.rows.collectsBinding(def) {
		k.failPair(RuleObjectType, o.Line, subject(o), policyName(p.ID), p.Line, "record %s of %s has nothing about SDP bindings", def.Name, policyName(p.ID))
		return nil
	}
	return p
}

func article(t Type) string {
	if t == Access || t == SDP || t == AccessPort || t == SAA {
		return "an"
	}
	return "a"
}
