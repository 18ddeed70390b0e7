package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/otel-wandb/otel-wandb/exporter/internal/syncing"
	"github.com/otel-wandb/otel-wandb/internal/runid"
	"github.com/otel-wandb/otel-wandb/internal/wandb"
)

// wandb looks at the server, the key and what the key may do.
func (r *Report) wandb(ctx context.Context, opts *Options) {
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	url := cmp.Or(opts.BaseURL, syncing.DefaultHost(opts.Getenv))
	base, err := wandb.ParseBaseURL(url)
	if err != nil {
		r.add(Fix, "server", "no server that could be asked", err.Error())
		return
	}
	creds, err := syncing.Credentials(base.String(), opts.Getenv, opts.Home)
	if err != nil {
		r.add(Fix, "key", err.Error(), cmp.Or(syncing.RemedyOf(err), "set WANDB_API_KEY to a whole key, from the page /authorize of "+wandb.AppURL(base.String())))
		return
	}
	heard := &headers{next: opts.Transport, now: opts.Now}
	if heard.next == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		defer own.CloseIdleConnections()
		heard.next = own
	}
	client, err := wandb.New(wandb.Options{BaseURL: base.String(), Credentials: creds, HTTP: &http.Client{Transport: heard}})
	if err != nil {
		r.add(Fix, "server", "no server that could be asked", err.Error())
		return
	}
	viewer, err := client.Viewer(ctx)
	if err != nil {
		name := "server"
		if errors.Is(err, wandb.ErrUnauthorized) {
			name = "key"
		}
		r.failed(name, base.String(), err)
		r.clock(heard)
		return
	}
	r.ok("server", "%s answers", base)
	r.ok("key", "%s: it is of user %s, runs without an entity go to %s", creds, viewer.Username, viewer.Entity)
	r.project(ctx, opts, client, viewer)
	r.features(ctx, client)
	r.clock(heard)
	r.headroom(heard)
}

// failed says of an error of W&B's what it says itself, the remedy apart.
func (r *Report) failed(name, server string, err error) {
	var e *wandb.Error
	fix := "check the network and the server"
	said := err.Error()
	if errors.As(err, &e) && e.Remedy() != "" {
		fix = e.Remedy()
		said = strings.TrimSuffix(said, ": "+fix)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		said = fmt.Sprintf("%s gave no good answer in time: %s", server, said)
	}
	r.add(Fix, name, said, fix)
}

// project tells whether runs can be made there. No question of W&B's says so:
// who is a member may usually write, and only a run shows it.
func (r *Report) project(ctx context.Context, opts *Options, client *wandb.Client, viewer wandb.Viewer) {
	entity := cmp.Or(opts.Entity, opts.Getenv("WANDB_ENTITY"), viewer.Entity)
	project := cmp.Or(opts.Project, opts.Getenv("WANDB_PROJECT"), "uncategorized")
	where := entity + "/" + project
	if wrong := cmp.Or(runid.ProjectError(project), runid.ProjectError(entity)); wrong != "" {
		r.add(Fix, "project", where+": a name "+wrong, "give names that W&B accepts with WANDB_PROJECT and WANDB_ENTITY, or --project and --entity")
		return
	}
	known := entity == viewer.Entity || entity == viewer.Username || slices.Contains(viewer.Teams, entity)
	switch {
	case opts.Write:
		r.write(ctx, client, wandb.Path{Entity: entity, Project: project, Run: "doctor-" + strings.ToLower(rand.Text()[:8])})
	case !known:
		r.add(Fix, "project", fmt.Sprintf("%s: the entity is none of %s", where, strings.Join(append([]string{viewer.Entity}, viewer.Teams...), ", ")),
			"set WANDB_ENTITY to one of these, or let its owner add this user; --write tries it all the same")
	default:
		r.add(NotTried, "project", where+": the entity is this user's, whether runs can be made was not tried", "--write makes a run there and ends it")
	}
}

// write makes a run and ends it.
func (r *Report) write(ctx context.Context, client *wandb.Client, run wandb.Path) {
	got, err := client.UpsertRun(ctx, wandb.Upsert{
		Run:    run,
		Fields: &wandb.Fields{DisplayName: "otel-wandb doctor", Tags: []string{"otel-wandb-doctor"}},
		Config: `{"_wandb":{"value":{"t":{}}}}`,
	})
	if err == nil {
		_, err = client.Stream(got.Path, false).Send(ctx, &wandb.StreamRequest{Complete: true})
	}
	if err != nil {
		r.failed("project", run.Entity+"/"+run.Project, err)
		return
	}
	r.ok("project", "%s/%s: a run was made and ended; delete it at %s", got.Entity, got.Project,
		wandb.RunURL(wandb.AppURL(client.BaseURL()), got.Path))
}

// features are what the server can do beyond the least; none is no fault.
func (r *Report) features(ctx context.Context, client *wandb.Client) {
	features, err := client.Features(ctx)
	switch {
	case errors.Is(err, wandb.ErrRefused):
		r.ok("features", "an old server, without any: uploads do without")
		return
	case err != nil:
		r.failed("features", client.BaseURL(), err)
		return
	}
	var on []string
	for _, name := range slices.Sorted(maps.Keys(features)) {
		if features[name] {
			on = append(on, name)
		}
	}
	r.ok("features", "%s", cmp.Or(strings.Join(on, ", "), "none beyond the least"))
}

// maxSkew is more than the second that a Date is rounded to, and an answer's way.
const maxSkew = 10 * time.Second

// clock compares this machine's with the server's: rows carry this machine's time.
func (r *Report) clock(h *headers) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.dated:
		r.add(NotTried, "clock", "no answer said what time it is", "")
	case h.skew.Abs() > maxSkew:
		way := "ahead of"
		if h.skew < 0 {
			way = "behind"
		}
		r.add(Fix, "clock", fmt.Sprintf("this machine is %s %s the server: rows get wrong times", h.skew.Abs().Round(time.Second), way),
			"set the clock, or let it follow a time server (NTP)")
	default:
		r.ok("clock", "within %s of the server's", maxSkew)
	}
}

// headroom says what W&B's limits leave.
func (r *Report) headroom(h *headers) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.limited:
		r.ok("limits", "the server names none in its answers")
	case h.remaining < 1:
		r.add(Fix, "limits", fmt.Sprintf("nothing is left of W&B's allowance for %.0f s", h.reset), "it is there again by itself; run fewer things at once with this key")
	default:
		r.ok("limits", "%.0f requests are left for the next %.0f s", h.remaining, h.reset)
	}
}

// headers notes what answers say besides, on their way.
//
// ConcurrentSafe: a lock guards what is noted.
type headers struct {
	next http.RoundTripper
	now  func() time.Time

	mu               sync.Mutex // guards everything below
	dated, limited   bool
	skew             time.Duration // this machine's clock minus the server's
	remaining, reset float64
}

func (h *headers) RoundTrip(req *http.Request) (*http.Response, error) {
	began := h.now()
	resp, err := h.next.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if date, bad := http.ParseTime(resp.Header.Get("Date")); bad == nil {
		h.dated, h.skew = true, h.now().Sub(date)
		if sent := began.Sub(date); sent < 0 && h.skew > 0 {
			h.skew = 0 // it lies between asking and hearing
		}
	}
	remaining, err1 := strconv.ParseFloat(resp.Header.Get("RateLimit-Remaining"), 64)
	reset, err2 := strconv.ParseFloat(resp.Header.Get("RateLimit-Reset"), 64)
	if err1 == nil && err2 == nil {
		h.limited, h.remaining, h.reset = true, remaining, reset
	}
	return resp, nil
}
