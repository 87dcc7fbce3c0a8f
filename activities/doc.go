// Package activities does the work that workflows decide on. There is one struct for each thing outside: containers
// (Warden), packages and buildpacks, droplets, the cloud controller, placement, and supervision.
//
// Every activity is safe to run twice, also at the same time: after a lost heartbeat Temporal starts another attempt
// while the first may still be at it. An activity whose context ends never takes a container down because of that: a
// lost heartbeat, a worker that stops and an outage of Temporal look the same from here. Containers are destroyed
// by RetireInstance and CleanUpStaging, which workflows call on every path, and by the supervisor's reaping of
// what no reservation names.
package activities
