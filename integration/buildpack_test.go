package integration

import (
	"archive/zip"
	"bytes"
	"crypto/sha1" //nolint:gosec // the wire's digest of a droplet
	"encoding/hex"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// entry is one file of a zip that a test makes; names and contents are whatever the test wants.
type entry struct {
	name, content string
	mode          fs.FileMode
	// raw leaves the mark out that says that the name is UTF-8.
	raw bool
}

func file(name, content string) entry    { return entry{name: name, content: content, mode: 0o644} }
func program(name, content string) entry { return entry{name: name, content: content, mode: 0o755} }
func link(name, target string) entry {
	return entry{name: name, content: target, mode: fs.ModeSymlink | 0o777}
}

func zipOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, NonUTF8: e.raw}
		header.SetMode(e.mode)
		w, err := writer.CreateHeader(header)
		require.NoError(t, err)
		_, err = w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, writer.Close())
	return out.Bytes()
}

// buildpack is a buildpack of shell scripts that a test makes; an empty script is the one that works.
type buildpack struct{ detect, compile, release string }

// sound scripts: the app's file `run` is what it is started with.
const (
	soundDetect  = "echo Test"
	soundCompile = "echo compiled"
	soundRelease = "printf -- '---\\ndefault_process_types:\\n  web: bash ./run\\n'"
)

// serve puts the buildpack, as an operator's zip, on a server of the test's own.
func (b buildpack) serve(t *testing.T, key string) api.AdminBuildpack {
	t.Helper()
	script := func(own, sound string) string {
		if own == "" {
			own = sound
		}
		return "#!/usr/bin/env bash\nset -e\n" + own + "\n"
	}
	content := zipOf(t,
		program("bin/detect", script(b.detect, soundDetect)),
		program("bin/compile", script(b.compile, soundCompile)),
		program("bin/release", script(b.release, soundRelease)),
	)
	offered := offerZip(t, key, content)
	offered.Key = key
	return offered
}

func sha1Of(content string) string {
	digest := sha1.Sum([]byte(content)) //nolint:gosec // the wire's digest of a droplet
	return hex.EncodeToString(digest[:])
}
