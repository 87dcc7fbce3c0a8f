package push

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
)

func TestABlankCommandIsNone(t *testing.T) {
	for command, want := range map[string]string{" ": "", "\t\n": "", "": "", " ./web ": " ./web "} {
		o := Options{Name: "a", Buildpacks: []string{"https://x/y.git"}, Command: command}
		request, err := stagingRequest(o, "t", cloudcontroller.URLs{}, nil)
		require.NoError(t, err)
		require.Equal(t, want, request.Properties.Meta.Command)
		require.Equal(t, want, appSpec(o, "v", "", "").Message.StartCommand)
	}
}
