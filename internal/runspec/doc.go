// Package runspec is what a node and the runner inside its containers agree on: the paths of the contract, the
// order that a staging is given, the result that it leaves, and the exit statuses.
//
// All paths are contract paths: they begin at the container's root, which on Warden's process backend is a
// directory of the machine. Beneath turns one into a path of the machine.
//
//	staging container                        instance's container
//	/tmp/dea/in    (read-only)  the order    /tmp/dea/droplet (read-only)  droplet.tgz
//	/tmp/dea/out   (writable)   the outcome  /tmp/dea/bin     (read-only)  dea-runner
//	/tmp/dea/bin   (read-only)  dea-runner   /home/vcap       app, logs, tmp, staging_info.yml
//	/tmp/dea/buildpacks/<n>     buildpacks   /home/vcap       ... deps, profile.d
//	/tmp/unstaged -> /tmp/staged/app, /tmp/cache
package runspec
