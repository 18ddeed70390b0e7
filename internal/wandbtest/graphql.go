package wandbtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// The headers of shared mode. GraphQL and the file stream name the client
// differently.
const (
	headerAsync         = "X-Wandb-Use-Async-Filestream"
	headerGraphQLClient = "X-Wandb-Client-Id"
	headerStreamClient  = "X-Wandb-Async-Client-Id"
)

// fail is why an operation fails, and with which status.
type fail struct {
	status  int
	message string
}

func failf(status int, format string, args ...any) *fail {
	return &fail{status, fmt.Sprintf(format, args...)}
}

// operation answers one GraphQL operation with its data.
type operation func(s *Server, c *call, variables json.RawMessage) (data map[string]any, failed *fail)

// operations by name. The answers hold all fields that anybody selects of them:
// there is no GraphQL engine here, documents are read by their name only.
var operations = map[string]operation{
	"Viewer":                              op((*Server).viewer),
	"ServerInfo":                          op((*Server).viewer),
	"ServerFeaturesQuery":                 op((*Server).viewer),
	"OrganizationCoreWeaveOrganizationID": op((*Server).organization),
	"UpsertBucket":                        op((*Server).upsertBucket),
	"RunResumeStatus":                     op((*Server).runResumeStatus),
	"QueryRunInfo":                        op((*Server).projectRun),
	"RunState":                            op((*Server).projectRun),
	"RunStoppedStatus":                    op((*Server).projectRun),
	"StopRun":                             op((*Server).stopRun),
	"UpdateRunState":                      op((*Server).updateRunState),
	"NotifyScriptableRunAlert":            op((*Server).notifyAlert),
	"CreateRunFiles":                      op((*Server).createRunFiles),
	"MarkRunFilesUploaded":                op((*Server).markRunFilesUploaded),
	"ArtifactType":                        op((*Server).artifactType),
	"CreateArtifact":                      op((*Server).createArtifact),
	"CreateArtifactManifest":              op((*Server).createArtifactManifest),
	"CreateArtifactFiles":                 op((*Server).createArtifactFiles),
	"CommitArtifact":                      op((*Server).commitArtifact),
	"ClientIDMapping":                     op((*Server).clientIDMapping),
	"ArtifactByID":                        op((*Server).artifactByID),
	"FetchArtifactManifest":               op((*Server).artifactByID),

	"GetViewer":                     op((*Server).viewer),
	"GetDefaultEntity":              op((*Server).viewer),
	"Run":                           reading((*Server).readRun),
	"Runs":                          op((*Server).readRuns),
	"RunHistoryKeys":                reading((*Server).readHistory),
	"RunFullHistory":                reading((*Server).readHistory),
	"RunSampledHistory":             reading((*Server).readHistory),
	"RunParquetHistory":             reading((*Server).readHistory),
	"HistoryPage":                   reading((*Server).readHistory),
	"SampledHistoryPage":            reading((*Server).readHistory),
	"RunFiles":                      reading((*Server).readFiles),
	"RunConsoleLogPage":             reading((*Server).readConsole),
	"RunConsoleLogTail":             reading((*Server).readConsole),
	"RunOutputArtifacts":            reading((*Server).readArtifacts),
	"ArtifactMembershipByName":      op((*Server).artifactByName),
	"ArtifactMembershipFiles":       op((*Server).artifactFiles),
	"GetArtifactMembershipFileUrls": op((*Server).artifactFiles),
	"UseArtifact":                   op((*Server).useArtifact),
}

// op makes an operation of a method, which gets its variables decoded.
func op[V any](handle func(*Server, *call, V) (map[string]any, *fail)) operation {
	return func(s *Server, c *call, variables json.RawMessage) (map[string]any, *fail) {
		var v V
		if len(variables) > 0 && !bytes.Equal(variables, []byte("null")) {
			if err := json.Unmarshal(variables, &v); err != nil {
				s.violation("%s: variables of another type than the schema's: %v", c.operation, err)
				return nil, failf(http.StatusBadRequest, "variables: %v", err)
			}
		}
		return handle(s, c, v)
	}
}

func (s *Server) graphql(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.allowed(c, GraphQL, s.opts.GraphQLLimit) || !s.authorized(c) {
		return
	}
	var request struct {
		Query     string
		Variables json.RawMessage
	}
	if err := json.Unmarshal(c.body, &request); err != nil {
		c.graphQLErrors(http.StatusBadRequest, err.Error())
		return
	}
	handle := operations[c.operation]
	if handle == nil || request.Query == "" {
		s.violation("graphql: no operation %q", c.operation)
		c.graphQLErrors(http.StatusBadRequest, fmt.Sprintf("this server has no operation %q", c.operation))
		return
	}
	data, failed := handle(s, c, request.Variables)
	if failed != nil {
		c.graphQLErrors(failed.status, failed.message)
		return
	}
	if missing := Missing(request.Query, data); len(missing) > 0 {
		s.violation("%s: selects what the answer has not: %v", c.operation, missing)
	}
	c.reply(http.StatusOK, map[string]any{"data": data})
}

// graphQLErrors answers with errors in GraphQL's form.
func (c *call) graphQLErrors(status int, messages ...string) {
	var list []any
	for _, m := range messages {
		list = append(list, map[string]any{"message": m})
	}
	c.reply(status, map[string]any{"data": nil, "errors": list})
}
