// Package api is the language that the parts of Durable DEA speak to each other: what travels between a
// controller, the workflows and the nodes, under which names, and which errors a user may meet.
//
// Nothing here does work. Field names in JSON are the wire's where a wire exists (the cloud controller's staging
// request, start message and completion callback); everything else is ours.
//
// Workflows, by the ids that the functions of this package make:
//
//	StageApp        stage/<app>/<task>       one staging
//	AppStagings     stagings/<app>           the newest of an app's stagings, for as long as one goes on
//	FetchDroplet    droplet/<node>/<sha1>    one download on one node
//	RunInstance     instance/<instance id>   one life of one instance
//	EvaluateHealth  app/<app>                wanted against actual, for as long as the app exists
//	Node            node/<id>                one node's ledger, for as long as the node exists
package api
