package execserver

import (
	"os"
	"testing"

	"github.com/durable-dea/dea/internal/wardentest"
)

func TestMain(m *testing.M) { os.Exit(wardentest.Main(m, "dea-runner")) }
