package names_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/names"
)

func TestNames(t *testing.T) {
	for _, s := range []string{"a", "9", "k3f9a2xq"} {
		require.True(t, names.IsInstance(s), s)
	}
	for _, s := range []string{"", "A", "a-b", "k3f9a2xq1", "ä", "a\n"} {
		require.False(t, names.IsInstance(s), "%q", s)
	}
	for _, s := range []string{"a", "_x", "-", ".", "1j0ro9fldf0", strings.Repeat("Z", 80)} {
		require.True(t, names.IsID(s), s)
	}
	for _, s := range []string{"", "a/b", "a b", "a\n", "ü", strings.Repeat("Z", 81)} {
		require.False(t, names.IsID(s), "%q", s)
	}
}
