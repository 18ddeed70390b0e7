package dotwandb

import (
	"encoding/json"
	"time"
)

// Header is the first record of every file.
type Header struct {
	Producer    string // version of the program that writes
	MinConsumer string // version of W&B's client that can read
}

func (h *Header) append(dst []byte) []byte {
	dst, body := open(dst, 1)
	dst = appendString(dst, 1, h.Producer)
	dst = appendString(dst, 2, h.MinConsumer)
	return shut(dst, body)
}

func (h *Header) decode(b []byte) error {
	return walk(b, func(f field) error {
		if f.num != 1 {
			return nil
		}
		return walk(f.body, func(f field) error {
			switch f.num {
			case 1:
				h.Producer = f.text()
			case 2:
				h.MinConsumer = f.text()
			}
			return nil
		})
	})
}

// Run says what run the file belongs to. It comes second in every file, and
// again, complete, when something of it changes. Without StartTime W&B's
// viewer puts the run into 1970.
type Run struct {
	ID, Entity, Project         string
	Group, JobType, DisplayName string
	Notes                       string
	Tags                        []string
	Host                        string // the machine's name; not the W&B server
	BaseURL                     string // the W&B server, as a setting of the run
	StartTime                   time.Time
	Config, Summary             []Item
	Resumed                     bool
	StartingStep                int64
	Runtime                     int32 // seconds, of a run that is continued
	Telemetry                   *Telemetry
	GitRemote, GitCommit        string
}

func (r *Run) append(dst []byte) []byte {
	dst = appendString(dst, 1, r.ID)
	dst = appendString(dst, 2, r.Entity)
	dst = appendString(dst, 3, r.Project)
	if len(r.Config) > 0 {
		var body int
		dst, body = open(dst, 4)
		dst = shut(appendItems(dst, 1, r.Config, true), body)
	}
	if len(r.Summary) > 0 {
		var body int
		dst, body = open(dst, 5)
		dst = shut(appendItems(dst, 1, r.Summary, false), body)
	}
	dst = appendString(dst, 6, r.Group)
	dst = appendString(dst, 7, r.JobType)
	dst = appendString(dst, 8, r.DisplayName)
	dst = appendString(dst, 9, r.Notes)
	for _, tag := range r.Tags {
		dst = appendElement(dst, 10, tag)
	}
	if r.BaseURL != "" {
		var body int
		dst, body = open(dst, 11)
		text, _ := json.Marshal(r.BaseURL) // a string always can
		dst = shut(appendItem(dst, 1, &Item{Key: settingBaseURL, JSON: string(text)}, true), body)
	}
	dst = appendString(dst, 13, r.Host)
	dst = appendInt(dst, 14, r.StartingStep)
	dst = appendTime(dst, 17, r.StartTime)
	dst = appendBool(dst, 18, r.Resumed)
	if r.Telemetry != nil {
		var body int
		dst, body = open(dst, 19)
		dst = shut(r.Telemetry.append(dst), body)
	}
	dst = appendInt(dst, 20, int64(r.Runtime))
	return appendGit(dst, 21, r.GitRemote, r.GitCommit)
}

func (r *Run) decode(b []byte) error {
	var removed []Item // a run record's config only updates
	return walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			r.ID = f.text()
		case 2:
			r.Entity = f.text()
		case 3:
			r.Project = f.text()
		case 4:
			err = decodeChange(f.body, &r.Config, &removed)
		case 5:
			err = decodeChange(f.body, &r.Summary, &removed)
		case 6:
			r.Group = f.text()
		case 7:
			r.JobType = f.text()
		case 8:
			r.DisplayName = f.text()
		case 9:
			r.Notes = f.text()
		case 10:
			r.Tags = append(r.Tags, f.text())
		case 11:
			err = r.decodeSettings(f.body)
		case 13:
			r.Host = f.text()
		case 14:
			r.StartingStep = f.int()
		case 17:
			r.StartTime, err = f.time()
		case 18:
			r.Resumed = f.bool()
		case 19:
			r.Telemetry = new(Telemetry)
			err = r.Telemetry.decode(f.body)
		case 20:
			r.Runtime = f.int32()
		case 21:
			err = decodePair(f.body, &r.GitRemote, &r.GitCommit)
		}
		return err
	})
}

// settingBaseURL is what W&B's client calls its server among a run's settings.
const settingBaseURL = "base_url"

func (r *Run) decodeSettings(b []byte) error {
	return walk(b, func(f field) error {
		if f.num != 1 {
			return nil
		}
		items, err := decodeItem(nil, f.body)
		if err == nil && items[0].Key == settingBaseURL {
			_ = json.Unmarshal([]byte(items[0].JSON), &r.BaseURL) // what is no text says nothing
		}
		return err
	})
}

// ExitCrashed is the exit code of a run whose program was not heard of any more.
// W&B's viewer shows it as crashed.
const ExitCrashed = 254

// Exit ends a run. W&B's readers ignore all that follows it, so it is last.
type Exit struct {
	Code        int32
	Runtime     int32 // seconds
	NotComplete bool  // the process ended, the run did not
}

func (e *Exit) append(dst []byte) []byte {
	dst = appendInt(dst, 1, int64(e.Code))
	dst = appendInt(dst, 2, int64(e.Runtime))
	return appendBool(dst, 3, e.NotComplete)
}

func (e *Exit) decode(b []byte) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			e.Code = f.int32()
		case 2:
			e.Runtime = f.int32()
		case 3:
			e.NotComplete = f.bool()
		}
		return nil
	})
}
