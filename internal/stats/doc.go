// Package stats measures what a node's instances use, and its machine. What was measured last is kept in memory alone:
// it is out of date within seconds, and no history is the place for it.
//
// What a number says depends on Warden's backend. Where containers have control groups, memory is what cannot be given
// back at once (anonymous memory and the files' that are in use), and processor time is the group's. Where they are plain
// processes, memory is the sum of what is resident of each, so that what they share counts several times and files that
// are only cached do not count; the time of a process that ended and whose parent has not waited for it is missing; and
// disk is measured seldom enough to cost no more than a twentieth of the time.
package stats
