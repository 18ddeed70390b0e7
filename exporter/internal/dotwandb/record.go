package dotwandb

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Record is one entry of the log. Exactly one of the pointers is set, or Other.
type Record struct {
	Num  int64  // counts the records of a file from 1
	UUID string // free for the writer: W&B's readers pass it over

	Header      *Header
	Run         *Run
	Config      *Config
	Summary     *Summary
	History     *History
	Stats       *Stats
	Output      *Output
	Metric      *Metric
	Files       *Files
	Alert       *Alert
	Telemetry   *Telemetry
	Environment *Environment
	Exit        *Exit

	// Other is the field number of a type W&B knows and this package does not.
	// It is only decoded: such a record cannot be written.
	Other int
}

// Field numbers of the record's types in wandb_internal.Record.
const (
	typeHistory     = 2
	typeSummary     = 3
	typeConfig      = 5
	typeFiles       = 6
	typeStats       = 7
	typeAlert       = 10
	typeTelemetry   = 11
	typeMetric      = 12
	typeOutput      = 13 // output_raw; the older output, 4, is ignored by W&B's core
	typeRun         = 17
	typeExit        = 18
	typeHeader      = 21
	typeEnvironment = 26
)

// message is what a record carries.
type message interface {
	append(dst []byte) []byte
	decode(b []byte) error
}

// body is the message that is set and its number in the record.
func (r *Record) body() (protowire.Number, message) {
	switch {
	case r.History != nil:
		return typeHistory, r.History
	case r.Summary != nil:
		return typeSummary, r.Summary
	case r.Output != nil:
		return typeOutput, r.Output
	case r.Stats != nil:
		return typeStats, r.Stats
	case r.Config != nil:
		return typeConfig, r.Config
	case r.Metric != nil:
		return typeMetric, r.Metric
	case r.Run != nil:
		return typeRun, r.Run
	case r.Header != nil:
		return typeHeader, r.Header
	case r.Files != nil:
		return typeFiles, r.Files
	case r.Alert != nil:
		return typeAlert, r.Alert
	case r.Telemetry != nil:
		return typeTelemetry, r.Telemetry
	case r.Environment != nil:
		return typeEnvironment, r.Environment
	case r.Exit != nil:
		return typeExit, r.Exit
	}
	return 0, nil
}

// Append appends the serialised record to dst. A record without a type is not
// written at all, and dst comes back as it was: W&B's core panics at one.
func (r *Record) Append(dst []byte) []byte {
	num, m := r.body()
	if m == nil {
		return dst
	}
	dst = appendInt(dst, 1, r.Num)
	dst, body := open(dst, num)
	dst = m.append(dst)
	dst = shut(dst, body)
	return appendString(dst, 19, r.UUID)
}

// Decode reads a serialised record. Nothing in the result refers to b.
func Decode(b []byte) (Record, error) {
	var r Record
	err := walk(b, func(f field) error {
		switch f.num {
		case 1:
			r.Num = f.int()
		case 19:
			r.UUID = f.text()
		case 4, 8, 9, 20, 22, 23, 24, 25, 27, 100:
			r.clear()
			r.Other = int(f.num)
		default:
			if f.typ == protowire.BytesType {
				return r.decode(f)
			}
		}
		return nil
	})
	if err != nil {
		return Record{}, fmt.Errorf("record %d: %w", r.Num, err)
	}
	return r, nil
}

// clear forgets the type that is set: the last one in the bytes counts.
func (r *Record) clear() { *r = Record{Num: r.Num, UUID: r.UUID} }

func (r *Record) decode(f field) error {
	m := r.make(f.num)
	if m == nil {
		return nil
	}
	return m.decode(f.body)
}

// make sets an empty message of the type; nil when the type is not known.
func (r *Record) make(num protowire.Number) message {
	switch num {
	case typeHistory:
		r.clear()
		r.History = new(History)
		return r.History
	case typeSummary:
		r.clear()
		r.Summary = new(Summary)
		return r.Summary
	case typeConfig:
		r.clear()
		r.Config = new(Config)
		return r.Config
	case typeFiles:
		r.clear()
		r.Files = new(Files)
		return r.Files
	case typeStats:
		r.clear()
		r.Stats = new(Stats)
		return r.Stats
	case typeAlert:
		r.clear()
		r.Alert = new(Alert)
		return r.Alert
	case typeTelemetry:
		r.clear()
		r.Telemetry = new(Telemetry)
		return r.Telemetry
	case typeMetric:
		r.clear()
		r.Metric = new(Metric)
		return r.Metric
	case typeOutput:
		r.clear()
		r.Output = new(Output)
		return r.Output
	case typeRun:
		r.clear()
		r.Run = new(Run)
		return r.Run
	case typeExit:
		r.clear()
		r.Exit = new(Exit)
		return r.Exit
	case typeHeader:
		r.clear()
		r.Header = new(Header)
		return r.Header
	case typeEnvironment:
		r.clear()
		r.Environment = new(Environment)
		return r.Environment
	}
	return nil
}
