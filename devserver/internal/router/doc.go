// Package router is a routing proxy for one machine. It lives on NATS messages alone (package routing) and keeps to what
// Cloud Foundry's gorouter does, so that an app meets here what it meets in an installation.
//
//	router.register ---> table: route -> endpoints <--- router.unregister
//	                       |        \
//	                       |         dropped when it was not registered again in time, unless NATS was away
//	                       v
//	request -> route by host and path -> endpoint by session or in turn -> the app
//	                                           ^      |
//	                                           +------+ another, where the first took nothing of the request
//
// A route is a host, or a host with a path, in any case of letters; "*.example.com" is every host beneath it. Of the
// routes that a request fits, the one with the exact host wins, then the one with the longest path.
//
// It differs from gorouter in that an endpoint is unregistered only by the instance that it is of, even though another one
// was at the address before; that a new instance at an address takes the old one out of all its routes; and that endpoints
// with TLS are dropped by time like others.
package router
