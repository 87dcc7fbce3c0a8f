// Package crashes owns what a node keeps of instances that crashed: the end of each of their logs, to be read until
// it has become old.
//
//	Keep: .parts/x.new/logs -- .parts/x.new/.crash.json -- renamed --> <instance> -- Reap --> .parts/<instance>.0.gone -- removed
//
// What is kept of an instance is there whole or not at all. What a process that dies leaves in .parts the next Reap removes.
package crashes
