package classic

import (
	"fmt"
	"slices"
	"strings"
	"time"

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

// id reads the number behind file-id or accounting-policy, and what may follow
// it.
func id(args []word) (n int, rest []word, _ *problem) {
	if len(args) == 0 {
		return 0, nil, unknown("it has no number")
	}
	n, ok := number(args[0])
	if !ok {
		return 0, nil, unknown("%q is not its number", bounded(args[0].text))
	}
	rest = args[1:]
	if len(rest) > 1 && rest[0].is("name") {
		rest = rest[2:]
	}
	if len(rest) > 0 && rest[len(rest)-1].is("create") {
		rest = rest[:len(rest)-1]
	}
	return n, rest, nil
}

func (p *importer) logCommand(l *line, name string, args []word, no bool) ([]word, bool, *problem) {
	switch name {
	case "file-id":
		n, rest, bad := id(args)
		switch {
		case bad != nil:
			return nil, false, bad
		case no:
			return nil, false, p.deleteFile(n)
		}
		f := p.files[n]
		if f == nil {
			f = &fileID{FileID: policy.FileID{ID: n, Location: p.o.Card(DefaultCard), Line: l.number}}
			p.files[n] = f
		}
		f.lines = append(f.lines, Line{Number: l.number, Text: bounded(l.text), Block: l.number})
		return p.open(l, rest, frame{kind: inFile, file: f})
	case "accounting-policy":
		n, rest, bad := id(args)
		switch {
		case bad != nil:
			return nil, false, bad
		case no:
			return nil, false, p.deletePolicy(n)
		}
		a := p.policies[n]
		if a == nil {
			a = &accountingPolicy{AccountingPolicy: policy.AccountingPolicy{ID: n, Shutdown: true, Line: l.number}}
			p.policies[n] = a
		}
		if len(rest) > 0 && rest[0].is("interval") { // older releases
			if bad := number1(rest, "minutes", func(n int) { a.CollectionInterval = time.Duration(n) * time.Minute }); bad != nil {
				return nil, false, bad
			}
			rest = rest[2:]
		}
		return p.open(l, rest, frame{kind: inPolicy, policy: a})
	case "log-id":
		if len(args) == 0 {
			return nil, false, unknown("it has no number")
		}
		key := args[0].text
		if no {
			delete(p.logs, key)
			return nil, false, noMeaning("event logs are not ours")
		}
		e := p.logs[key]
		if e == nil {
			e = &eventLog{id: key}
			p.logs[key] = e
		}
		p.leave(l, NoMeaning, "event logs are not ours")
		return p.open(l, nil, frame{kind: inEvents, log: e})
	}
	return nil, false, p.other(name, logWords)
}

// number1 reads the number in args[1], after the keyword in args[0].
func number1(args []word, unit string, set func(int)) *problem {
	if len(args) < 2 {
		return unknown("%s has no value", args[0].text)
	}
	n, ok := number(args[1])
	if !ok {
		return unknown("%q is not a number of %s", bounded(args[1].text), unit)
	}
	set(n)
	return nil
}

func (p *importer) deleteFile(n int) *problem {
	for _, a := range p.policies {
		if int(a.To) == n {
			return &problem{Refused, fmt.Sprintf("accounting-policy %d writes to file-id %d, in line %d", a.ID, n, a.toLine)}
		}
	}
	for _, l := range p.logs {
		if l.file == n {
			return &problem{Refused, fmt.Sprintf("log-id %s writes to file-id %d, in line %d", bounded(l.id), n, l.toLine)}
		}
	}
	if p.files[n] == nil {
		return &problem{Refused, fmt.Sprintf("there is no file-id %d", n)}
	}
	delete(p.files, n)
	return nil
}

func (p *importer) deletePolicy(n int) *problem {
	for _, o := range p.objects {
		if o.Policy == n {
			return &problem{Refused, fmt.Sprintf("%s uses accounting-policy %d, in line %d", bounded(o.String()), n, o.Line)}
		}
	}
	if p.policies[n] == nil {
		return &problem{Refused, fmt.Sprintf("there is no accounting-policy %d", n)}
	}
	delete(p.policies, n)
	return nil
}

func (p *importer) fileCommand(f *fileID, name string, args []word, no bool) *problem {
	switch name {
	case "description":
		return text(args, no, &f.Description)
	case "location":
		return p.location(f, args, no)
	case "rollover":
		if no {
			f.Rollover = 0
			return nil
		}
		all := append([]word{{text: name}}, args...)
		if bad := number1(all, "minutes", func(n int) { f.Rollover = time.Duration(n) * time.Minute }); bad != nil {
			return bad
		}
		if len(all) > 2 {
			if !all[2].is("retention") || len(all) != 4 {
				return unknown("after the rollover only retention may follow")
			}
			return number1(all[2:], "hours", func(n int) { f.Retention = time.Duration(n) * time.Hour })
		}
		return nil
	case "retention":
		if no {
			f.Retention = 0
			return nil
		}
		return number1(append([]word{{text: name}}, args...), "hours", func(n int) { f.Retention = time.Duration(n) * time.Hour })
	}
	return unknown("")
}

// location takes a flash card, and with a second one a backup.
func (p *importer) location(f *fileID, args []word, no bool) *problem {
	if no {
		f.Location, f.BackupLocation = p.o.Card(DefaultCard), ""
		return nil
	}
	if len(args) == 0 || len(args) > 2 {
		return unknown("location takes one or two flash cards")
	}
	for _, a := range args {
		if _, ok := p.o.Cards[a.text]; !ok && !isCard(a.text) {
			return unknown("%q is not a flash card", bounded(a.text))
		}
	}
	f.Location, f.BackupLocation = p.o.Card(args[0].text), ""
	if len(args) == 2 {
		f.BackupLocation = p.o.Card(args[1].text)
	}
	return nil
}

// text takes one text.
func text(args []word, no bool, v *string) *problem {
	switch {
	case no:
		*v = ""
	case len(args) != 1:
		return unknown("one text is expected")
	default:
		*v = args[0].text
	}
	return nil
}

func (p *importer) policyCommand(l *line, a *accountingPolicy, name string, args []word, no bool) *problem {
	flags := map[string]*bool{"default": &a.Default, "align": &a.Align, "include-system-info": &a.IncludeSystemInfo, "log-memory": &a.LogMemory, "shutdown": &a.Shutdown}
	if flag, ok := flags[name]; ok {
		if len(args) > 0 {
			return unknown("%s takes no value", name)
		}
		*flag = !no
		return nil
	}
	switch name {
	case "description":
		return text(args, no, &a.Description)
	case "record":
		return text(args, no, (*string)(&a.Record))
	case "collection-interval":
		if no {
			a.CollectionInterval = 0
			return nil
		}
		return number1(append([]word{{text: name}}, args...), "minutes", func(n int) { a.CollectionInterval = time.Duration(n) * time.Minute })
	case "to":
		if no {
			a.To = 0
			return nil
		}
		to, bad := destination(args)
		if bad == nil {
			a.To, a.toLine = to, l.number
		}
		return bad
	}
	return unknown("")
}

// destination reads "file 11" and "no-file".
func destination(args []word) (policy.Destination, *problem) {
	if len(args) == 1 && args[0].is("no-file") {
		return policy.NoFile, nil
	}
	if len(args) == 2 && (args[0].is("file") || args[0].is("file-id")) {
		if n, ok := number(args[1]); ok {
			return policy.Destination(n), nil
		}
	}
	return 0, unknown("it is neither file with a number nor no-file")
}

// eventCommand looks for the file of an event log.
func eventCommand(l *line, e *eventLog, name string, args []word, no bool) *problem {
	if name == "to" {
		e.file = 0
		if to, bad := destination(args); bad == nil && to > 0 && !no {
			e.file, e.toLine = int(to), l.number
		}
	}
	return noMeaning("event logs are not ours")
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

// The words that Import knows and has no use for, by where they stand. A word
// that is in none of them is reported as not understood.
var (
	serviceKinds = strings.Fields("vpls epipe ies vprn apipe cpipe fpipe ipipe tls")
	ourLogWords  = strings.Fields("file-id accounting-policy log-id")
	rootWords    = strings.Fields(`aaa anysec application-assurance bfd bmp bridge call-trace card cflowd chassis connection-profile cron
		debug dot1x eth-cfm eth-ring fad fwd-path-ext filter fpe group-encryption ipsec isa lag lldp macsec mcac mcast mcast-management mda mirror
		multicast-management oam oam-pm oam-test openflow open-flow password policy-options port-policy port-xc ptp python qos redundancy
		script-control security sfm snmp subscriber-mgmt sync-if-timing test-oam tod-suite vrrp vsm xiom`)
	logWords = strings.Fields(`app-route-notifications event-control event-damping event-handling event-trigger events filter
		route-preference services-all-events snmp-trap-group syslog throttle-rate`)
	servicesWords = strings.Fields(`customer eth-tunnel md-auto-id mac-list mpls mrp oper-group pbb proxy-arp-nd pw-routing pw-template
		sdp-group system system-name tunnel vpn`)
	serviceWords = strings.Fields(`allow-l2pt-xstp-bpdu autonomous-system backbone-vpls bgp bgp-ad bgp-evpn bgp-vpws bpdu-translation bundle
		default-gtw description disable-aging disable-learning discard-unknown discard-unknown-source dhcp ecmp endpoint eth-cfm eth-tunnel
		fdb-table-high-wmark fdb-table-low-wmark fdb-table-size g8032-ctrl group-interface igmp igmp-snooping interface load-balancing
		local-age local-routes-domain-id mac-move mac-protect mac-subnet-length mcast-ipv4-address mfib-table-high-wmark
		mfib-table-low-wmark mfib-table-size mld-snooping mrp multicast-info-policy mvr ospf pim pim-snooping propagate-mac-flush provider-tunnel
		proxy-arp proxy-nd pw-port rip route-distinguisher router-id route-target send-flush-on-failure service-mtu service-name shutdown
		source-address split-horizon-group static-route static-route-entry stp subscriber-interface temp-flooding vpn vrf-export vrf-import
		vrf-target vsi-export vsi-import vxlan isis auto-bind-tunnel auto-bind snmp address secondary mac ip-mtu icmp arp-timeout
		arp-populate static-arp vpls ipv6 loopback unnumbered delayed-enable local-proxy-arp proxy-arp-policy remote-proxy-arp
		tos-marking-state urpf-check vrrp allow-directed-broadcasts bfd cflowd-parameters host-connectivity-verify lag-link-map-profile ptp-hw-assist`)
	testWords = strings.Fields(`continuous description jitter-event latency-event loss-event probe-history shutdown trap-gen type`)
	portWords = strings.Fields(`access autonegotiate clock-config connector crc-monitor ddm-events description dot1x down-on-internal-error
		down-when-looped duplex dwdm efm-oam egress egress-rate egress-scheduler-override egress-scheduler-policy elmi encap-type eth-cfm
		eth-tunnel ethernet frame-based-accounting group-encryption hold-time hsmda-scheduler-overrides hybrid-buffer-allocation ingress
		ingress-rate ipv6 lacp-tunnel lldp load-balancing-algorithm loopback mac mac-auth min-frame-length minimum-frame-length modify-buffer-allocation-rate mode
		monitor-agg-egress-queue-stats mtu multicast-ingress network network-queue otu pbb-etype ptp-asymmetry ptp-hw-assist
		qinq-etype qos report-alarm rs-fec-mode sfp shutdown single-fiber speed split-horizon-group ssm statistics storm-control
		sonet-sdh symbol-monitor synce tdm transceiver util-stats-interval utilization xgig`)
	objectWords = strings.Fields(`accu-stats-policy acl address adv-config-policy adv-mtu-override agg-rate agg-rate-limit aggregate-meter-rate aggregate-policer anti-spoof app-profile
		arp-host arp-populate arp-reply-agent arp-timeout atm bandwidth bfd bgp-tunnel block-on-peer-fault bpdu-translation calling-station-id cem cflowd class-forwarding
		cflowd-parameters collect-stats-profile control-word cpu-protection def-mac-limit delayed-enable description dhcp dhcp6
		disable-aging disable-learning discard-unicast-source discard-unknown-source dist-cpu-protection drop-count-extra-vlan-tag-pkts
		entropy-label eth-cfm eth-tunnel ethernet fault-propagation-bmac far-end filter flow-label force-qinq-vc-forwarding
		force-vlan-vc-forwarding frame-based-accounting frame-relay hash-label host host-connectivity-verify hybrid-buffer icmp
		igmp-host-tracking igmp-snooping ignore-oper-down if-admin-state ipcp ipv6 ip-mtu keep-alive l2pt-termination lag-link-map-profile lag-per-link-hash
		ldp ldp-sync-timer limit-mac-move load-balancing local-age local-proxy-arp loopback lsp mac mac-pinning managed-vlan-list match-qinq-dot1p max-nbr-mac-addr
		metric meter-override mixed-lsp-mode mld-snooping mrp msap-defaults multi-service-site network-domain network-policy ntp-broadcast oper-group path-mtu pbb-etype
		policer-control-override policer-control-policy policer-override policers-hqos-manageable port precedence process-cpm-traffic-on-sap-down
		proxy-arp-policy ptp-hw-assist pw-path-id pw-status-signaling qinq-mark-top-only qos qos-route-lookup queue-group queue-group-redirect-list queue-override
		queue-policy remote-proxy-arp restrict-protected-src root-guard scheduler scheduler-override scheduler-policy secondary send-bvpls-flush shaper
		shared-queuing shutdown signaling source-address split-horizon-group sr-isis sr-ospf sr-te-lsp static-arp static-host static-isid static-mac
		stp strip-label sub-sla-mgmt tod-suite tos-marking-state transit-policy trigger-packet tunnel-far-end tunnel-selection-prefer
		tunnel-tagging uplink urpf-check use-broadcast-mac vc-label vc-type vccv-ping vlan-translation vlan-vc-tag vlan-vc-etype vpls-group vrrp wrr-policy
		allow-directed-broadcasts booking-factor access network pool admin-bw cli-preference egress-scheduler-policy static-ip unnumbered enable-ingress-stats enable-mac-accounting`)
)
