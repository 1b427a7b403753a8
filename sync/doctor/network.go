package doctor

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"net/url"
	"strings"
)

// routes are the networks to which the kernel has a way (/proc/net/route, /proc/net/ipv6_route),
// but the machine itself.
type routes []netip.Prefix

// network is how far this machine gets.
type network struct {
	known  bool
	routes routes
}

// readNetwork reads /proc/net/route and /proc/net/ipv6_route; without the former nothing is known.
func readNetwork(v4, v6 []byte) network { return network{v4 != nil, parseRoutes(v4, v6)} }

func parseRoutes(v4, v6 []byte) routes {
	var list routes
	for line := range strings.SplitSeq(string(v4), "\n") {
		if f := strings.Fields(line); len(f) >= 8 && f[0] != "lo" {
			dest, ok1 := hexIPv4(f[1])
			mask, ok2 := hexIPv4(f[7])
			if ok1 && ok2 {
				bits := 0
				for m := binary.BigEndian.Uint32(mask.AsSlice()); m != 0; m <<= 1 {
					bits++
				}
				list = append(list, netip.PrefixFrom(dest, bits))
			}
		}
	}
	for line := range strings.SplitSeq(string(v6), "\n") {
		f := strings.Fields(line)
		if len(f) != 10 || f[9] == "lo" || len(f[0]) != 32 {
			continue
		}
		dest, err1 := hex.DecodeString(f[0])
		bits, err2 := hex.DecodeString(f[1])
		if err1 != nil || err2 != nil || len(bits) != 1 {
			continue
		}
		addr, _ := netip.AddrFromSlice(dest)
		if p := netip.PrefixFrom(addr, int(bits[0])); p.IsValid() && !addr.IsLinkLocalUnicast() &&
			!addr.IsMulticast() {
			list = append(list, p)
		}
	}
	return list
}

// hexIPv4 reads an address as the kernel prints it: the bytes of the network in the order of a
// little-endian machine.
func hexIPv4(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), true
}

// answer is what is certain.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// reaches tells whether there is a way to the host of a URI: no if there is none at all, maybe if
// only a name server could tell.
func (n network) reaches(uri string) answer {
	if !n.known {
		return maybe
	}
	u, err := url.Parse(uri)
	if err != nil {
		return maybe
	}
	addr, err := netip.ParseAddr(u.Hostname())
	byName := err != nil
	switch {
	case u.Hostname() == "localhost", !byName && addr.IsLoopback():
		return yes
	}
	if len(n.routes) == 0 {
		return no
	}
	for _, p := range n.routes {
		if p.Bits() == 0 && (byName || p.Addr().Is4() == addr.Is4()) ||
			!byName && p.Contains(addr) {
			return yes
		}
	}
	if byName {
		return maybe // a machine of the local network, or one of the world
	}
	return no
}
