package shell

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
