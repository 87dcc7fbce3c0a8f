package runspec

import (
	"path/filepath"
	"strconv"
)

// Mounts of a staging's container.
const (
	// PathIn is the directory with the order: the package, the cache and the spec. Read-only.
	PathIn = "/tmp/dea/in"
	// PathOut is the directory for everything that outlives the container. Writable by the container's user.
	PathOut = "/tmp/dea/out"
	// PathBin is the directory that holds the runner. Read-only; instances have it too.
	PathBin = "/tmp/dea/bin"
	// PathBuildpacks is the directory whose children are the buildpacks, see PathBuildpack.
	PathBuildpacks = "/tmp/dea/buildpacks"
	// PathRunner is the runner itself.
	PathRunner = PathBin + "/" + RunnerName
	// RunnerName is the file name of the runner.
	RunnerName = "dea-runner"
)

// PathBuildpack is where the n-th buildpack, in the order of detection and counted from 0, is mounted.
func PathBuildpack(n int) string { return PathBuildpacks + "/" + strconv.Itoa(n) }

// PathClone is where the runner clones the n-th buildpack to when that comes from git.
func PathClone(n int) string { return "/tmp/buildpacks/" + strconv.Itoa(n) }

// Files in PathIn.
const (
	// FilePackage is the user's app, a zip.
	FilePackage = "package.zip"
	// FileCache is what the last staging of the app left in its cache directory, a tar.gz. May be absent.
	FileCache = "cache.tgz"
	// FileSpec is a Spec in JSON.
	FileSpec = "spec.json"
)

// Files in PathOut. The node makes them all, empty and open to everybody, in a directory that the container's user
// cannot write to: so a container can leave nothing else on the node's disk, and what it leaves can be measured.
const (
	// FileStarted is locked (flock) and then written to, a line, by the first run of stage. Whoever finds it locked or not
	// empty must not stage again.
	FileStarted = "started"
	// FileLog is the staging's log, written as the phases speak.
	FileLog = "staging.log"
	// FileDroplet is the droplet, a tar.gz. It is whole when FileResult is, and that has no error.
	FileDroplet = "droplet.tgz"
	// FileBuildpackCache is the new cache, a tar.gz; empty when there is none. It is whole when FileResult is.
	FileBuildpackCache = "buildpack_cache.tgz"
	// FileResult is a Result in JSON and a line break, written as the very last thing. Without the line break it is not
	// whole.
	FileResult = "result.json"
)

// OutFiles are all files in PathOut.
func OutFiles() []string {
	return []string{FileStarted, FileLog, FileDroplet, FileBuildpackCache, FileResult}
}

// Places in a staging's container that buildpacks know.
const (
	PathUnstaged    = "/tmp/unstaged"
	PathStaged      = "/tmp/staged"
	PathStagedApp   = PathStaged + "/app"
	PathStagingInfo = PathStaged + "/staging_info.yml"
	PathStagingLog  = PathStaged + "/logs/staging_task.log"
	PathCache       = "/tmp/cache"
	// PathDeps is where buildpacks with bin/supply put what they supply, each into a directory named by its position; and
	// PathProfile is for scripts that set up the environment of the app. Both become part of the droplet.
	PathDeps    = PathStaged + "/deps"
	PathProfile = PathStaged + "/profile.d"
	// PathApp is a link to the app, in both kinds of container.
	PathApp = "/app"
)

// Places in an instance's container.
const (
	// PathDroplet is the directory that holds the droplet, named FileDroplet. Read-only. It is not there where the node has
	// unpacked the droplet, as a layer beneath the container's root.
	PathDroplet = "/tmp/dea/droplet"
	// PathHome is what a droplet is unpacked into.
	PathHome = "/home/vcap"
	// PathInstanceApp is the app's directory, the working directory of its command.
	PathInstanceApp = PathHome + "/app"
	// PathInstanceDeps and PathInstanceProfile are the droplet's PathDeps and PathProfile.
	PathInstanceDeps    = PathHome + "/deps"
	PathInstanceProfile = PathHome + "/profile.d"
	// PathInstanceInfo is the droplet's StagingInfo.
	PathInstanceInfo = PathHome + "/staging_info.yml"
	// PathLogs is the directory of the app's output.
	PathLogs = PathHome + "/logs"
	// PathHooksLog has what the operator's hooks said, which run with the app's environment.
	PathHooksLog = PathLogs + "/hooks.log"
	// PathStdout and PathStderr are the app's output. Each is bounded; what was before is in a file with ".1".
	PathStdout = PathLogs + "/stdout.log"
	PathStderr = PathLogs + "/stderr.log"
	// PathSessions has a directory for each session that begins, with SessionSocket in it.
	PathSessions = "/tmp/.dea-sessions"
	// SessionSocket is where a session waits for the node's worker.
	SessionSocket = "s"
	// PathLaunched is there once the app's launch has begun, and holds the id of its process. Whoever finds it must not launch
	// again; without it, no job in the container is the app's.
	PathLaunched = "/tmp/.dea-launched"
	// PathExitStatus holds the exit status of launch in decimal, once it has ended. It appears whole, by a rename. It is not in
	// /tmp/dea, which is root's in a container of its own. The job's own exit status is the same number.
	PathExitStatus = "/tmp/.dea-exit-status"
	// PathLaunchFault is there only when launch itself, and not the app, failed: one sentence for the user. It
	// tells ExitMissingCommand from an app that ends with that number.
	PathLaunchFault = "/tmp/.dea-launch-fault"
)

// PathHook is there once a hook of this name has begun, and holds the id of its process; whoever finds it must not run the
// hook again. With ".status" it holds the hook's exit status in decimal, once that has ended.
func PathHook(name string) string { return "/tmp/.dea-hook-" + name }

// Beneath turns a contract path into one of the machine, for a container whose root is root; root is "" or "/" in a
// container that has its own.
func Beneath(root, contract string) string {
	return filepath.Join("/", root, contract)
}
