// Package phase runs one program of a buildpack: in a process group of its own, with its output copied to where it
// belongs, and with nothing of it left when it is over.
package phase
