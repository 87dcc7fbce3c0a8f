// Package stack puts a devserver together: Temporal with its UI and codec server, the cloud controller's stand-in, and
// the nodes.
//
//	Start: lock the data -> look at programs and ports -> Temporal, cloud controller, codec server, UI, wardends
//	       -> namespace and search attributes -> workers -> every node READY -> addresses written
//	Stop:  workers -> wardends -> containers -> UI, codec server, cloud controller -> Temporal -> lock
//
// What Start began it ends itself when it fails. Containers outlive a devserver that is killed; the next Start on the
// same data finds them.
package stack
