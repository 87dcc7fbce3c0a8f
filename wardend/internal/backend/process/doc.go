// Package process is the backend whose containers are plain directories and whose jobs are plain processes of the
// server's own user. It needs no privilege and isolates nothing: it is for development and for tests, and for what
// trusts itself.
//
//	<dir>/root    the container's root directory, container_path; home/vcap, root and tmp lie in it
//	<dir>/init    the state directory of the container's init
//
// A path in the container means one beneath root. A bind mount is a link; a job's HOME tells it where root is.
// A container's processes are those that descend from its init. Should that be killed, they are known by the HOME that
// they were started with: one that was given another environment is then missed.
//
// What plain processes cannot do (limits of memory, CPU, disk and bandwidth, egress rules, read-only mounts) is taken
// and given back, and said once in the log.
package process
