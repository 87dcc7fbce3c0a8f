// Package safename turns names that others chose into file names.
package safename

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

var plain = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,119}$`)

// Of gives one path element for name: the name itself where that is harmless, else "~" and a digest of it. Different
// names have different elements, none begins with a dot or is longer than 120 bytes, and none can leave a directory.
func Of(name string) string {
	if plain.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "~" + hex.EncodeToString(sum[:20])
}
