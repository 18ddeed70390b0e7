package wandb

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-wandb/otel-wandb/internal/wandbtest"
)

// The schema of W&B is not public, but what its own client asks is known: our
// documents ask nothing that the captured ones do not, with the same types.
func TestDocumentsAskWhatTheOfficialClientAsks(t *testing.T) {
	official := capturedDocuments(t)
	for op, document := range map[string]string{
		"Viewer":                   viewerDocument,
		"ServerFeaturesQuery":      featuresDocument,
		"UpsertBucket":             upsertDocument,
		"RunResumeStatus":          resumeDocument,
		"CreateRunFiles":           createFilesDocument,
		"NotifyScriptableRunAlert": alertDocument,
		"CreateArtifact":           createArtifactDocument,
		"CreateArtifactManifest":   createManifestDocument,
		"CreateArtifactFiles":      createArtifactFilesDocument,
		"CommitArtifact":           commitArtifactDocument,
	} {
		t.Run(op, func(t *testing.T) {
			theirs, ok := official[op]
			require.True(t, ok, "no capture has it")
			selected := wandbtest.Selection(theirs)
			if op == "ServerFeaturesQuery" { // W&B's client asks two questions about the server
				selected = append(selected, wandbtest.Selection(official["server info"])...)
			}
			assert.Subset(t, selected, wandbtest.Selection(document), "what is selected")
			assert.NotEmpty(t, wandbtest.Selection(document))
			assert.Subset(t, variables(theirs), variables(document), "variables and their types")
			assert.Subset(t, arguments(theirs), arguments(document), "which variable goes where")
		})
	}
}

var (
	variable = regexp.MustCompile(`\$(\w+):([\w!\[\]]+)`)
	argument = regexp.MustCompile(`(\w+):\$(\w+)`)
	space    = regexp.MustCompile(`\s+`)
)

func variables(document string) []string {
	return variable.FindAllString(space.ReplaceAllString(document, ""), -1)
}

func arguments(document string) []string {
	return argument.FindAllString(space.ReplaceAllString(document, ""), -1)
}

// capturedDocuments are the documents of the official client, by operation.
func capturedDocuments(t *testing.T) map[string]string {
	t.Helper()
	documents := map[string]string{}
	files, err := filepath.Glob(filepath.Join("..", "wandbtest", "testdata", "*.jsonl"))
	require.NoError(t, err)
	slices.Sort(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for d := json.NewDecoder(bytes.NewReader(text)); ; {
			var c struct{ Body json.RawMessage }
			err := d.Decode(&c)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			var body struct{ OperationName, Query string }
			if strings.Contains(string(c.Body), "cliVersionInfo") && json.Unmarshal(c.Body, &body) == nil {
				documents["server info"] = body.Query
			}
			if json.Unmarshal(c.Body, &body) == nil && strings.TrimSpace(body.OperationName) != "" {
				documents[body.OperationName] = body.Query
			}
		}
	}
	return documents
}
