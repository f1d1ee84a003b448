package classic

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"acctpull/policy"
)

// Print returns the text that "info" would print for a configuration, and what
// of the configuration such text cannot say: the source, links, numbers of
// meters and queues, and locations that are no flash card. Import of the text
// with the same Options gives the same file-ids, policies and objects, in the
// order of Import.
func Print(c policy.Config, o Options) (text []byte, lost []string) {
	p := &printer{o: o}
	p.lose(c)
	if c.System != "" {
		p.block("system", func() { p.line("name %s", quote(c.System)) })
	}
	p.log(&c)
	objects := slices.Clone(c.Objects)
	slices.SortStableFunc(objects, compareObjects)
	p.ports(objects)
	p.interfaces(objects)
	p.services(objects)
	p.tests(objects)
	return p.b.Bytes(), p.lost
}

// printer writes lines that are indented by their depth.
type printer struct {
	o     Options
	b     bytes.Buffer
	depth int
	lost  []string
}

func (p *printer) line(format string, a ...any) {
	for range p.depth {
		p.b.WriteString("    ")
	}
	fmt.Fprintf(&p.b, format, a...)
	p.b.WriteByte('\n')
}

// block prints a context and what is in it.
func (p *printer) block(head string, body func()) {
	p.line("%s", head)
	p.depth++
	body()
	p.depth--
	p.line("exit")
}

// flag prints a command or its opposite.
func (p *printer) flag(on bool, command string) {
	if on {
		p.line("%s", command)
	} else {
		p.line("no %s", command)
	}
}

// lose notes what the classic text has no words for.
func (p *printer) lose(c policy.Config) {
	if s := c.Source; s.Kind != "" || s.Namespace != "" || s.Seed != 0 || s.Idle != 0 {
		p.lost = append(p.lost, "the source")
	}
	if c.System != "" && !slices.ContainsFunc(c.Policies, func(a policy.AccountingPolicy) bool { return a.IncludeSystemInfo }) {
		p.lost = append(p.lost, "the system name: no policy has include-system-info")
	}
	for _, a := range c.Policies {
		if a.LogMemorySize != 0 {
			p.lost = append(p.lost, fmt.Sprintf("the log-memory-size of accounting-policy %d", a.ID))
		}
		if a.Type != 0 && a.Record == "" {
			p.lost = append(p.lost, fmt.Sprintf("the type of accounting-policy %d, which has no record", a.ID))
		}
	}
	links, sizes := 0, 0
	for i := range c.Objects {
		if o := &c.Objects[i]; o.Link != "" {
			links++
		}
		if o := &c.Objects[i]; o.Meters > 1 || o.EgressMeters > 0 || o.Queues != 0 && o.Queues != 8 {
			sizes++
		}
	}
	if links > 0 {
		p.lost = append(p.lost, fmt.Sprintf("the links of %s", objectCount(links)))
	}
	if sizes > 0 {
		p.lost = append(p.lost, fmt.Sprintf("the numbers of meters and queues of %s", objectCount(sizes)))
	}
}

func (p *printer) log(c *policy.Config) {
	if len(c.FileIDs)+len(c.Policies) == 0 {
		return
	}
	p.block("log", func() {
		for i := range c.FileIDs {
			p.file(&c.FileIDs[i])
		}
		for i := range c.Policies {
			p.policy(&c.Policies[i])
		}
	})
}

func (p *printer) file(f *policy.FileID) {
	p.block(fmt.Sprintf("file-id %d", f.ID), func() {
		p.description(f.Description)
		p.location(f)
		switch {
		case f.Rollover != 0 && f.Retention != 0:
			p.line("rollover %d retention %d", f.Rollover/time.Minute, f.Retention/time.Hour)
		case f.Rollover != 0:
			p.line("rollover %d", f.Rollover/time.Minute)
		case f.Retention != 0:
			p.line("retention %d", f.Retention/time.Hour)
		}
	})
}

// location prints the flash cards of a file-id.
func (p *printer) location(f *policy.FileID) {
	cards := ""
	for _, dir := range f.Places() {
		card, ok := p.o.card(dir)
		if !ok {
			p.lost = append(p.lost, fmt.Sprintf("the location %q of file-id %d, which is no flash card", dir, f.ID))
			return
		}
		cards += " " + card
	}
	p.line("location%s", cards)
}

