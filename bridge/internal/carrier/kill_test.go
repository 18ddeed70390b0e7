package carrier

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// victimDir makes the test binary the program that is killed: it logs without
// end into this folder, with no collector there.
const victimDir = "CARRIER_TEST_VICTIM_DIR"

// victim says which row it logs, before it does, and at the start of which
// millisecond.
func victim(dir string) {
	p, err := Start(Config{
		Dir: dir, MaxBytes: 64 << 20,
		Sink: &collector{answer: func(int) error { return errors.New("away") }}, Report: func(error) {},
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s := p.Open(owner)
	_ = s.Start(nil)
	for i := 0; ; i++ {
		for j := range 10 {
			if err := s.Row(time.Now(), 0, false, number(i*10+j), nil); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		fmt.Println(i*10 + 10)
		time.Sleep(time.Millisecond) // a program that works between rows
	}
}

func TestWhatWasLogged200msBeforeAKillIsThere(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	// What was logged when is known from here: later than it was, never earlier.
	type mark struct {
		rows int
		at   time.Time
	}
	var marks []mark
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		_, err := fmt.Sscan(lines.Text(), &n)
		require.NoError(t, err, lines.Text())
		marks = append(marks, mark{n, time.Now()})
		if time.Since(marks[0].at) > 1500*time.Millisecond {
			break
		}
	}
	killed := time.Now()
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // "signal: killed"
	promised := 0
	for _, m := range marks {
		if killed.Sub(m.at) > 200*time.Millisecond {
			promised = m.rows
		}
	}
	require.Positive(t, promised)

	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		p, said := open(t, Config{Sink: c, Dir: dir})
		synctest.Wait()
		got := c.events()
		wantSeqs(t, got)
		assert.GreaterOrEqual(t, len(got), promised+1, "rows that were promised to survive, and the start")
		t.Logf("%d rows promised, %d survived of at least %d", promised, len(got)-1, marks[len(marks)-1].rows)
		require.NoError(t, p.Shutdown(context.Background()))
		assert.Empty(t, said.all())
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, left, "sent, then removed")
	})
}
