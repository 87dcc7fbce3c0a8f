// Package app puts a wardend together from its configuration and runs it.
//
//	start --(depot locked, containers found, socket made)--> serving --(TERM, INT, USR2)--> draining --> end
//
// Draining leaves containers and jobs as they are; the next wardend on the depot takes them over.
package app
