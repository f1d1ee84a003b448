package classic

import (
	"fmt"
	"slices"

	"acctpull/policy"
	"acctpull/record"
)

// problem says why a line is left out.
type problem struct {
	why  Why
	note string
}

func unknown(format string, a ...any) *problem {
	return &problem{NotUnderstood, fmt.Sprintf(format, a...)}
}
func noMeaning(note string) *problem { return &problem{NoMeaning, note} }

// command executes one command in the innermost context. A command that opens a
// context pushes it and returns the words behind it, which are commands in it.
func (p *importer) command(l *line, words []word, no bool) (rest []word, opened bool, _ *problem) {
	if len(words) == 0 {
		return nil, false, unknown("no what?")
	}
	f := p.top()
	if f.file != nil {
		f.file.lines = append(f.file.lines, Line{Number: l.number, Text: bounded(l.text), Block: l.number})
	}
	name, args := words[0], words[1:]
	if name.quoted {
		return nil, false, unknown("")
	}
	switch f.kind {
	case inRoot:
		return p.root(l, name.text, args, no)
	case inSystem:
		return nil, false, p.systemCommand(l, name.text, args, no)
	case inLog:
		return p.logCommand(l, name.text, args, no)
	case inFile:
		return nil, false, p.fileCommand(f.file, name.text, args, no)
	case inPolicy:
		return nil, false, p.policyCommand(l, f.policy, name.text, args, no)
	case inEvents:
		return nil, false, eventCommand(l, f.log, name.text, args, no)
	case inServices:
		return p.servicesCommand(l, name.text, args, no)
	case inService, inInterface:
		return p.serviceCommand(l, f, name.text, args, no)
	case inRouter:
		if name.text == "interface" && len(args) > 0 && !no {
			return p.open(l, args[1:], frame{kind: inObject, object: p.object(l, policy.NetworkIf, args[0].text, "")})
		}
		return nil, false, noMeaning("router is read for its interfaces only")
	case inSAA:
		if name.text == "test" && len(args) > 0 && !no {
			owner, rest := defaultOwner, args[1:]
			if len(rest) > 1 && rest[0].is("owner") {
				owner, rest = rest[1].text, rest[2:]
			}
			return p.open(l, rest, frame{kind: inObject, object: p.object(l, policy.SAA, args[0].text, owner)})
		}
		return nil, false, unknown("")
	case inPort:
		if name.text == "ethernet" && !no {
			return p.open(l, args, frame{kind: inEthernet, port: f.port, ethernet: p.ethernet(l, f.port)})
		}
		return nil, false, p.other(name.text, portWords)
	case inEthernet:
		return p.ethernetCommand(l, f, name.text, args, no)
	case inObject, inStats:
		return p.objectCommand(l, f, name.text, args, no)
	}
	return nil, false, unknown("")
}

// open pushes a context.
func (p *importer) open(l *line, rest []word, f frame) ([]word, bool, *problem) {
	p.push(l, f)
	return rest, true, nil
}

// other is the verdict on a command that sets nothing of ours.
func (p *importer) other(name string, known []string) *problem {
	if slices.Contains(known, name) {
		return noMeaning("")
	}
	return unknown("")
}

func (p *importer) root(l *line, name string, args []word, no bool) ([]word, bool, *problem) {
	contexts := map[string]kind{"configure": inRoot, "log": inLog, "service": inServices, "system": inSystem, "router": inRouter, "saa": inSAA}
	if k, ok := contexts[name]; ok && !no {
		if k == inRouter && len(args) > 0 && args[0].is("Base") {
			args = args[1:]
		}
		return p.open(l, args, frame{kind: k})
	}
	switch {
	case name == "port" && len(args) > 0 && !no:
		return p.open(l, args[1:], frame{kind: inPort, port: args[0].text})
	case slices.Contains(logWords, name) || slices.Contains(ourLogWords, name):
		return p.logCommand(l, name, args, no) // what info prints in configure log
	case slices.Contains(serviceKinds, name) || slices.Contains(servicesWords, name) || name == "sdp":
		return p.servicesCommand(l, name, args, no)
	}
	return nil, false, p.other(name, rootWords)
}

