package gate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/gate"
)

func TestOneNameKeepsNobodyFromAnother(t *testing.T) {
	g := gate.New(3, 2)
	enter := func(name string) func() {
		t.Helper()
		leave, ok := g.Enter(name)
		require.True(t, ok)
		return leave
	}
	refused := func(name string) {
		t.Helper()
		_, ok := g.Enter(name)
		require.False(t, ok)
	}
	first := enter("a")
	enter("a")
	refused("a")
	other := enter("b")
	refused("c") // there are three
	first()
	enter("a")
	refused("b")
	other()
	enter("c")
}
