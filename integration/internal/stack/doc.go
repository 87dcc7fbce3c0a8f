// Package stack starts a devserver from bin/ in a directory of its own, speaks to it as a person or a program would
// (through starter, the controller's client, and HTTP), and ends it.
//
//	Start --> Ready: all of it answers --> Stop: interrupted, waited for, and looked at for leftovers
//
// Everything that a stack starts names its data directory, on its command line, as its working directory or as the
// place of its program. That is how Stop finds what was left, and how a test finds the process it wants to kill.
package stack
