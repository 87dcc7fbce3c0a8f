// Package registrar tells routers by NATS where a node's instances are, in the words of package routing.
//
// It keeps what the routers are to know, and sends that at least once:
//
//	an instance is ready ------------- register at once, then at the interval that the routers ask for
//	it is not, has ended, is to stop - unregister, sent until NATS has it: again on each new connection
//	other routes --------------------- register those it has, unregister those it had
//	a router comes, or NATS is back -- unregister once more what was taken back lately, register all
//
// Nothing is queued while NATS is away, as what it would say may no longer be so by then. It is sent anew when a
// connection is there: first what is to be taken back, then what is there. What NATS took and had not passed on when it died is sent
// again so, too.
//
// That NATS has a message does not mean that a router has: one that comes back to NATS later than the node missed what was said
// meanwhile. It says router.start when it is back, and is told all again. Without that it would send requests to an address
// whose instance has gone, and which may be another app's by now, until it drops the route by its own clock.
//
// An interval is shortened by up to a fifth by chance, so that the instances of many nodes do not speak all at once; it is
// never longer than half of the time after which a router drops a route.
//
// A worker that ends takes back nothing but its own directory server's route: its instances serve on. Their routes last as
// long as the routers keep them, and the next worker goes on with them. What changed of them while there was no worker is
// sent when that one knows of it; routes that an instance had lost meanwhile end by the routers' own clock.
package registrar
