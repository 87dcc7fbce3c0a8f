// Package conformance tests a Warden server through its socket, against the behaviour of the original server and the
// differences from it that this project promises. Any backend, and any other server, can be put under it.
package conformance
