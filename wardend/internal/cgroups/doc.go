// Package cgroups limits and measures containers with the kernel's control groups, of version 1, version 2, or both at
// once ("hybrid": the v1 controllers count, and a v2 mount beside them is only cleaned up). In each hierarchy:
//
//	wardend-<instance>           all containers of one instance
//	wardend-<instance>/<id>      one container: its share of the CPUs
//	wardend-<instance>/<id>/app  its jobs, with the limits; made here, joined by means of JoinFiles
//	wardend-<instance>/<id>/init its process 1, without limits; made by the OCI runtime, as RuntimePath tells it
//
// All of it lies at the root of each mount, wherever wardend's own cgroup is: there both runc and crun put an absolute
// linux.cgroupsPath. On v1 app is made for memory, cpu, cpuacct and pids; the runtime makes init in every hierarchy that
// there is, and the jobs stay in it where there is no app (devices, freezer, …).
//
// A group's name is the container's id, but "tasks" or "memory.max" would be a file's: an underscore is put before such.
//
// # Why no library
//
// github.com/opencontainers/cgroups and github.com/containerd/cgroups put the caller's process into the groups, watch
// each group for kills with a goroutine and read some twenty files for its statistics, and link D-Bus, a logger or eBPF,
// which makes every container's process 1 (the same program) 1.1 MB larger in memory. What is left when those parts
// are not used is mkdir, rmdir and a dozen small files, while the mounts are found with github.com/moby/sys/mountinfo.
//
// # What was tested on v2
//
// The package was written and run on a machine with v1 controllers and a v2 mount without any. There v2's membership was
// tested (JoinFiles, Delegate, Remove), on the real kernel; v2's limits, statistics and kills only on files with
// the contents that such kernels give.
package cgroups
