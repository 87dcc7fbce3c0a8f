package stage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/internal/regular"
	"github.com/durable-dea/dea/internal/runspec"
)

// processTypes are commands by the name of what they run.
type processTypes map[string]string

// webProcess is the process type that an instance runs.
const webProcess = "web"

// Bounds of what is read. A tree of YAML takes about a hundred times the memory of its text. What process types come to
// must fit into a result, with the command a second time, however much its encoding adds.
const (
	maxProcfile = 256 << 10
	maxRelease  = 256 << 10
	maxTypes    = 64 << 10
)

const (
	procfileName  = "Procfile"
	wordsUnusable = "The Procfile cannot be read"
	// wordsProcfile are known from Cloud Foundry, with both their spaces.
	wordsProcfile = "Invalid Procfile format.  Please ensure it is a valid YAML hash"
)

var (
	// errNoMap: a YAML document is something else than a map of names to texts.
	errNoMap = errors.New("not a YAML map")
	// errTypes: a few bytes of YAML can mean many, by aliases.
	errTypes = fmt.Errorf("its process types together have more than %d bytes", maxTypes)
)

// readProcfile reads an app's Procfile; nil when there is none.
func readProcfile(app string) (processTypes, error) {
	data, err := readInside(app, procfileName, maxProcfile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var odd *oddFileError
	if errors.As(err, &odd) {
		return nil, newFault(runspec.ErrStaging, wordsUnusable+": it "+odd.words, err)
	}
	if err != nil {
		return nil, newFault(runspec.ErrStaging, wordsUnusable, err)
	}
	var types processTypes
	if err := parseMap(data, &types); err != nil {
		return nil, newFault(runspec.ErrStaging, wordsProcfile, err)
	}
	if types.size() > maxTypes {
		return nil, newFault(runspec.ErrStaging, wordsUnusable+": "+errTypes.Error(), nil)
	}
	return types.trimmed(), nil
}

// oddFileError is one that is there and is not read. Its words follow "it".
type oddFileError struct{ words string }

func (o *oddFileError) Error() string { return o.words }

// readInside reads a file of the app's. Links that leave the app are not followed: what they lead to would be read
// with the runner's eyes.
func readInside(app, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(app)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, info, err := regular.Open(root, name)
	if err != nil {
		return nil, whyNotOpened(root, name, err)
	}
	defer f.Close()
	if info.Size() > limit {
		return nil, &oddFileError{fmt.Sprintf("is larger than %d bytes", limit)}
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

func whyNotOpened(root *os.Root, name string, err error) error {
	info, statErr := root.Lstat(name)
	switch {
	case errors.Is(err, regular.ErrNotRegular):
		return &oddFileError{"is not a file"}
	case statErr != nil, errors.Is(err, fs.ErrNotExist):
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return &oddFileError{"is a link that leads out of the app, or nowhere"}
	default:
		return err
	}
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
	if release.Types.size() > maxTypes {
		return nil, fmt.Errorf("what bin/release printed is too much: %w", errTypes)
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

func (p processTypes) size() int {
	size := 0
	for name, command := range p {
		size += len(name) + len(command)
	}
	return size
}

func (p processTypes) trimmed() processTypes {
	for name, command := range p {
		p[name] = strings.TrimSpace(command)
	}
	return p
}
