// Package crashes owns what a node keeps of instances that crashed: the end of each of their logs, to be read until
// it has become old.
//
//	Keep: .new-x/logs -- .new-x/.crash.json -- renamed --> <instance> -- Reap --> .gone-<instance> -- removed
//
// What is kept of an instance is there whole or not at all. A process that dies leaves a .new- or a .gone- behind,
// which the next Reap removes.
package crashes