func (p *printer) description(s string) {
	if s != "" {
		p.line("description %s", `"`+escape.Replace(s)+`"`)
	}
}

func (p *printer) policy(a *policy.AccountingPolicy) {
	p.block(fmt.Sprintf("accounting-policy %d", a.ID), func() {
		p.description(a.Description)
		if a.Record != "" {
			p.line("record %s", quote(string(a.Record)))
		}
		if a.CollectionInterval != 0 {
			p.line("collection-interval %d", a.CollectionInterval/time.Minute)
		}
		if a.To != 0 {
			p.line("to %s", a.To)
		}
		if a.Default {
			p.line("default")
		}
		if a.Align {
			p.line("align")
		}
		if a.IncludeSystemInfo {
			p.line("include-system-info")
		}
		if a.LogMemory {
			p.line("log-memory")
		}
		p.flag(a.Shutdown, "shutdown")
	})
}

// object prints what an object says of its accounting.
func (p *printer) object(head string, o *policy.Object) {
	p.block(head, func() {
		if o.CounterMode != policy.InOutProfile {
			p.block("statistics", func() {
				p.block("ingress", func() { p.line("counter-mode %s", o.CounterMode) })
			})
		}
		if o.Policy != 0 {
			p.line("accounting-policy %d", o.Policy)
		}
		p.flag(o.CollectStats, "collect-stats")
	})
}

func (p *printer) ports(objects []policy.Object) {
	heads := map[policy.Type]string{policy.AccessPort: "access", policy.Network: "network"}
	for i := range objects {
		o := &objects[i]
		if head := heads[o.Type]; head != "" {
			p.block("port "+quote(o.ID), func() {
				p.block("ethernet", func() { p.object(head, o) })
			})
		}
	}
}

func (p *printer) interfaces(objects []policy.Object) {
	mine := only(objects, func(o *policy.Object) bool { return o.Type == policy.NetworkIf })
	if len(mine) == 0 {
		return
	}
	p.block("router", func() {
		for i := range mine {
			p.object("interface "+quote(mine[i].ID), &mine[i])
		}
	})
}

// services prints SDPs, and SAPs and SDP bindings in their services. Whether a
// service is a vpls and a binding a spoke makes no difference to accounting.
func (p *printer) services(objects []policy.Object) {
	whole := only(objects, func(o *policy.Object) bool { return o.Type == policy.SDP && o.Service == "" })
	inside := only(objects, func(o *policy.Object) bool {
		return o.Type == policy.Access || o.Type == policy.SDP && o.Service != ""
	})
	if len(whole)+len(inside) == 0 {
		return
	}
	slices.SortStableFunc(inside, func(a, b policy.Object) int { return natural(a.Service, b.Service) })
	p.block("service", func() {
		for i := range whole {
			p.object("sdp "+quote(whole[i].ID)+" create", &whole[i])
		}
		for len(inside) > 0 {
			id, n := inside[0].Service, 0
			for n < len(inside) && inside[n].Service == id {
				n++
			}
			p.block("vpls "+quote(id)+" customer 1 create", func() {
				for i := range inside[:n] {
					o := &inside[i]
					head := "sap "
					if o.Type == policy.SDP {
						head = "spoke-sdp "
					}
					p.object(head+quote(o.ID)+" create", o)
				}
			})
			inside = inside[n:]
		}
	})
}

// tests prints SAA tests; a test with a policy is collected.
func (p *printer) tests(objects []policy.Object) {
	mine := only(objects, func(o *policy.Object) bool { return o.Type == policy.SAA })
	if len(mine) == 0 {
		return
	}
	p.block("saa", func() {
		for i := range mine {
			o := &mine[i]
			if o.Policy == 0 || !o.CollectStats {
				p.lost = append(p.lost, o.String()+", which is not collected")
				continue
			}
			p.block("test "+quote(o.ID)+" owner "+quote(o.Owner), func() { p.line("accounting-policy %d", o.Policy) })
		}
	})
}

func only(objects []policy.Object, keep func(*policy.Object) bool) []policy.Object {
	var out []policy.Object
	for i := range objects {
		if keep(&objects[i]) {
			out = append(out, objects[i])
		}
	}
	return out
}

func objectCount(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}
