// Package containerpath knows where, on the host, a container's own files lie.
package containerpath

import (
	"os"
	"path/filepath"
)

// Root is the root directory of a container whose Info says containerPath. The original linux backend mounts it at
// tmp/rootfs beneath that path; our process backend has no mount and uses the path itself.
func Root(containerPath string) string {
	if root := filepath.Join(containerPath, "tmp", "rootfs"); isDir(root) {
		return root
	}
	return containerPath
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
