// Package shell is how the runner's children are begun: by bash, with what buildpacks have set up.
package shell

import (
	"errors"
	"os"

	"github.com/durable-dea/dea/internal/runspec"
)

// Profile are lines of bash that source what buildpacks left to set up the environment, first what those with bin/supply did.
// They are for a shell in the app's directory.
const Profile = `for __dea_file in ../profile.d/*.sh .profile.d/*.sh; do
  if [ -r "$__dea_file" ]; then . "$__dea_file"; fi
done
unset __dea_file
`

// Environment adds to an environment what the lines of Profile need: scripts of buildpacks find what was supplied by DEPS_DIR.
// root is the container's root directory, empty in a container that has its own.
func Environment(root string, environment []string) []string {
	deps := runspec.Beneath(root, runspec.PathInstanceDeps)
	if info, err := os.Stat(deps); err != nil || !info.IsDir() {
		return environment
	}
	return append(environment, "DEPS_DIR="+deps)
}

// find finds bash. The app's PATH may be anything; bash is part of every stack.
func find() (string, error) {
	for _, path := range []string{"/bin/bash", "/usr/bin/bash"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no bash in the container")
}
