// Package stage turns an app into a droplet, inside a staging container.
//
//	started -> (clone) -> unpack -> detect -> (supply) -> compile -> release -> pack -> cache -> result
//	   |          |          |         |          |          |          |         |               ^
//	   |          +----------+---------+----------+----------+----------+---------+---- fault ----+
//	   +-> there already: nothing is done
//
// Clone is for buildpacks from git; supply is for several buildpacks, and for one with bin/finalize, which then does
// compile.
//
// It runs once in a container's life, whoever asks how often. What the node learns of it is in the container's
// output directory: the log as it grows, and a result as the very last thing.
package stage
