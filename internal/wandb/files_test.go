package wandb

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

func TestFilesAreMatchedByName(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		run := f.newRun()
		names := []string{"c", "a", "media/b.png"}
		uploads, err := f.CreateFiles(f.Context(), run.Path, names...)
		require.NoError(f, err)
		for i, u := range uploads {
			assert.Equal(f, names[i], u.Name)
			require.NoError(f, f.Put(f.Context(), run.Path, u, bytesBody([]byte(u.Name))))
			assert.Equal(f, names[i], string(f.held().Files[names[i]]))
		}
		assert.Empty(f, f.server.Violations(), "no credentials at signed URLs")
	})
}

// The content is opened anew for each try, and closed each time.
func TestContentIsOpenedForEachTry(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		f.server.Script(wandbtest.Storage, wandbtest.Fault{Status: 500}, wandbtest.Fault{Nth: 2, Lost: true})
		opened, closed := 0, 0
		content := func() (io.ReadCloser, int64, error) {
			opened++
			return closer{strings.NewReader("hello"), &closed}, 5, nil
		}
		run := f.newRun()
		require.NoError(f, f.UploadFile(f.Context(), run.Path, "a", content))
		assert.Equal(f, 3, opened)
		assert.Equal(f, 3, closed)
		empty := func() (io.ReadCloser, int64, error) { return closer{strings.NewReader(""), &closed}, 0, nil }
		require.NoError(f, f.UploadFile(f.Context(), run.Path, "empty", empty))
		assert.Equal(f, 4, closed)
		assert.Equal(f, "hello", string(f.held().Files["a"]))
	})
}

type closer struct {
	io.Reader
	closed *int
}

func (c closer) Close() error {
	*c.closed++
	return nil
}

func TestAnswersThatLackFiles(t *testing.T) {
	for name, tc := range map[string]struct{ files, want string }{
		"fewer":    {`[]`, "another number of files"},
		"another":  {`[{"name":"b","uploadUrl":"http://x"}]`, `no file "a"`},
		"unwanted": {`[{"name":"a","uploadUrl":null}]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := roundTripper(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{}, Body: body(`{"data":{"createRunFiles":{"uploadHeaders":[],"files":` + tc.files + `}}}`)}, nil
			})
			bubble(t, wandbtest.Options{}, Options{HTTP: &http.Client{Transport: h}}, func(f *fixture) {
				err := f.UploadFile(f.Context(), Path{"e", "p", "r"}, "a", bytesBody([]byte("x")))
				if tc.want == "" {
					assert.NoError(f, err)
				} else {
					assert.ErrorContains(f, err, tc.want)
				}
			})
		})
	}
}

// An error of net/http names the URL, and a signed URL is as good as a key.
func TestSignedURLsDoNotShow(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		f.server.Script(wandbtest.Storage, wandbtest.Fault{Reset: true, Times: 100})
		err := f.UploadFile(f.Context(), f.newRun().Path, "a.txt", bytesBody([]byte("x")))
		require.ErrorIs(f, err, ErrUnavailable)
		assert.ErrorContains(f, err, "upload of a.txt")
		assert.NotContains(f, err.Error(), "signature")
		assert.Equal(f, 21, f.count("/storage/run/r/a.txt"))
	})
}

func TestMarkUploaded(t *testing.T) {
	bubble(t, wandbtest.Options{Features: []string{MarkRunFilesUploaded}}, Options{}, func(f *fixture) {
		run := f.newRun()
		require.NoError(f, f.MarkUploaded(f.Context(), run.Path, "a"))
		assert.Equal(f, []string{"a"}, f.held().Uploaded)
		assert.Empty(f, f.server.Violations())
	})
}
