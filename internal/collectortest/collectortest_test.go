package collectortest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One collector after another, ended in each way.
func TestOneAfterAnother(t *testing.T) {
	s := Laptop(t)
	s.StartReady(t).Kill()
	s.StartReady(t).Stop(t)
	require.Greater(t, s.StartReady(t).Quit(t), 3)
	c := s.StartReady(t)
	require.NotEmpty(t, c.HTTP())
	require.Positive(t, c.RSS(t))
	require.Positive(t, c.Files(t))
	c.Stop(t)
}
