// Package stage turns an app into a droplet, inside a staging container.
//
//	started -> unpack -> detect -> compile -> release -> pack -> cache -> result
//	   |          |         |         |          |         |               ^
//	   |          +---------+---------+----------+---------+---- fault ----+
//	   +-> there already: nothing is done
//
// It runs once in a container's life, whoever asks how often. What the node learns of it is in the container's
// output directory: the log as it grows, and a result as the very last thing.
package stage
