// Wardend is a Warden server: it makes containers and runs jobs in them for whoever asks over a unix socket, in the
// protocol of Cloud Foundry's Warden.
package main
