// Package launch runs an app's start command in an instance's container, for as long as it lives.
//
//	launch ---- bash (profile.d/*.sh, then the command) ---- the app's processes
//	   |  signals -> the app's process group
//	   |  stdout, stderr -> a limit -> bounded files
//	   +-- exit status -> a file, and its own
//
// What the app says is always read at full speed, so that it never waits for its log; what is over the limit is dropped
// by whole lines, and the log says how many.
//
// Launch keeps no state and costs nothing while the app says nothing: it sleeps in reads and waits.
//
// Signals: a Warden that stops a container sends TERM to every process in it, to the app's as well as to launch. An
// app that hears it twice may take the second for impatience and drop what it is doing; so launch does not pass TERM
// on at once, but only when the app is still there after the grace, when launch must have been the only one to hear
// it. Every other signal is passed on at once. Once the first process of a stopping app has ended, the others get the
// grace to end, too: then nothing is cut off that a shell has started.
package launch
