// Package push brings an app from a directory or a zip to instances that run:
//
//	package --> upload --> stage (the log is shown) --> run --> wait until the wanted instances run
//
// Each push is a new version of its app. What the platform has begun goes on whatever becomes of this program, but for
// the staging, which an interrupt cancels.
package push
