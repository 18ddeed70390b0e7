package wandb

import (
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
