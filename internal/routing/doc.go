// Package routing is what a node and a router say to each other over NATS so that requests find an app's instances. It is
// the contract of Cloud Foundry's gorouter as it is today (cloudfoundry/gorouter, package mbus), which our own node and
// devserver's routing proxy both keep.
//
//	node                         router
//	  | router.greet (request) ---> |    a node that comes asks how often to register
//	  | <--- RouterStart (answer)   |
//	  | <--- router.start           |    a router that comes says so, and knows no route yet
//	  | router.register ----------> |    at once for every instance, then at the interval that was said
//	  | router.unregister --------> |    before an instance stops, or when it has ended
//
// A route that is not registered again within the router's prune threshold is dropped by it.
package routing
