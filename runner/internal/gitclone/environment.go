package gitclone

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// schemes are the transports that are let through, for submodules too. Git's others run programs of the URL's choice.
const schemes = "https:http:ssh:git:file"

// sshCommand never asks, believes a host that it meets for the first time, and notices one that is gone.
const sshCommand = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=30 -o ServerAliveInterval=30 -o ServerAliveCountMax=4"

// always is set whatever the user has set. An askpass that says nothing answers with an empty password, which is what
// a token in the place of the user's name needs. Messages are in English, since reasonOf reads them.
var always = []string{
	"GIT_ALLOW_PROTOCOL=" + schemes,
	"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS=true", "SSH_ASKPASS_REQUIRE=never", "GCM_INTERACTIVE=never",
	"LC_ALL=C",
}

// removed would lead git to another repository than the clone.
var removed = []string{
	"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
	"GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CURL_VERBOSE",
}

// environment is git's: the container's, with what keeps git from asking and from waiting for ever. Traces are left
// out: they tell all that git sends.
func environment(config string) []string {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(removed, name) || strings.HasPrefix(name, "GIT_TRACE")
	})
	env = append(env, always...)
	env = append(env, "GIT_CONFIG_GLOBAL="+config)
	if os.Getenv("GIT_SSH_COMMAND") == "" && os.Getenv("GIT_SSH") == "" {
		env = append(env, "GIT_SSH_COMMAND="+sshCommand)
	}
	if os.Getenv("GIT_HTTP_LOW_SPEED_TIME") == "" {
		env = append(env, "GIT_HTTP_LOW_SPEED_LIMIT=1", "GIT_HTTP_LOW_SPEED_TIME=120")
	}
	return env
}

// writeConfig writes what stands in for the user's configuration of git: all of that, and leave to read repositories
// on the container's disk that belong to somebody else. The latter is believed from no other place.
func writeConfig(dir string) (string, error) {
	f, err := os.CreateTemp(dir, ".gitconfig-*")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, path := range userConfigs() {
		fmt.Fprintf(f, "[include]\n\tpath = %s\n", quoted(path))
	}
	if _, err := f.WriteString("[safe]\n\tdirectory = *\n"); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// userConfigs are the files that git would read; those that are not there are no harm.
func userConfigs() []string {
	if path := os.Getenv("GIT_CONFIG_GLOBAL"); path != "" {
		return []string{path}
	}
	home := os.Getenv("HOME")
	if home == "" {
		return nil
	}
	xdg := os.Getenv("XDG_CONFIG_HOME")
	if xdg == "" {
		xdg = filepath.Join(home, ".config")
	}
	return []string{filepath.Join(xdg, "git", "config"), filepath.Join(home, ".gitconfig")}
}

func quoted(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}
