// Package execwire is what a node's worker and the runner say to each other to run a command in an instance's container for
// somebody who sits elsewhere. They speak over a unix socket that the runner makes in the container, in frames:
//
//	kind (1 byte), length (4 bytes, big-endian), as many bytes
//
//	worker                                runner
//	  | Request (JSON) -------------------> |   first, and once
//	  | Stdin, Resize, Signal, StdinEnd --> |   Stdin no further ahead than Window bytes of what was consumed
//	  | <-------- Stdout, Stderr, Consumed  |
//	  | <---------------------- Exit (JSON) |   last, and once
//
// Who finds the connection closed gives up: the runner ends the command with all that it began. With its terminal the command's
// output is Stdout alone.
package execwire
