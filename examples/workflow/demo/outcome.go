package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// expected is what the workflow's documentation promises: who opens a run, how
// many spans and rows are on it, and how it ends.
var expected = []struct {
	owner       string
	spans, rows int
	state       string
	exit        int32
}{
	{"train-workflow", 10, 313, "finished", 0},
	{"probe-lr", 1, 20, "finished", 0},
	{"probe-large-batch", 1, 5, "failed", 1},
}

// explained is what `otel-wandb explain --json` says, as far as it is looked at.
type explained struct {
	Runs    []explainedRun `json:"runs"`
	Spans   int            `json:"spans"`
	Refused int            `json:"refused"`
	KeptOut int            `json:"kept_out"`
}

type explainedRun struct {
	Run   string `json:"run"`
	Owner string `json:"owner"`
	Spans int    `json:"spans"`
	Rows  int    `json:"rows"`
}

// checkExplained says what is wrong with which span went where; nil is nothing.
func checkExplained(b []byte) error {
	var got explained
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("what explain says is no JSON: %w", err)
	}
	var errs []error
	if got.Refused != 0 || got.KeptOut != 0 {
		errs = append(errs, fmt.Errorf("%d tasks were refused and %d items kept out, and none should be", got.Refused, got.KeptOut))
	}
	if len(got.Runs) != len(expected) {
		errs = append(errs, fmt.Errorf("there are %d runs, and should be %d", len(got.Runs), len(expected)))
	}
	for _, want := range expected {
		i := slices.IndexFunc(got.Runs, func(r explainedRun) bool { return r.Owner == want.owner })
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s opened no run, and should have", want.owner))
			continue
		}
		if r := got.Runs[i]; r.Spans != want.spans || r.Rows != want.rows {
			errs = append(errs, fmt.Errorf("the run of %s has %d spans and %d rows, and should have %d and %d", want.owner, r.Spans, r.Rows, want.spans, want.rows))
		}
	}
	return errors.Join(errs...)
}

// onDisk is a run as `otel-wandb ls --json` has it.
type onDisk struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Exit  *int32 `json:"exit_code"`
	Rows  int    `json:"rows"`
	// AtWandb is there where the run is uploaded.
	AtWandb *struct {
		URL  string `json:"url"`
		Rows int    `json:"rows"`
		Done bool   `json:"done"`
	} `json:"at_wandb"`
}

func (r *onDisk) ended() bool { return r.Exit != nil }

// list asks the tool which runs there are, while the collector writes them.
func list(ctx context.Context, o *options, dir string) ([]onDisk, error) {
	b, err := output(command(ctx, o.tool, "ls", "--json", dir))
	if err != nil {
		return nil, err
	}
	var listing struct {
		Runs []onDisk `json:"runs"`
	}
	if err := json.Unmarshal(b, &listing); err != nil {
		return nil, fmt.Errorf("what ls says is no JSON: %w", err)
	}
	return listing.Runs, nil
}

// checkOnDisk says what is wrong with the runs on disk; nil is nothing.
func checkOnDisk(runs []onDisk) error {
	var errs []error
	if len(runs) != len(expected) {
		errs = append(errs, fmt.Errorf("%d runs are on disk, and %d should be", len(runs), len(expected)))
	}
	for _, want := range expected {
		// A run is called after the span that opened it, with 6 hex digits behind.
		i := slices.IndexFunc(runs, func(r onDisk) bool {
			return len(r.Name) == len(want.owner)+7 && strings.HasPrefix(r.Name, want.owner+"-")
		})
		if i < 0 {
			errs = append(errs, fmt.Errorf("no run on disk is called after %s", want.owner))
			continue
		}
		r := runs[i]
		if r.Rows != want.rows {
			errs = append(errs, fmt.Errorf("the run %s has %d rows on disk, and should have %d", r.Name, r.Rows, want.rows))
		}
		if r.Exit == nil || r.State != want.state || *r.Exit != want.exit {
			errs = append(errs, fmt.Errorf("the run %s is %q, and should be %q with exit code %d", r.Name, r.State, want.state, want.exit))
		}
	}
	return errors.Join(errs...)
}

func progress(runs []onDisk) string {
	rows, ended, failed := 0, 0, 0
	for i := range runs {
		rows += runs[i].Rows
		if runs[i].ended() {
			ended++
		}
		if runs[i].State == "failed" {
			failed++
		}
	}
	return fmt.Sprintf("on disk: %d runs, %d rows; ended %d, failed %d", len(runs), rows, ended, failed)
}
