package wandb

import (
	"context"
)

// Upsert creates a run or changes it. What is empty stays as W&B has it: it
// cannot be cleared this way.
type Upsert struct {
	Run Path // an empty entity is the user's own

	// Fields and Config are the two halves of a run. After the first upsert,
	// send the half that changed: another writer may own the other.
	Fields *Fields
	Config string // whole, as W&B's JSON: {"lr":{"value":0.1},"_wandb":{"value":{"t":…}}}

	// Summary replaces the whole summary. Runs under way send theirs by Stream.
	Summary string
}

// Fields of a run beside config and summary.
type Fields struct {
	StorageID string // of the answer to an earlier upsert, or of Resume

	DisplayName, Group, JobType, Notes string
	Tags                               []string // all of them; none leaves those there are
	Host, Program, Commit, Repo, Sweep string
}

// Run is what W&B says of a run that was upserted. Its path is W&B's spelling,
// to be used from then on.
type Run struct {
	Path
	StorageID    string
	DisplayName  string
	Sweep        string
	ConfigJSON   string
	HistoryLines int  // the number of the next history line
	Inserted     bool // it is new
}

const upsertDocument = `mutation UpsertBucket($id:String,$name:String,$project:String,$entity:String,$groupName:String,$displayName:String,$notes:String,$commit:String,$config:JSONString,$host:String,$program:String,$repo:String,$jobType:String,$sweep:String,$tags:[String!],$summaryMetrics:JSONString){
upsertBucket(input:{id:$id,name:$name,modelName:$project,entityName:$entity,groupName:$groupName,displayName:$displayName,notes:$notes,commit:$commit,config:$config,host:$host,jobProgram:$program,jobRepo:$repo,jobType:$jobType,sweep:$sweep,tags:$tags,summaryMetrics:$summaryMetrics}){
bucket{id name displayName config sweepName historyLineCount project{id name entity{id name}}} inserted}}`

type upsertVariables struct {
	ID             *string  `json:"id"`
	Name           *string  `json:"name"`
	Project        *string  `json:"project"`
	Entity         *string  `json:"entity"`
	GroupName      *string  `json:"groupName"`
	DisplayName    *string  `json:"displayName"`
	Notes          *string  `json:"notes"`
	Commit         *string  `json:"commit"`
	Config         *string  `json:"config"`
	Host           *string  `json:"host"`
	Program        *string  `json:"program"`
	Repo           *string  `json:"repo"`
	JobType        *string  `json:"jobType"`
	Sweep          *string  `json:"sweep"`
	Tags           []string `json:"tags"` // nil is null
	SummaryMetrics *string  `json:"summaryMetrics"`
}

// UpsertRun creates a run or changes it.
func (c *Client) UpsertRun(ctx context.Context, u Upsert) (Run, error) {
	v := upsertVariables{
		Name: null(u.Run.Run), Project: null(u.Run.Project), Entity: null(u.Run.Entity),
		Config: null(u.Config), SummaryMetrics: null(u.Summary),
	}
	if f := u.Fields; f != nil {
		v.ID, v.GroupName, v.DisplayName, v.Notes = null(f.StorageID), null(f.Group), null(f.DisplayName), null(f.Notes)
		v.Commit, v.Host, v.Program, v.Repo = null(f.Commit), null(f.Host), null(f.Program), null(f.Repo)
		v.JobType, v.Sweep = null(f.JobType), null(f.Sweep)
		if len(f.Tags) > 0 {
			v.Tags = f.Tags
		}
	}
	var out struct {
		UpsertBucket *struct {
			Bucket *struct {
				ID, Name                       string
				DisplayName, Config, SweepName *string
				HistoryLineCount               *int
				Project                        *struct {
					Name   string
					Entity struct{ Name string }
				}
			}
			Inserted *bool
		}
	}
	const op = "UpsertBucket"
	if err := c.graphQL(ctx, upsertPolicy, op, u.Run.String(), upsertDocument, v, &out); err != nil {
		return Run{}, err
	}
	if out.UpsertBucket == nil || out.UpsertBucket.Bucket == nil || out.UpsertBucket.Bucket.Project == nil {
		return Run{}, c.malformed(op, u.Run.String(), "no run in the answer")
	}
	b := out.UpsertBucket.Bucket
	r := Run{
		Path:        Path{Entity: b.Project.Entity.Name, Project: b.Project.Name, Run: b.Name},
		StorageID:   b.ID,
		DisplayName: value(b.DisplayName), Sweep: value(b.SweepName), ConfigJSON: value(b.Config),
		HistoryLines: value(b.HistoryLineCount), Inserted: value(out.UpsertBucket.Inserted),
	}
	if r.StorageID == "" || r.Entity == "" || r.Project == "" || r.Run == "" {
		return Run{}, c.malformed(op, u.Run.String(), "the run has no id, name, project or entity")
	}
	return r, nil
}

// value is what p points to, or nothing.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
