// Package temporal runs Temporal's server inside this process, on a SQLite file, with the dynamic configuration of
// deploy/temporal.
//
// The server's own defaults suit a cluster; why each of ours differs stands in that file. What concerns SQLite stands
// here: always a file (in memory about one wake-up in a hundred is lost), a write-ahead log, and four shards.
//
//	Start: database made or found -> namespace with its search attributes -> services -> (WaitReady) answers
//	Stop:  services end in reverse order; everything is in the file
package temporal
