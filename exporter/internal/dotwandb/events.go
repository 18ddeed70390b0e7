package dotwandb

import "time"

// Output is a piece of console text. A line ends with its newline: W&B runs
// lines without one together.
type Output struct {
	Stderr bool
	Time   time.Time
	Line   string
}

const stdout = 1 // stderr is 0: a record that says nothing is stderr

func (o *Output) append(dst []byte) []byte {
	dst = appendBool(dst, 1, !o.Stderr)
	dst = appendTime(dst, 2, o.Time)
	return appendString(dst, 3, o.Line)
}

func (o *Output) decode(b []byte) error {
	o.Stderr = true
	return walk(b, func(f field) (err error) {
		switch f.num {
		case 1:
			o.Stderr = f.n != stdout
		case 2:
			o.Time, err = f.time()
		case 3:
			o.Line = f.text()
		}
		return err
	})
}

// Metric defines how a metric is summarised and what its x axis is. A glob in
// GlobName needs a server that expands it. For others the metrics that it defines
// are written too, and marked as Expanded.
type Metric struct {
	Name, GlobName string
	StepMetric     string // name of the x axis
	StepSync       bool   // rows without the step metric get its latest value
	Hidden         bool
	Defined        bool // explicitly, by the user
	Summary        MetricSummary
	Goal           int  // 1 minimise, 2 maximise
	Overwrite      bool // all that was said of it before
	Expanded       bool // from a glob: a server that expands globs does not get it
}

// MetricSummary says which values of a metric its summary has.
type MetricSummary struct{ Min, Max, Mean, Best, Last, None, Copy, First bool }

func (m *Metric) append(dst []byte) []byte {
	dst = appendString(dst, 1, m.Name)
	dst = appendString(dst, 2, m.GlobName)
	dst = appendString(dst, 4, m.StepMetric)
	dst = appendFlags(dst, 6, m.StepSync, m.Hidden, m.Defined)
	s := &m.Summary
	dst = appendFlags(dst, 7, s.Min, s.Max, s.Mean, s.Best, s.Last, s.None, s.Copy, s.First)
	dst = appendInt(dst, 8, int64(m.Goal))
	dst = appendFlags(dst, 9, m.Overwrite)
	return appendBool(dst, 10, m.Expanded)
}

func (m *Metric) decode(b []byte) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			m.Name = f.text()
		case 2:
			m.GlobName = f.text()
		case 4:
			m.StepMetric = f.text()
		case 6:
			return f.flags(&m.StepSync, &m.Hidden, &m.Defined)
		case 7:
			s := &m.Summary
			return f.flags(&s.Min, &s.Max, &s.Mean, &s.Best, &s.Last, &s.None, &s.Copy, &s.First)
		case 8:
			m.Goal = int(f.int32())
		case 9:
			return f.flags(&m.Overwrite)
		case 10:
			m.Expanded = f.bool()
		}
		return nil
	})
}

// Files names files beside the log that are to be uploaded.
type Files struct{ Files []File }

// File is one of them; Path is relative to the directory `files`.
type File struct {
	Path   string
	Policy int // FileNow, FileAtEnd or FileLive
	Type   int // FileOther, FileWandb, FileMedia or FileArtifact
}

// When a file is uploaded, and what it is.
const (
	FileNow   = 0
	FileAtEnd = 1
	FileLive  = 2

	FileOther    = 0
	FileWandb    = 1
	FileMedia    = 2
	FileArtifact = 3
)

func (fs *Files) append(dst []byte) []byte {
	for i := range fs.Files {
		var body int
		dst, body = open(dst, 1)
		dst = appendString(dst, 1, fs.Files[i].Path)
		dst = appendInt(dst, 2, int64(fs.Files[i].Policy))
		dst = appendInt(dst, 3, int64(fs.Files[i].Type))
		dst = shut(dst, body)
	}
	return dst
}

func (fs *Files) decode(b []byte) error {
	return walk(b, func(f field) error {
		if f.num != 1 {
			return nil
		}
		var file File
		err := walk(f.body, func(f field) error {
			switch f.num {
			case 1:
				file.Path = f.text()
			case 2:
				file.Policy = int(f.int32())
			case 3:
				file.Type = int(f.int32())
			}
			return nil
		})
		fs.Files = append(fs.Files, file)
		return err
	})
}

// Alert asks W&B to tell people something.
type Alert struct {
	Title, Text string
	Level       string        // INFO, WARN or ERROR
	Wait        time.Duration // before the same title alerts again; whole milliseconds in the file
}

func (a *Alert) append(dst []byte) []byte {
	dst = appendString(dst, 1, a.Title)
	dst = appendString(dst, 2, a.Text)
	dst = appendString(dst, 3, a.Level)
	return appendInt(dst, 4, a.Wait.Milliseconds())
}

func (a *Alert) decode(b []byte) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			a.Title = f.text()
		case 2:
			a.Text = f.text()
		case 3:
			a.Level = f.text()
		case 4:
			const most = int64(1<<63-1) / int64(time.Millisecond)
			a.Wait = time.Duration(min(max(f.int(), -most), most)) * time.Millisecond
		}
		return nil
	})
}