func (p *importer) systemCommand(l *line, name string, args []word, no bool) *problem {
	if name != "name" || len(args) != 1 || no {
		return noMeaning("system is read for its name only")
	}
	p.system, p.sysLine = args[0].text, *l
	return nil
}

// headEnd finds where the head of a context ends: behind "create", or behind n
// words.
func headEnd(args []word, n int) int {
	if i := slices.IndexFunc(args, func(w word) bool { return w.is("create") }); i >= 0 {
		return i + 1
	}
	for n+1 < len(args) && (args[n].is("customer") || args[n].is("vpn") || args[n].is("name")) {
		n += 2
	}
	return min(n, len(args))
}

func (p *importer) servicesCommand(l *line, name string, args []word, no bool) ([]word, bool, *problem) {
	isService := slices.Contains(serviceKinds, name)
	switch {
	case (isService || name == "sdp") && len(args) == 0:
		return nil, false, unknown("it has no id")
	case isService && no:
		for key := range p.objects {
			if key.t != policy.SAA && key.in == args[0].text {
				delete(p.objects, key)
			}
		}
		return nil, false, nil
	case isService:
		return p.open(l, args[headEnd(args, 1):], frame{kind: inService, service: args[0].text})
	case name == "sdp" && no:
		delete(p.objects, objectKey{policy.SDP, args[0].text, ""})
		return nil, false, nil
	case name == "sdp":
		end := 1
		if len(args) > 1 && slices.ContainsFunc([]string{"mpls", "gre", "l2tpv3", "gre-eth-bridged"}, args[1].is) {
			end = 2
		}
		return p.open(l, args[headEnd(args, end):], frame{kind: inObject, object: p.object(l, policy.SDP, args[0].text, "")})
	}
	return nil, false, p.other(name, servicesWords)
}

func (p *importer) serviceCommand(l *line, f *frame, name string, args []word, no bool) ([]word, bool, *problem) {
	types := map[string]policy.Type{"sap": policy.Access, "spoke-sdp": policy.SDP, "mesh-sdp": policy.SDP}
	t, ok := types[name]
	switch {
	case ok && len(args) == 0:
		return nil, false, unknown("it has no id")
	case ok && no:
		delete(p.objects, objectKey{t, args[0].text, f.service})
		return nil, false, nil
	case ok:
		return p.open(l, args[headEnd(args, 1):], frame{kind: inObject, object: p.object(l, t, args[0].text, f.service)})
	case name == "interface" && len(args) > 0 && !no:
		return p.open(l, args[headEnd(args, 1):], frame{kind: inInterface, service: f.service})
	}
	return nil, false, p.other(name, serviceWords)
}

// defaultOwner owns the SAA tests that name no owner.
const defaultOwner = "TiMOS CLI"

// object returns the object of a context, which is made when it is first seen.
// In is its service, or the owner of a test.
func (p *importer) object(l *line, t policy.Type, id, in string) *object {
	key := objectKey{t, id, in}
	o := p.objects[key]
	if o == nil {
		o = &object{Object: policy.Object{Type: t, ID: id, Line: l.number}}
		if t == policy.SAA {
			o.Owner, o.CollectStats = in, true // a test with a policy is collected
		} else {
			o.Service = in
		}
		p.objects[key] = o
	}
	return o
}

// ethernet returns the ethernet context of a port.
func (p *importer) ethernet(l *line, port string) *ethernet {
	e := p.ports[port]
	if e == nil {
		e = &ethernet{direct: object{Object: policy.Object{ID: port, Line: l.number}}}
		p.ports[port] = e
	}
	return e
}

