// Package cli is the starter's commands: what they are called, what they take, and how what they do is told.
//
// A command's answer goes to standard output, everything else to standard error. What a command fails of decides the
// exit code (see exit.go) and is told in words that say what to do.
package cli
