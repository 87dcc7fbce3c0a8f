package stage

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/internal/runspec"
)

// processTypes are commands by the name of what they run.
type processTypes map[string]string

// webProcess is the process type that an instance runs.
const webProcess = "web"

const (
	procfileName = "Procfile"
	maxProcfile  = 1 << 20
	// wordsProcfile are known from Cloud Foundry, with both their spaces.
	wordsProcfile = "Invalid Procfile format.  Please ensure it is a valid YAML hash"
)

// errNoMap: a YAML document is something else than a map of names to texts.
var errNoMap = errors.New("not a YAML map")

// readProcfile reads an app's Procfile; nil when there is none.
func readProcfile(app string) (processTypes, error) {
	data, err := readInside(app, procfileName, maxProcfile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, newFault(runspec.ErrStaging, "The Procfile cannot be read", err)
	}
	var types processTypes
	if err := parseMap(data, &types); err != nil {
		return nil, newFault(runspec.ErrStaging, wordsProcfile, err)
	}
	return types.trimmed(), nil
}

// readInside reads a file of the app's. Links that leave the app are not followed: what they lead to would be read
// with the runner's eyes.
func readInside(app, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(app)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Asked first: opening a pipe would wait for somebody who writes.
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, errors.New("it is no file, or too large")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// parseRelease finds the process types in what bin/release printed. Nothing printed means none.
func parseRelease(output []byte) (processTypes, error) {
	var release struct {
		Types processTypes `yaml:"default_process_types"`
	}
	if strings.TrimSpace(string(output)) == "" {
		return nil, nil
	}
	if err := parseMap(output, &release); err != nil {
		return nil, errors.New("bin/release did not print a YAML hash")
	}
	return release.Types.trimmed(), nil
}

// parseMap decodes one YAML document whose top is a map.
func parseMap(data []byte, into any) error {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return err
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return errNoMap
	}
	return document.Decode(into)
}

func (p processTypes) trimmed() processTypes {
	for name, command := range p {
		p[name] = strings.TrimSpace(command)
	}
	return p
}
