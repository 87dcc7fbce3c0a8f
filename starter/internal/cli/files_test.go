package cli

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func TestCompletionsOfAPath(t *testing.T) {
	listing := api.FileListing{Entries: []api.FileEntry{
		{Name: "main.go", Type: api.FileTypeFile},
		{Name: "mail", Type: api.FileTypeDirectory},
		{Name: "other", Type: api.FileTypeLink},
		{Name: "ma\nil", Type: api.FileTypeFile},
	}}
	found, directive := completions("app/", "app/ma", listing)
	require.Equal(t, []string{"app/main.go", "app/mail/"}, found)
	require.Equal(t, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace, directive)
	found, directive = completions("", "o", listing)
	require.Equal(t, []string{"other"}, found)
	require.Equal(t, cobra.ShellCompDirectiveNoFileComp, directive)
}
