package wandb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Viewer is whom the credentials belong to.
type Viewer struct {
	ID, Username, Email string
	Entity              string // where runs go that name none
	Teams               []string
}

const viewerDocument = `query Viewer{viewer{id entity username email flags teams{edges{node{name}}}}}`

// Viewer asks whom the credentials belong to: the way to check them.
func (c *Client) Viewer(ctx context.Context) (Viewer, error) {
	var out struct {
		Viewer *struct {
			ID, Entity, Username, Email *string
			Teams                       struct {
				Edges []struct{ Node struct{ Name string } }
			}
		}
	}
	if err := c.graphQL(ctx, graphQLPolicy, "Viewer", "", viewerDocument, nil, &out); err != nil {
		return Viewer{}, err
	}
	if out.Viewer == nil { // nobody is logged in
		return Viewer{}, &Error{Op: "Viewer", Host: c.base.Host, Kind: ErrUnauthorized, Err: errors.New("nobody, by " + c.described)}
	}
	v := out.Viewer
	viewer := Viewer{ID: value(v.ID), Username: value(v.Username), Email: value(v.Email), Entity: value(v.Entity)}
	for _, e := range v.Teams.Edges {
		viewer.Teams = append(viewer.Teams, e.Node.Name)
	}
	return viewer, nil
}

// Features are what a server can do beyond the least, by name.
type Features map[string]bool

// Features that a client of runs asks about.
const (
	StructuredConsoleLogs = "STRUCTURED_CONSOLE_LOGS"
	ExpandMetricGlobs     = "EXPAND_DEFINED_METRIC_GLOBS"
	FileStreamGzip        = "FILESTREAM_GZIP"
	LargeFilenames        = "LARGE_FILENAMES"
	MarkRunFilesUploaded  = "MARK_RUN_FILES_UPLOADED"
	ClientIDs             = "CLIENT_IDS" // artifacts may be referred to by ids of their clients
)

const featuresDocument = `query ServerFeaturesQuery{serverInfo{cliVersionInfo features{name isEnabled}}}`

// Features asks what the server can do. On an error take it that it can do
// nothing: servers that do not know the question have none of these.
func (c *Client) Features(ctx context.Context) (Features, error) {
	var out struct {
		ServerInfo *struct {
			CLIVersionInfo json.RawMessage
			Features       []struct {
				Name      string
				IsEnabled bool
			}
		}
	}
	if err := c.graphQL(ctx, graphQLPolicy, "ServerFeaturesQuery", "", featuresDocument, nil, &out); err != nil {
		return nil, err
	}
	features := Features{}
	if out.ServerInfo != nil {
		if knowsClientIDs(out.ServerInfo.CLIVersionInfo) {
			features[ClientIDs] = true
		}
		for _, f := range out.ServerInfo.Features {
			features[f.Name] = f.IsEnabled
		}
	}
	return features, nil
}

// knowsClientIDs is how W&B's own client judges it: by the newest version of
// itself that the server is for, which is 0.11.0 or later.
func knowsClientIDs(versions json.RawMessage) bool {
	var v struct {
		Newest string `json:"max_cli_version"`
	}
	var major, minor int
	if json.Unmarshal(versions, &v) != nil { // another form is one that says nothing
		return false
	}
	n, _ := fmt.Sscanf(v.Newest, "%d.%d", &major, &minor)
	return n == 2 && (major > 0 || minor >= 11)
}

// Alert is a message to the people who follow a run.
type Alert struct {
	Title, Text string
	Level       string        // INFO, WARN or ERROR; "" is INFO
	Wait        time.Duration // for so long W&B keeps another of this title back
}

const alertDocument = `mutation NotifyScriptableRunAlert($entityName:String!,$projectName:String!,$runName:String!,$title:String!,$text:String!,$severity:AlertSeverity=INFO,$waitDuration:Duration){
notifyScriptableRunAlert(input:{entityName:$entityName,projectName:$projectName,runName:$runName,title:$title,text:$text,severity:$severity,waitDuration:$waitDuration}){success}}`

// Alert sends an alert. If its answer is lost it is sent again, and people may
// see it twice.
func (c *Client) Alert(ctx context.Context, run Path, a Alert) error {
	if a.Level == "" {
		a.Level = "INFO"
	}
	variables := map[string]any{
		"entityName": run.Entity, "projectName": run.Project, "runName": run.Run,
		"title": a.Title, "text": a.Text, "severity": a.Level, "waitDuration": a.Wait.Milliseconds(),
	}
	var out struct {
		NotifyScriptableRunAlert struct{ Success bool }
	}
	const op = "NotifyScriptableRunAlert"
	err := c.graphQL(ctx, graphQLPolicy, op, run.String(), alertDocument, variables, &out)
	return c.success(err, op, run.String(), out.NotifyScriptableRunAlert.Success)
}

const stopDocument = `mutation StopRun($id:ID!){stopRun(input:{id:$id}){success}}`

// StopRun presses the stop button of a run: whoever streams it is told.
func (c *Client) StopRun(ctx context.Context, run Run) error {
	var out struct {
		StopRun struct{ Success bool }
	}
	err := c.graphQL(ctx, graphQLPolicy, "StopRun", run.String(), stopDocument, map[string]any{"id": run.StorageID}, &out)
	return c.success(err, "StopRun", run.String(), out.StopRun.Success)
}

const stoppedDocument = `query RunStoppedStatus($entityName:String,$projectName:String,$runId:String!){project(name:$projectName,entityName:$entityName){run(name:$runId){stopped}}}`

// Stopped asks whether somebody pressed the stop button of a run.
func (c *Client) Stopped(ctx context.Context, run Path) (bool, error) {
	var out struct {
		Project *struct {
			Run *struct{ Stopped *bool }
		}
	}
	const op = "RunStoppedStatus"
	variables := map[string]any{"entityName": run.Entity, "projectName": run.Project, "runId": run.Run}
	if err := c.graphQL(ctx, graphQLPolicy, op, run.String(), stoppedDocument, variables, &out); err != nil {
		return false, err
	}
	if out.Project == nil || out.Project.Run == nil {
		return false, &Error{Op: op, Host: c.base.Host, Run: run.String(), Kind: ErrNotFound}
	}
	return value(out.Project.Run.Stopped), nil
}

const stateDocument = `query RunState($project:String!,$entity:String!,$name:String!){project(name:$project,entityName:$entity){run(name:$name){state}}}`

// State asks for a run's state: running, finished, failed, crashed, killed, ….
func (c *Client) State(ctx context.Context, run Path) (string, error) {
	var out struct {
		Project *struct {
			Run *struct{ State string }
		}
	}
	const op = "RunState"
	variables := map[string]any{"entity": run.Entity, "project": run.Project, "name": run.Run}
	if err := c.graphQL(ctx, graphQLPolicy, op, run.String(), stateDocument, variables, &out); err != nil {
		return "", err
	}
	if out.Project == nil || out.Project.Run == nil {
		return "", &Error{Op: op, Host: c.base.Host, Run: run.String(), Kind: ErrNotFound}
	}
	return out.Project.Run.State, nil
}

// success makes an error of an answer that says that it was none.
func (c *Client) success(err error, op, run string, ok bool) error {
	if err == nil && !ok {
		return &Error{Op: op, Host: c.base.Host, Run: run, Kind: ErrRefused, Err: errors.New("W&B says that it did not succeed")}
	}
	return err
}
