// Package watch waits until an app is what it should be, and explains why it does not become so: which instance
// crashed, of what, and what it last said.
package watch
