// Package workflows decides; activities do. There is one file for each workflow type.
//
//	StageApp ------- places, fetches, builds, uploads, reports; starts the instance that the request carries
//	FetchDroplet --- one download of one droplet on one node
//	RunInstance ---- the life of one instance, from BORN to DELETED
//	EvaluateHealth - one an app: wanted against actual
//	Node ----------- one a node: its ledger, and the lease of its supervisor
//
// An instance belongs to no parent: EvaluateHealth starts it as an abandoned child, and they speak by signals. A
// signal to a workflow that has closed fails, and every sender takes that as news: what it spoke to is gone.
package workflows
