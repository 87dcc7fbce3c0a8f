// Package workspace is the staging directory of a node: one directory a task, what goes into the staging container
// (in/) and what comes out of it (out/).
//
//	<base>/staging/<task>/begun            there once the build was begun
//	                      in/package.zip   the app's package
//	                      in/cache.tgz     the last staging's buildpack cache, if there is one
//	                      in/spec.json     what the runner is to do
//	                      out/             made empty by the node and written by the container: started, staging.log,
//	                                       droplet.tgz, buildpack_cache.tgz, result.json
//
// What lies in out/ was written by the app's buildpack and is not to be trusted: it is opened with OpenOut, which
// follows no link and takes only regular files.
package workspace
