package upload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/exporter/internal/dotwandb"
	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// config.yaml is byte for byte what W&B's own client makes of a config.
func TestConfigYAMLAsCaptured(t *testing.T) {
	captured, err := os.Open(filepath.Join("..", "..", "..", "internal", "wandbtest", "testdata", "b_online.jsonl"))
	require.NoError(t, err)
	defer captured.Close()
	config, checked := "", false
	lines := bufio.NewScanner(captured)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r struct {
			Path string
			Text string `json:"body_text"`
			Body json.RawMessage
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		switch {
		case bytes.Contains(r.Body, []byte(`"UpsertBucket"`)):
			var body struct{ Variables struct{ Config string } }
			require.NoError(t, json.Unmarshal(r.Body, &body))
			config = strings.ReplaceAll(body.Variables.Config, `"host":"host-1"`, `"host":"vm"`) // the capture's own doing
		case strings.HasSuffix(r.Path, "/config.yaml"):
			got, err := configYAML(config)
			require.NoError(t, err)
			assert.Equal(t, r.Text, string(got))
			checked = true
		}
	}
	assert.True(t, checked)
}

func TestConfigYAML(t *testing.T) {
	got, err := configYAML(`{"s":{"value":"1e3"},"n":{"value":NaN},"b":{"value":"yes"},"big":{"value":9007199254740993},"l":{"value":"a\nb"},"e":{"value":{}},"z":{"value":null}}`)
	require.NoError(t, err)
	assert.Equal(t, `b:
    value: "yes"
big:
    value: 9007199254740993
e:
    value: {}
l:
    value: |-
        a
        b
"n":
    value: .nan
s:
    value: "1e3"
z:
    value: null
`, string(got))
}

// What a log names outside of its files is not read, and nothing waits for a
// file that is not there.
func TestFilesThatCannotGo(t *testing.T) {
	for name, place := range map[string]func(t *testing.T, dir string){
		"media/gone":       func(*testing.T, string) {},
		"../run-r.wandb":   func(*testing.T, string) {},
		"media/../../logs": func(*testing.T, string) {},
		"/etc/hostname":    func(*testing.T, string) {},
		"media/link": func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(dir, "media", "link")))
		},
		"media/directory": func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(filepath.Join(dir, "media", "directory"), 0o777))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, func(f *fixture) {
				t := f.T
				f.write(1, opening(start)...)
				good := f.file(1, "media/good", "good")
				place(t, filepath.Join(filepath.Dir(f.part(1)), "files"))
				f.write(1, named(name, dotwandb.FileNow), good, row(0, "x", "1"), exit(0))
				u := f.uploader()
				require.NoError(t, u.Run(t.Context()))
				got := f.whole(0)
				assert.Len(t, got.Files, 4, "the good one, metadata, config, summary: %v", got.Uploaded)
				require.Len(t, f.notices, 1)
				assert.Equal(t, FileFailed, f.notices[0].Kind)
				assert.ErrorContains(t, f.notices[0].Err, "p/r")
				assert.Equal(t, 1, u.Status().FilesFailed)
			})
		})
	}
}

// A file that is to go up at the end is read at the end; those that the uploader
// makes itself are not taken from the disk.
func TestFilesAtTheEnd(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.file(1, "late", "half")
		f.file(1, "now", "now")
		f.write(1, named("late", dotwandb.FileAtEnd), named("now", dotwandb.FileNow), named(configFile, dotwandb.FileAtEnd))
		u := f.uploader(following)
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		time.Sleep(time.Minute)
		assert.NotContains(t, f.held().Files, "late")
		assert.Contains(t, f.held().Files, "now")
		assert.Contains(t, f.held().Uploaded, "now", "before the end")
		f.file(1, "late", "whole")
		f.write(1, exit(0))
		u.Wake()
		require.NoError(t, <-done)
		f.whole(0)
		assert.Empty(t, f.notices)
	})
}

// While storage is away rows go on as ever, and files follow when it is back.
func TestRowsDoNotWaitForFiles(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		u := f.uploader(following)
		done := make(chan error)
		go func() { done <- u.Run(t.Context()) }()
		synctest.Wait()
		f.server.Script(wandbtest.Storage, fault{Stall: true, Times: 100})
		for step := range 120 {
			f.write(1, f.file(1, fmt.Sprintf("media/%d", step), fmt.Sprint(step)), row(int64(step), "x", "1"))
			u.Wake()
			time.Sleep(15 * time.Second)
			assert.GreaterOrEqual(t, len(f.held().History), step-3)
		}
		assert.Zero(t, f.held().Crashes)
		f.write(1, exit(0))
		u.Wake()
		require.NoError(t, <-done)
		f.whole(0)
		assert.Len(t, f.held().Files, 123)
	})
}

// output.log is all lines of all parts, as they were put together for the
// stream, and is read in little memory.
func TestConsoleFile(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.write(1, line("one", false), rec{Output: &dotwandb.Output{Line: "tw"}}, line("err", true), rec{Output: &dotwandb.Output{Line: "o\nthree\r\nha"}}, row(0, "x", "1"), exit(1))
		f.write(2, opening(start.Add(time.Minute))...)
		for range 3000 {
			f.write(2, line(strings.Repeat("long ", 20), false))
		}
		f.write(2, rec{Output: &dotwandb.Output{Line: "lf"}}, exit(0))
		require.NoError(t, f.uploader().Run(t.Context()))
		got := f.held()
		assert.Equal(t, "one\nerr\ntwo\nthree\nha\n"+strings.Repeat(strings.Repeat("long ", 20)+"\n", 3000)+"lf\n", string(got.Files[consoleFile]))
		assert.Len(t, got.Console, 3006)
		assert.Empty(t, f.notices)
	})
}

// net/http may close a body that it still reads: nothing is opened any more.
func TestConsoleFileIsClosedWhileItIsRead(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.write(1, line("one", false), exit(0))
		r := &consoleReader{logs: []string{f.part(1), f.part(1)}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(io.Discard, r)
		}()
		require.NoError(t, r.Close())
		<-done
		_, err := r.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrClosed)
		assert.Nil(t, r.file)
	})
}

// A run without console has no file of it, and one whose task was not heard of
// any more has its files, and no end.
func TestFilesOfADeadRun(t *testing.T) {
	bubble(t, wandbtest.Options{}, func(f *fixture) {
		t := f.T
		f.write(1, opening(start)...)
		f.write(1, row(0, "x", "1"), exit(dotwandb.ExitCrashed))
		require.NoError(t, f.uploader().Run(t.Context()))
		got := f.held()
		assert.ElementsMatch(t, []string{metadataFile, configFile, summaryFile}, got.Uploaded)
		assert.Nil(t, got.ExitCode)
		assert.NotContains(t, got.Files, consoleFile)
		time.Sleep(time.Hour)
		assert.Equal(t, "crashed", f.held().State)
	})
}
