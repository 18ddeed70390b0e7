package placement_test

import (
	"testing"

	"github.com/otel-wandb/otel-wandb/exporter/internal/placement/placementtest"
)

func TestCases(t *testing.T) { placementtest.Run(t, "testdata/*.placement") }
