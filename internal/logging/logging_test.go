package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/log"

	"github.com/durable-dea/dea/config"
)

func TestLogFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dea.log")
	for _, line := range []string{"first", "second"} {
		logger, closer, err := New("worker", config.Logging{Level: "warn", Format: "json", File: file})
		require.NoError(t, err)
		logger.Info("not said")
		logger.Warn(line, "n", 1)
		require.NoError(t, closer.Close())
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 2, "appended, and info is below warn")
	var said map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &said))
	assert.Equal(t, "second", said["@message"])
	assert.Equal(t, "worker", said["@module"])
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestLoggersThatCannotBe(t *testing.T) {
	_, _, err := New("x", config.Logging{Level: "loud"})
	require.ErrorContains(t, err, `unknown log level "loud"`)
	_, _, err = New("x", config.Logging{Level: "info", File: filepath.Join(t.TempDir(), "none", "log")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestEveryLevelOfTheConfigurationIsKnown(t *testing.T) {
	for _, level := range []string{"trace", "debug", "info", "warn", "error", "off"} {
		_, closer, err := New("x", config.Logging{Level: level, Format: "text"})
		require.NoError(t, err, level)
		require.NoError(t, closer.Close())
	}
}

// input is a workflow's input that somebody hands to the logger.
type input struct{ Password string }

type sayingPointer struct{ name string }

func (s *sayingPointer) String() string { return s.name }

func TestTemporalsLoggerWritesNoPayload(t *testing.T) {
	var out bytes.Buffer
	logger := Temporal(NewTo(&out, "temporal", hclog.Debug, true))
	payload := &commonpb.Payload{Data: []byte("hunter2")}
	for _, v := range []any{
		payload, &commonpb.Payloads{Payloads: []*commonpb.Payload{payload}},
		[]*commonpb.Payload{payload},
		input{"hunter2"},
		&input{"hunter2"}, []byte("hunter2"),
		[]any{"hunter2"},
		map[string]string{"p": "hunter2"},
		func() {},
		config.Secret("hunter2"), config.URL("http://u:hunter2@h"),
		[2]string{"hunter2"},
		json.RawMessage("hunter2"),
	} {
		logger.Error("with", "value", v)
		log.With(logger, "value", v).Warn("kept")
		logger.Info("as key", v, 1)
		logger.Debug("alone", v)
	}
	said := out.String()
	assert.NotContains(t, said, "hunter2")
	assert.NotContains(t, said, "aHVudGVyMg", "nor in base64")
	assert.Contains(t, said, "(logging.input)")
	assert.Contains(t, said, "(*common.Payload)")
	assert.Equal(t, 13*4, strings.Count(said, "\n"))
}

func TestTemporalsLoggerWritesWhatHelps(t *testing.T) {
	var out bytes.Buffer
	logger := log.With(Temporal(NewTo(&out, "temporal", hclog.Debug, true)), "WorkflowID", "node/1")
	var nobody *sayingPointer
	type state string
	logger.Warn("Activity error.", "Error", errors.New("it broke"), "Attempt", int32(3), "Took", 1500*time.Millisecond,
		"State", state("READY"), "Names", []string{"a", "b"}, "Nil", nil, "Stack", strings.Repeat("s", 2*maxValue),
		"Nobody", nobody, "Ok", true, "alone")
	var said map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &said))
	assert.Equal(t, "warn", said["@level"])
	assert.Equal(t, "Activity error.", said["@message"])
	assert.Equal(t, "node/1", said["WorkflowID"])
	assert.Equal(t, "it broke", said["Error"])
	assert.EqualValues(t, 3, said["Attempt"])
	assert.Equal(t, "1.5s", said["Took"])
	assert.Equal(t, "READY", said["State"])
	assert.Equal(t, "[a b]", said["Names"])
	assert.Equal(t, "(*logging.sayingPointer)", said["Nobody"])
	assert.Equal(t, true, said["Ok"])
	assert.Equal(t, "(no value)", said["alone"])
	assert.Len(t, said["Stack"], maxValue+len("…"))
}

func TestLevelsOfTemporalsLogger(t *testing.T) {
	var out bytes.Buffer
	logger := Temporal(NewTo(&out, "temporal", hclog.Warn, false))
	logger.Debug("d")
	logger.Info("i")
	assert.Empty(t, out.String())
	logger.Error("e", "k", "v")
	assert.Contains(t, out.String(), "[ERROR] temporal: e: k=v")
}
