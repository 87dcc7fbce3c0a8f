// Package stack puts a devserver together: NATS and the router, Temporal with its UI and codec server, the cloud
// controller's stand-in, and the nodes.
//
//	Start: lock the data -> look at programs and ports -> NATS
//	       -> Temporal, cloud controller, codec server, router, UI, wardends -> namespace and search attributes
//	       -> workers -> every node READY -> addresses written
//	Stop:  workers -> wardends -> containers -> UI, router, codec server, cloud controller, Temporal -> NATS -> lock
//
// What Start began it ends itself when it fails. Containers outlive a devserver that is killed; the next Start on the
// same data finds them.
package stack
