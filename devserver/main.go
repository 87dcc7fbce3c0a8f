// Devserver is Durable DEA in one command: Temporal's server with its UI, a codec server, a cloud controller's stand-in
// and any number of nodes, each a wardend and a worker.
package main

import (
	"os"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
