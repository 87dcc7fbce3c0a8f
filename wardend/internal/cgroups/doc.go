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
// github.com/opencontainers/cgroups and github.com/containerd/cgroups put processes into groups by pid, want a goroutine
// for each group that is watched and some twenty files for its statistics, and link D-Bus, a logger or eBPF: 1.3 and
// 2.3 MB more of program, which is also every container's process 1 and has 0.2 MB more of private memory in each. What
// is left without those parts is mkdir, rmdir and a dozen small files, while github.com/moby/sys/mountinfo, which is small,
// finds the mounts.
//
// # What was not run on v2
//
// No kernel with v2's controllers was at hand, only a v2 mount without any. On that one JoinFiles, Delegate, Remove and
// CPU were run. Handing controllers down, the limits, Memory, OOMKills and WatchOOM were run on plain files with the
// contents that such kernels give, and no runtime has put an init beside an app on v2.
package cgroups
