package wandb

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// The digests of a table that W&B's own client logged.
func TestArtifactDigest(t *testing.T) {
	assert.Equal(t, "77d2df7ef871a3f4401591267a23cbf5", manifestDigest(map[string]string{"plain_table.table.json": "taqa5SK77rp4P1ULVAZkYw=="}))
	assert.Equal(t, "1B2M2Y8AsgTpgAmY7PhCfg==", contentMD5(nil), "as md5 in base64")
}

// A repeated call, also after a lost answer, makes one version; other content
// makes another.
func TestLogArtifact(t *testing.T) {
	bubble(t, wandbtest.Options{UploadHeaders: []string{"x-ms-blob-type:BlockBlob"}}, Options{}, func(f *fixture) {
		run := f.newRun()
		a := Artifact{Type: "run_table", Name: "run-r-t", Files: map[string][]byte{"t.table.json": []byte(`{"_type":"table"}`)}}
		f.server.Script("CommitArtifact", wandbtest.Fault{Lost: true})
		f.server.Script(wandbtest.Storage, wandbtest.Fault{Status: 503})
		first, err := f.LogArtifact(f.Context(), run.Path, a)
		require.NoError(f, err)
		again, err := f.LogArtifact(f.Context(), run.Path, a)
		require.NoError(f, err)
		assert.Equal(f, first, again)
		a.Files["t.table.json"] = []byte(`{"_type":"table","data":[]}`)
		other, err := f.LogArtifact(f.Context(), run.Path, a)
		require.NoError(f, err)
		assert.NotEqual(f, first, other)
		assert.Empty(f, f.server.Violations())
	})
}

// A version that was logged before is found by its client's id, though later ones
// came behind it; one that was never finished is made again.
func TestLogArtifactAgain(t *testing.T) {
	bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
		run := f.newRun()
		version := func(n string, step int64) Artifact {
			return Artifact{
				Type: "run_table", Name: "run-r-t", Files: map[string][]byte{"t.table.json": []byte(n)},
				ClientID: strings.Repeat(n, 128), SequenceID: strings.Repeat("s"+n, 64), Step: step,
			}
		}
		f.server.Script("CommitArtifact", wandbtest.Fault{Status: 400})
		_, err := f.LogArtifact(f.Context(), run.Path, version("1", 0))
		require.ErrorIs(f, err, ErrRefused)
		var ids []string
		for _, again := range []bool{false, true} {
			for n, text := range []string{"1", "2", "3"} {
				a := version(text, int64(n))
				a.Again = again
				id, err := f.LogArtifact(f.Context(), run.Path, a)
				require.NoError(f, err)
				ids = append(ids, id)
			}
		}
		assert.Equal(f, ids[:3], ids[3:])
		committed := 0
		for _, a := range f.server.Artifacts() {
			if a.State != stateCommitted {
				continue
			}
			assert.Equal(f, int64(committed), a.Step)
			assert.Equal(f, committed == 2, len(a.Aliases) == 1, "the latest: %v", a.Aliases)
			committed++
		}
		assert.Equal(f, 3, committed)
		assert.Empty(f, f.server.Violations())
	})
}

// A server that does not know an id may say so with an error.
func TestLogArtifactOfAnUnknownID(t *testing.T) {
	for name, fault := range map[string][]wandbtest.Fault{"unknown": nil, "refused": {{Errors: []string{"no such id"}}}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wandbtest.Options{}, Options{}, func(f *fixture) {
				run := f.newRun()
				f.server.Script("ClientIDMapping", fault...)
				id, err := f.LogArtifact(f.Context(), run.Path, Artifact{
					Type: "run_table", Name: "t", Files: map[string][]byte{"t": nil}, Again: true,
					ClientID: strings.Repeat("a", 128), SequenceID: strings.Repeat("b", 128),
				})
				require.NoError(f, err)
				assert.NotEmpty(f, id)
				assert.Equal(f, stateCommitted, f.server.Artifacts()[0].State)
			})
		})
	}
}

func TestNameArtifact(t *testing.T) {
	for name, want := range map[string]string{
		"run-r-t":                           "run-r-t",
		"run-r-val/predictions":             "run-r-valpredictions-uDzj0g",
		"run-r-" + strings.Repeat("x", 122): "run-r-" + strings.Repeat("x", 122),
	} {
		assert.Equal(t, want, NameArtifact(name))
	}
	long := NameArtifact("run-r-" + strings.Repeat("x", 123))
	assert.Len(t, long, 128)
	assert.NotEqual(t, long, NameArtifact("run-r-"+strings.Repeat("x", 124)))
}

// Rows refer to artifacts by their clients' ids where W&B says that it knows
// them, or is of a version that does.
func TestFeatureClientIDs(t *testing.T) {
	for name, tc := range map[string]struct {
		opts wandbtest.Options
		want bool
	}{
		"new":            {wandbtest.Options{}, true},
		"old":            {wandbtest.Options{NewestClient: "0.10.33"}, false},
		"at the border":  {wandbtest.Options{NewestClient: "0.11.0"}, true},
		"no version":     {wandbtest.Options{NewestClient: "-"}, false},
		"by its feature": {wandbtest.Options{NewestClient: "-", Features: []string{ClientIDs}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tc.opts, Options{}, func(f *fixture) {
				features, err := f.Features(f.Context())
				require.NoError(f, err)
				assert.Equal(f, tc.want, features[ClientIDs])
			})
		})
	}
	assert.False(t, knowsClientIDs([]byte(`"text"`)))
	assert.False(t, knowsClientIDs(nil))
}
