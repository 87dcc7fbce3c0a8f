package execserver

import (
	"os"
	"testing"

	"github.com/durable-dea/dea/internal/sandbox"
	"github.com/durable-dea/dea/internal/wardentest"
)

func TestMain(m *testing.M) {
	if code, done := sandbox.Enter(); done {
		os.Exit(code)
	}
	os.Exit(wardentest.Main(m, "dea-runner"))
}
