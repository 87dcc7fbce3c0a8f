// Package launch runs an app's start command in an instance's container, for as long as it lives.
//
//	launch ---- bash (.profile.d/*.sh, then the command) ---- the app's processes
//	   |  TERM, INT ->  the whole process group
//	   |  stdout, stderr -> bounded files
//	   +-- exit status -> a file, and its own
//
// Launch keeps no state and costs nothing while the app says nothing: it sleeps in reads and waits.
package launch