func (p *importer) ethernetCommand(l *line, f *frame, name string, args []word, no bool) ([]word, bool, *problem) {
	switch {
	case name == "mode" && len(args) == 1:
		f.ethernet.mode = args[0].text
		return nil, false, noMeaning("")
	case name == "access" && !no:
		return p.open(l, args, frame{kind: inObject, port: f.port, object: p.object(l, policy.AccessPort, f.port, "")})
	case name == "network" && !no:
		return p.open(l, args, frame{kind: inObject, port: f.port, object: p.object(l, policy.Network, f.port, "")})
	}
	if done, bad := accounting(l, &f.ethernet.direct, name, args, no); done {
		if bad == nil && f.ethernet.first.number == 0 {
			f.ethernet.first = *l
		}
		return nil, false, bad
	}
	return nil, false, p.other(name, portWords)
}

// resolvePorts finds the type of the ports that have their accounting directly
// below ethernet: that of their mode, else that of the record of their policy.
func (p *importer) resolvePorts() {
	for _, e := range p.ports {
		if !e.direct.named {
			continue
		}
		t := map[string]policy.Type{"access": policy.AccessPort, "network": policy.Network}[e.mode]
		if t == 0 {
			t = p.typeOf(e.direct.Policy)
		}
		if t == 0 {
			p.leave(&e.first, NotUnderstood, "port "+bounded(e.direct.ID)+" is neither an access port nor a network port, by its mode or its policy")
			continue
		}
		o := e.direct
		o.Type = t
		key := objectKey{t, o.ID, ""}
		if p.objects[key] == nil || !p.objects[key].named {
			p.objects[key] = &o
		}
	}
}

// typeOf returns the type of the record of a policy, or 0.
func (p *importer) typeOf(id int) policy.Type {
	a := p.policies[id]
	if a == nil {
		return 0
	}
	def, ok := record.Builtin().Lookup(a.Record)
	if !ok {
		return 0
	}
	t, _ := policy.ParseType(def.PolicyType)
	return t
}

// accounting reads the two commands that tie an object to accounting.
func accounting(l *line, o *object, name string, args []word, no bool) (done bool, _ *problem) {
	switch name {
	case "accounting-policy":
		if no {
			o.Policy, o.named = 0, true
			return true, nil
		}
		n, rest, bad := id(args)
		if bad != nil || len(rest) > 0 {
			return true, unknown("accounting-policy takes the number of one")
		}
		o.Policy, o.named = n, true
		return true, nil
	case "collect-stats":
		if o.Type == policy.SAA {
			return false, nil
		}
		if len(args) > 0 {
			return true, unknown("collect-stats takes no value")
		}
		o.CollectStats, o.collect, o.named = !no, true, true
		return true, nil
	}
	return false, nil
}

func (p *importer) objectCommand(l *line, f *frame, name string, args []word, no bool) ([]word, bool, *problem) {
	o := f.object
	if done, bad := accounting(l, o, name, args, no); done {
		return nil, false, bad
	}
	switch {
	case name == "counter-mode" && (o.Type == policy.Access || o.Type == policy.AccessPort):
		if no {
			o.CounterMode = policy.InOutProfile
			return nil, false, nil
		}
		if len(args) == 1 {
			if m, ok := policy.ParseCounterMode(args[0].text); ok {
				o.CounterMode, o.mode = m, *l
				return nil, false, nil
			}
		}
		return nil, false, unknown("counter-mode is %s or %s", policy.InOutProfile, policy.ForwardDrop)
	case slices.Contains([]string{"ingress", "egress", "statistics"}, name) && !no:
		return p.open(l, args, frame{kind: inStats, port: f.port, object: o})
	case name == "port" && o.Type == policy.NetworkIf && f.kind == inObject:
		o.port = ""
		if len(args) > 0 && !no {
			o.port = args[0].text
		}
		if p.o.link(o.port) != "" {
			return nil, false, nil
		}
	case name == "uplink" && o.Type == policy.AccessPort && f.kind == inObject && !no:
		// The uplink of a device in access-uplink mode is a network port.
		return p.open(l, args, frame{kind: inObject, port: f.port, object: p.object(l, policy.Network, f.port, "")})
	}
	if o.Type == policy.SAA {
		return nil, false, p.other(name, testWords)
	}
	return nil, false, p.other(name, objectWords)
}
