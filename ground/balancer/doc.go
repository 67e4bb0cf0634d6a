// Package balancer is the data plane of Azure Standard Load Balancer as its
// documentation describes it, made of nftables rules and routes in the network
// namespace of a region's router. Call Open for a Plane, Apply for every load
// balancer that should exist, Status to see what its probes say, and Close at
// the end. It needs CAP_NET_ADMIN and the nft program. It decides nothing about
// Kubernetes, gives out no addresses, adds no route that brings clients to the
// router, and terminates no connection: it is layer 4 and never retries.
//
// # What the documentation says, and what happens here
//
// Distribution is a hash of source address, source port, destination address,
// destination port and protocol over the healthy backends, or of source and
// destination address alone (affinity), optionally with the protocol.
// https://learn.microsoft.com/azure/load-balancer/distribution-mode-concepts
//
// A packet reaches the backend with its destination unchanged and the answer
// goes straight back (floating IP, direct server return): the rules mark a
// packet, the mark selects a routing table, and that table has one route, to
// the backend. kube-proxy on the node accepts the frontend address.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-floating-ip
//
// A probe runs every 5 seconds unless told otherwise, from 168.63.129.16. TCP
// succeeds with a handshake inside the interval; HTTP and HTTPS with status 200
// inside the interval or 30 seconds, whichever is less. One success makes a new
// backend healthy. After that the state turns when the threshold of consecutive
// probes says so, both ways.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-custom-probe-overview
// https://learn.microsoft.com/rest/api/load-balancer/load-balancers/create-or-update
// (probeThreshold). Older text of the first page says that an HTTP status or a
// reset marks a backend down at once; the slower reading is used, because what
// survives it survives the other too.
//
// So with 5 s and a threshold of 2 a backend that refuses is out of the pool 5 to
// 10 seconds after it began to, and one that is silent after 10 to 15, because a
// probe without an answer takes its whole interval.
//
// When a probe fails, established TCP flows go on to the same backend until
// they close or idle; new flows go to healthy backends; UDP flows move. With no
// healthy backend there are no new flows, and established ones go on if the
// pool has more than one backend. Whatever is not forwarded is dropped in
// silence, and nobody hears "host unreachable" for a dead backend.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-custom-probe-overview#probe-down-behavior
//
// A TCP flow is forgotten after 4 idle minutes unless told otherwise. Azure
// then sends resets both ways where the rule has "TCP reset"; here the client
// gets its reset when it next sends, and the server gets none.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset
//
// A zone-redundant frontend lives while any zone does, a zonal one (Zone) is
// silent while its zone is lost.
// https://learn.microsoft.com/azure/reliability/reliability-load-balancer
//
// Azure drops the flows of a backend that leaves the pool at an undocumented
// moment; here at once. Not modelled: the longer wait for a fluctuating probe,
// ICMP to a frontend, HA ports, outbound rules, IPv6.
package balancer
