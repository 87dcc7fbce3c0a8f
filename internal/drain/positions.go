package drain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/durable-dea/dea/internal/safename"
)

// positions keep how far drains have come, a file for each instance.
type positions struct{ dir string }

// record is such a file.
type record struct {
	// Instance is whose it is.
	Instance string `json:"instance"`
	// Drains are by their addresses, in which there is nothing secret.
	Drains map[string]progress `json:"drains"`
}

const (
	recordEnding = ".json"
	newEnding    = ".new"
)

func (p positions) file(instance string) string {
	return filepath.Join(p.dir, safename.Of(instance)+recordEnding)
}

// load is empty where nothing is kept, or what is kept is of no use: then all that the log has is sent.
func (p positions) load(instance string) map[string]progress {
	var kept record
	text, err := os.ReadFile(p.file(instance))
	if err != nil || json.Unmarshal(text, &kept) != nil || kept.Instance != instance {
		return nil
	}
	return kept.Drains
}

// save puts them in place at once. What a loss of power tears is of a container that is gone as well.
func (p positions) save(instance string, drains map[string]progress) error {
	text, err := json.Marshal(record{instance, drains})
	if err != nil {
		return fmt.Errorf("keep the position of drains: %w", err)
	}
	file := p.file(instance)
	if err := os.WriteFile(file+newEnding, text, 0o600); err != nil {
		return fmt.Errorf("keep the position of drains: %w", err)
	}
	if err := os.Rename(file+newEnding, file); err != nil {
		return fmt.Errorf("keep the position of drains: %w", err)
	}
	return nil
}

// remove removes what is kept of an instance.
func (p positions) remove(instance string) error {
	err := os.Remove(p.file(instance))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweep removes what is kept of instances other than these, by their ids, and returns whose it was, by the names of their files.
func (p positions) sweep(known map[string]bool) (gone []string, err error) {
	files, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, err
	}
	keep := make(map[string]bool, len(known))
	for id := range known {
		keep[safename.Of(id)+recordEnding] = true
	}
	var failed []error
	for _, file := range files {
		name := file.Name()
		ours := strings.HasSuffix(name, recordEnding) || strings.HasSuffix(name, recordEnding+newEnding)
		if ours && !keep[strings.TrimSuffix(name, newEnding)] {
			err := os.Remove(filepath.Join(p.dir, name))
			failed = append(failed, err)
			if instance, whole := strings.CutSuffix(name, recordEnding); whole && err == nil {
				gone = append(gone, instance)
			}
		}
	}
	return gone, errors.Join(failed...)
}
