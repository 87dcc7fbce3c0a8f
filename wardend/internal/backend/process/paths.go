package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// paths finds where a path in the container lies on the host, as a container of its own would: links are followed
// within the container, never out of it. The one way out is a bind mount.
type paths struct {
	root string
	// mounts are the links that stand for bind mounts, with their sources.
	mounts map[string]string
}

var errTooManyLinks = errors.New("too many links")

// resolve answers the path on the host. What does not exist is taken as it is named. The last element's own link is
// followed on request only.
func (p paths) resolve(path string, followLast bool) (string, error) {
	const maxLinks = 64
	// within are the directories on the way, from the root to where the way has come to.
	within := []string{p.root}
	rest := elements(path)
	for links := 0; len(rest) > 0; {
		element := rest[0]
		rest = rest[1:]
		if element == ".." {
			within = within[:max(len(within)-1, 1)]
			continue
		}
		next := filepath.Join(within[len(within)-1], element)
		info, err := os.Lstat(next)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err != nil || info.Mode().Type() != fs.ModeSymlink || (len(rest) == 0 && !followLast) {
			within = append(within, next)
			continue
		}
		if links++; links > maxLinks {
			return "", errTooManyLinks
		}
		if source, ok := p.mounts[next]; ok {
			within = append(within, source)
			continue
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			within = within[:1]
			// A job that knows only its HOME makes its absolute links with the host's path.
			target = strings.TrimPrefix(target, p.root+"/")
		}
		rest = append(elements(target), rest...)
	}
	return within[len(within)-1], nil
}

var errRootMount = errors.New("the root directory cannot be one")

// mountPoint is the link that stands for a bind mount at a path in the container.
func (p paths) mountPoint(target string) (string, error) {
	target = filepath.Clean("/" + target)
	if target == "/" {
		return "", errRootMount
	}
	parent, err := p.resolve(filepath.Dir(target), true)
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(target)), nil
}

func elements(path string) []string {
	var all []string
	for _, e := range strings.Split(path, "/") {
		if e != "" && e != "." {
			all = append(all, e)
		}
	}
	return all
}

// isContent says whether a copy's source means what is in it.
func isContent(path string) bool {
	return strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.")
}
