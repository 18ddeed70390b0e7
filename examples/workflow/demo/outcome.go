package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// expected is what the workflow's documentation promises: who opens a run, and
// how many spans and rows are on it.
var expected = []explainedRun{
	{Owner: "train-workflow", Spans: 10, Rows: 313},
	{Owner: "probe-lr", Spans: 1, Rows: 20},
	{Owner: "probe-large-batch", Spans: 1, Rows: 5},
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
		found := false
		for _, r := range got.Runs {
			if r.Owner != want.Owner {
				continue
			}
			found = true
			if r.Spans != want.Spans || r.Rows != want.Rows {
				errs = append(errs, fmt.Errorf("the run of %s has %d spans and %d rows, and should have %d and %d", want.Owner, r.Spans, r.Rows, want.Spans, want.Rows))
			}
		}
		if !found {
			errs = append(errs, fmt.Errorf("%s opened no run, and should have", want.Owner))
		}
	}
	return errors.Join(errs...)
}

// onDisk is a run's log in the folder.
type onDisk struct {
	dir   string
	ended bool // its marker, which keeps `wandb sync` away, is gone
}

func list(dir string) ([]onDisk, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*", "run-*.wandb"))
	runs := make([]onDisk, 0, len(logs))
	for _, path := range logs {
		_, marked := os.Stat(path + ".synced")
		runs = append(runs, onDisk{filepath.Dir(path), errors.Is(marked, os.ErrNotExist)})
	}
	return runs, err
}

func progress(runs []onDisk) string {
	ended := 0
	for _, r := range runs {
		if r.ended {
			ended++
		}
	}
	return strings.Replace(fmt.Sprintf("%d runs on disk, %d of them have ended", len(runs), ended), "1 of them have", "1 of them has", 1)
}
