// Package oci is the backend that makes real containers: an OCI runtime gives each a root, namespaces and a seccomp
// filter of its own, and wardend does the rest.
//
//	depot/
//	  oci.json                       the name that this depot's wardend has on the kernel
//	  init/<sum>                     wardend's own binary: every container's process 1
//	  runtime/                       what the OCI runtime keeps
//	  scratch/                       where containers write (package scratch)
//	  containers/<id>/oci.json       the container's process, user ids and network
//	  containers/<id>/bundle/        its OCI bundle
//	  containers/<id>/init/          the state directory of its init (package initproc)
//	  containers/<id>/tmp/rootfs     its root: an overlay (package layers), with its bind mounts
//
// A server holds a lock on its name in /run/wardend: another depot of that name would take what is on the kernel for its
// own, and sweep it away.
//
// A container is made in the order in which its parts need each other, and each part is found again by the container's
// id or network alone:
//
//	scratch -> overlay, bind mounts -> cgroup -> OCI runtime, init -> network, limits
//
// Removing goes the other way round, can be begun anew at any point, and minds nothing that is not there: a wardend
// that was killed while it made or removed a container leaves a directory with a record, and the next one removes what
// that stands for. The directory goes last. What has no directory any more is found by Sweep.
//
// The init runs in a cgroup beside the one that holds the limits, so that neither its memory nor the output that it
// keeps are charged to the application.
package oci
