package classic

import "strings"

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
