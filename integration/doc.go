// Package integration holds the tests that run the whole of Durable DEA as what it is: processes, sockets, files and a
// Temporal server, all from bin/, and none of it imported. What they need is made by
//
//	make build
//
// and without it they fail; nothing here is skipped. The tests share one devserver where they can (TestMain starts it),
// take one of their own where they break things, and check after each stack's end that nothing of it is left: no
// process, no listening port, no container.
//
// A test that kills what the others need has a stack of its own, says t.Parallel and so runs beside its like once the others are
// done: what such tests wait for is timeouts.
//
// internal/stack is the harness, bench the measurements that `make bench` writes down.
package integration
