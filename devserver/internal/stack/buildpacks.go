package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/durable-dea/dea/devserver/internal/cloudcontroller"
)

// buildpacks lists the buildpacks in a directory in the order of detection: a buildpack that knows its apps by more
// comes before one that knows them by less. Others than ours come first, by name: whoever adds one wants it used.
func (o Options) buildpacks() ([]cloudcontroller.BuildpackSource, error) {
	dir := o.Buildpacks
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) && o.Nodes == 0 {
		return nil, nil // nobody stages
	}
	if err != nil {
		return nil, fmt.Errorf("look for buildpacks: %w: say where they are with --buildpacks", err)
	}
	var sources []cloudcontroller.BuildpackSource
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if _, err := os.Stat(filepath.Join(path, "bin", "detect")); err != nil {
			continue
		}
		source := cloudcontroller.BuildpackSource{Name: entry.Name(), Dir: path}
		if entry.Name() == "static" {
			server := o.program("staticd")
			if _, err := os.Stat(server); err != nil {
				return nil, fmt.Errorf("the static buildpack needs the program staticd: %w: build it with `make build`", err)
			}
			source.Extra = map[string]string{"bin/staticd": server}
		}
		sources = append(sources, source)
	}
	slices.SortStableFunc(sources, func(a, b cloudcontroller.BuildpackSource) int { return rank(a.Name) - rank(b.Name) })
	return sources, nil
}

func rank(name string) int { return slices.Index([]string{"go", "procfile", "static"}, name) }
