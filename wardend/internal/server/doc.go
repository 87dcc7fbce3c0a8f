// Package server puts a container.Registry behind a unix socket.
//
// A connection's requests are answered strictly in order, one at a time. Meanwhile the next ones are read, up to a
// bound, so that a client that goes away is noticed while its request runs. What cannot be understood is answered with
// an Error; where the next message begins is not known after it, the connection is closed.
package server
