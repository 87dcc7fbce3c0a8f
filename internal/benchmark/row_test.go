package benchmark

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMakeHoldsValueAgainstBar(t *testing.T) {
	for name, c := range map[string]struct {
		value float64
		bar   Bar
		ok    bool
	}{
		"at most, met":     {10, AtMost(10), true},
		"at most, missed":  {10.1, AtMost(10), false},
		"at least, met":    {150, AtLeast(150), true},
		"at least, missed": {149, AtLeast(150), false},
		"no bar":           {1e9, NoBar(), true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.ok, Make("x", "ms", c.value, 1, c.bar).OK)
		})
	}
	row := Make("x", "ms", 12.3456, 4, AtMost(20))
	assert.InDelta(t, 12.3, row.Value, 1e-9)
	assert.InDelta(t, 3.09, row.Ratio, 1e-9)
	assert.Zero(t, Make("x", "ms", 1, 0, NoBar()).Ratio)
}

func TestSaveReplacesItsOwnRowsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docs", "benchmarks.json")
	first, second := Origin{"a machine", "c1", "2026-01-01"}, Origin{"a machine", "c2", "2026-01-02"}
	require.NoError(t, Save(path, first, []Row{Make("b", "ms", 2, 1, AtMost(3)), Make("a", "ms", 1, 1, NoBar())}))
	require.NoError(t, Save(path, second, []Row{Make("b", "ms", 4, 1, AtMost(3))}))

	rows, err := Load(path)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	assert.Equal(t, "a", rows[0].Name)
	assert.Equal(t, first, rows[0].Origin)
	assert.Nil(t, rows[0].Bar)
	assert.InDelta(t, 4, rows[1].Value, 0)
	assert.False(t, rows[1].OK)
	assert.Equal(t, second, rows[1].Origin)
}

func TestLoadRefusesWhatIsNoList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.json")
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err := Load(path)
	require.ErrorContains(t, err, path)
	rows, err := Load(path + ".not")
	require.NoError(t, err)
	assert.Empty(t, rows)
}

func TestMedian(t *testing.T) {
	assert.Zero(t, Median(nil))
	assert.InDelta(t, 2, Median([]time.Duration{9 * time.Millisecond, time.Millisecond, 2 * time.Millisecond}), 1e-9)
}

// A row of the repository's file says where it comes from: all keys are there.
func TestHereKnowsTheMachine(t *testing.T) {
	here := Here(t.Context(), ".")
	assert.NotEmpty(t, here.Commit)
	assert.Contains(t, here.Machine, "cores")
	_, err := time.Parse(time.DateOnly, here.Date)
	require.NoError(t, err)
}
