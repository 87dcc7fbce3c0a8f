package nodeid

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Read tells a node's id without holding it. Before the first Take of the base directory the error is fs.ErrNotExist.
func Read(baseDir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(baseDir, fileName))
	if err != nil {
		return "", fmt.Errorf("read the node's id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
