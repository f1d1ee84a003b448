package record

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// baselineTable is what the guides say of the 21 records of the 7210 SAS, and
// what follows from them, written down a second time and by hand: type, number,
// name and default interval, then per row set its sub-record, scope, counter
// mode and fields.
const baselineTable = `
access 1 service-ingress-octets 5
  sio, per meter, in-out-profile-count: svc sap mId iof oof
  sio, per SAP: svc sap ioo
  sio, per meter, forward-drop-count: svc sap mId of od
access 2 service-egress-octets 5
  seo, per SAP: svc sap eof
  seo, per SAP egress meter: svc sap mId of od
access 3 service-ingress-packets 5
  sip, per meter, in-out-profile-count: svc sap mId ipf opf
  sip, per SAP: svc sap ipo
  sip, per meter, forward-drop-count: svc sap mId pf pd
access 4 service-egress-packets 5
  sep, per SAP: svc sap epf
  sep, per SAP egress meter: svc sap mId pf pd
access 10 combined-service-ingress 5
  cmSipo, per meter, in-out-profile-count: svc sap mId ipf opf iof oof
  cmSipo, per SAP: svc sap ipo ioo
  cmSipo, per meter, forward-drop-count: svc sap mId pf pd of od
access 13 complete-service-ingress-egress 5
  cpSipo, per meter, in-out-profile-count: svc sap mId ipf opf iof oof
  cpSipo, per SAP: svc sap ipo ioo
  cpSipo, per meter, forward-drop-count: svc sap mId pf pd of od
  cpSepo, per SAP: svc sap epf eof
  cpSepo, per SAP egress meter: svc sap mId pf pd of od
accessport 72 access-egress-octets 5
  aeo, per queue: pId mId of od
accessport 73 access-egress-packets 5
  aep, per queue: pId mId pf pd
accessport 74 combined-access-egress 5
  aeo, per queue: pId mId of od
  aep, per queue: pId mId pf pd
network 5 network-ingress-octets 15
  nio, per queue: port qid iof iod oof ood
network 6 network-egress-octets 15
  neo, per queue: port qid iof iod oof ood
network 7 network-ingress-packets 15
  nip, per queue: port qid ipf ipd opf opd
network 8 network-egress-packets 15
  nep, per queue: port qid ipf ipd opf opd
network 11 combined-network-ing-egr-octets 15
  cmNio, per queue: port qid iof iod oof ood
  cmNeo, per queue: port qid iof iod oof ood
network 75 combined-network-egress 15
  cmNepo, per queue: port qid ipf ipd opf opd iof iod oof ood
networkIf 65 network-interface-ingress-octets 15
  nifio, per meter: ifName mId iof oof
networkIf 67 network-interface-ingress-packets 15
  nifip, per meter: ifName mId ipf opf
networkIf 69 combined-network-interface-ingress 15
  cmNifipo, per meter: ifName mId ipf opf iof oof
sdp 14 combined-sdp-ingress-egress 5
  cmSdpipo, per SDP: sdp tpf tpd tof tod
  cmSdpepo, per SDP: sdp tpf tof
sdp 15 complete-sdp-ingress-egress 5
  cmSdpipo, per SDP: sdp tpf tpd tof tod
  cmSdpepo, per SDP: sdp tpf tof
  cpSdpipo, per SDP binding: svc sdp tpf tpd tof tod
  cpSdpepo, per SDP binding: svc sdp tpf tof
saa 32 saa 5
  saa, per test: tmd own tst
  png, per run: own tst rid trr mnr mxr avr rss pbr spb mnt mxt avt
`

// The catalogue has exactly these 21 records on the 7210 SAS. The intervals of
// accessport and networkIf records, which no document gives, are marked as
// ours.
func TestBaselineRecords(t *testing.T) {
	var b strings.Builder
	b.WriteByte('\n')
	for _, d := range Builtin().Definitions() {
		sets := d.On("7210 SAS")
		if len(sets) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s %d %s %d\n", d.PolicyType, d.Number, d.Name, d.DefaultInterval/time.Minute)
		for _, s := range sets {
			fmt.Fprintf(&b, "  %s, %s", s.Sub, s.Scope)
			if s.CounterMode != "" {
				b.WriteString(", " + s.CounterMode)
			}
			b.WriteByte(':')
			for _, f := range s.Fields {
				b.WriteString(" " + f.Abbrev)
			}
			b.WriteByte('\n')
		}
		ours := d.PolicyType == "accessport" || d.PolicyType == "networkIf"
		if strings.Contains(d.intervalText(), "ours") != ours {
			t.Errorf("%s: default interval %s", d.Name, d.intervalText())
		}
	}
	if got := b.String(); got != baselineTable {
		t.Errorf("the catalogue has\n%s\nthe guides have\n%s", got, baselineTable)
	}
	if n := strings.Count(b.String(), "\n") - strings.Count(b.String(), "\n ") - 1; n != 21 {
		t.Errorf("%d records, want 21", n)
	}
}
