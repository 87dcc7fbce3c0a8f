// Devserver is Durable DEA in one command: Temporal's server with its UI, a codec server, a cloud controller's stand-in
// and any number of nodes, each a wardend and a worker.
package main

import (
	"os"
	"runtime/debug"
)

// gcPercent trades memory for speed: with it the server takes an eighth less of the processor for an activity, and
// twice its 250 MB. GOGC in the environment wins.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
