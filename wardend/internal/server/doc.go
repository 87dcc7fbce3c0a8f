// Package server puts a container.Registry behind a unix socket.
//
// A connection's requests are answered strictly in order, one at a time. Meanwhile the next ones are read, up to a
// bound, so that a client that goes away is noticed while its request runs. What cannot be understood is answered with
// an Error; where the next message begins is not known after it, the connection is closed. A client that has closed
// its sending half (shutdown) is still there and gets its answers; one that has closed both is gone.
//
// # Delivered
//
// The end of a job is taken by the client that its answer is delivered to, and an answer is delivered when the kernel
// has taken all of it for a client that was there. A client that goes before that, at whatever point, has taken
// nothing. One that is killed after it, with the answer in its socket's buffer, has: nobody can tell that from one that
// read the answer and was killed before it did anything with it. So who must not lose an exit status keeps a job's own
// record of it (a file that its script writes), as a `no such job` after a death may mean either.
//
// # Memory
//
// A connection costs what has arrived on it, up to 64 KiB a message, and at most readAheadBytes and one message more
// wait while a request runs. What longer messages take beyond that is bounded for all connections together, by four of
// the longest; a message that finds no room is refused, and its connection closed. A length that nothing follows costs
// the 64 KiB alone, and keeps no room from others.
package server
