// Package network connects containers with the world and keeps them apart from everything else, by netlink and
// nftables; it starts no process.
//
// # What is on the kernel
//
// Everything bears the name of the instance, so that several wardends live side by side:
//
//	table ip  wardend_<instance>   base chains, and for all containers together
//	    set links    link . address    what a container may send from
//	    map ports    host port -> address . port
//	    map rules    address -> chain  containers that have rules of their own, in
//	    chain out-<address>
//	    chain pool-<pool>      empty: tells a later server whose route it is, should the pool be another then
//	table ip6 wardend_<instance>   drops all that containers send
//	w<instance>-<index>            the host's end of a container's link; index counts the pool's networks, in hex
//	i<instance>-<index>            the ifb that a limited container's packets pass
//	route unreachable <pool>       an address that no container has never leaves the machine
//
// Sets and maps are hashed: neither a packet nor a new container costs more because there are others. A chain exists
// for containers with rules alone.
//
// # Life of a container's network
//
//	           Attach                 NetIn, NetOut, LimitBandwidth
//	nothing ------------> attached ---------------------------------> attached
//	   ^                     |
//	   |   links gone        | Detach: rules, ports, conntrack at once
//	   +------------------ dying
//
// A link is attached once its address stands in the set, which is the last step of Attach; before, and when wardend
// was killed in between, all that it sends is dropped. Detach takes everything away that can be used, and leaves the
// links for a moment: most die with the container's namespace, and removing one by itself would hold the kernel's
// lock for links for about 20 ms. What is left after a second is removed in one go; Attach of the same network and
// Close do not wait for that second.
//
// # Who may talk to whom
//
// What a container sends is judged once a connection, in prerouting and before any address is translated: by the
// address and port that it dials. In this order:
//
//  1. Answers on connections that were let through pass.
//  2. Loopback addresses are refused: a container has its own. So are broadcast and multicast, which go no further
//     than the host.
//  3. Rules of NetOut let through. One that names a network opens it wholly, also addresses of the host and of other
//     containers in it. One without a network, or with all addresses, means the outside world alone: "port 22
//     anywhere" does not mean the host's.
//  4. The host (any of its addresses, the gateway's too) and the pool are refused.
//  5. Options.Allow passes, Options.Deny is refused, all else passes. It leaves with the host's address.
//
// Refused are TCP connections with a reset and the rest with the ICMP message "administratively prohibited": the
// kernel sends one such message a second to an address, so that a program that is refused often would wait for its
// own timeouts. (Strangers that dial a container's address get the message only.) What bears another source than the container's address is dropped. IPv6 does not exist.
//
// A host port of NetIn is a public service on every address of the host, 127.0.0.1 included, as from outside so for
// the host's processes. A process that listens on the port is shadowed. The container sees the client's address, or
// its gateway's when the client is on loopback or is a container. To a container the port is a service of the host:
// it needs a rule that names the host's address that it dials (and the host's port, when it names one), also for its
// own. The rule for another container's address opens that address, dialled directly, with the container's port. A
// container of another wardend on the machine can be reached by its host port alone.
//
// From outside nothing reaches a container's address but by a host port. The host reaches its containers directly.
//
// A firewall of the host's owner stays in force: a packet must pass both.
package network
