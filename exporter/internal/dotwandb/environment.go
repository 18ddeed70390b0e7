package dotwandb

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Telemetry says which client wrote the run. W&B's `resume` takes a run
// without any for one that does not exist.
type Telemetry struct {
	CLIVersion, CoreVersion, PythonVersion, Platform string
	Features                                         []int // field numbers of the features that are on
}

func (t *Telemetry) append(dst []byte) []byte {
	if len(t.Features) > 0 {
		var body int
		dst, body = open(dst, 3)
		for _, n := range t.Features {
			if n > 0 && n <= int(protowire.MaxValidNumber) {
				dst = appendBool(dst, protowire.Number(n), true)
			}
		}
		dst = shut(dst, body)
	}
	dst = appendString(dst, 4, t.PythonVersion)
	dst = appendString(dst, 5, t.CLIVersion)
	dst = appendString(dst, 12, t.CoreVersion)
	return appendString(dst, 13, t.Platform)
}

func (t *Telemetry) decode(b []byte) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 3:
			return walk(f.body, func(f field) error {
				if f.bool() {
					t.Features = append(t.Features, int(f.num))
				}
				return nil
			})
		case 4:
			t.PythonVersion = f.text()
		case 5:
			t.CLIVersion = f.text()
		case 12:
			t.CoreVersion = f.text()
		case 13:
			t.Platform = f.text()
		}
		return nil
	})
}

// Environment describes the machine and the program of one writer of a run.
type Environment struct {
	OS, Python                string
	StartedAt                 time.Time
	Docker                    string
	Args                      []string
	Program                   string
	CodePath, CodePathLocal   string
	GitRemote, GitCommit      string
	Email, Root, Host         string
	Username, Executable      string
	CPUCount, CPUCountLogical uint32
	GPUType                   string
	GPUCount                  uint32
	MemoryTotal               uint64 // bytes
	Slurm                     map[string]string
	WriterID                  string // keeps several writers of one run apart
}

type envText struct {
	num  protowire.Number
	text *string
}

// texts are the fields that are plain strings, by number.
func (e *Environment) texts() [13]envText {
	return [...]envText{
		{1, &e.OS},
		{2, &e.Python},
		{4, &e.Docker},
		{6, &e.Program},
		{7, &e.CodePath},
		{8, &e.CodePathLocal},
		{10, &e.Email},
		{11, &e.Root},
		{12, &e.Host},
		{13, &e.Username},
		{14, &e.Executable},
		{18, &e.GPUType},
		{199, &e.WriterID},
	}
}

func (e *Environment) append(dst []byte) []byte {
	for _, t := range e.texts() {
		dst = appendString(dst, t.num, *t.text)
	}
	dst = appendTime(dst, 3, e.StartedAt)
	for _, arg := range e.Args {
		dst = appendElement(dst, 5, arg)
	}
	dst = appendGit(dst, 9, e.GitRemote, e.GitCommit)
	dst = appendInt(dst, 16, int64(e.CPUCount))
	dst = appendInt(dst, 17, int64(e.CPUCountLogical))
	dst = appendInt(dst, 19, int64(e.GPUCount))
	if e.MemoryTotal > 0 {
		var body int
		dst, body = open(dst, 21)
		dst = shut(appendInt(dst, 1, int64(e.MemoryTotal)), body)
	}
	// Sorted, so that the same environment is the same bytes.
	for _, k := range slices.Sorted(maps.Keys(e.Slurm)) {
		var body int
		dst, body = open(dst, 27)
		dst = appendString(dst, 1, k)
		dst = shut(appendString(dst, 2, e.Slurm[k]), body)
	}
	return dst
}

func (e *Environment) decode(b []byte) error {
	texts := e.texts()
	return walk(b, func(f field) (err error) {
		switch f.num {
		case 3:
			e.StartedAt, err = f.time()
		case 5:
			e.Args = append(e.Args, f.text())
		case 9:
			err = decodePair(f.body, &e.GitRemote, &e.GitCommit)
		case 16:
			e.CPUCount = uint32(f.n)
		case 17:
			e.CPUCountLogical = uint32(f.n)
		case 19:
			e.GPUCount = uint32(f.n)
		case 21:
			err = walk(f.body, func(f field) error {
				if f.num == 1 {
					e.MemoryTotal = f.n
				}
				return nil
			})
		case 27:
			var k, v string
			err = decodePair(f.body, &k, &v)
			if e.Slurm == nil {
				e.Slurm = make(map[string]string)
			}
			e.Slurm[k] = v
		default:
			for _, t := range texts {
				if t.num == f.num {
					*t.text = f.text()
				}
			}
		}
		return err
	})
}

func appendGit(dst []byte, num protowire.Number, remote, commit string) []byte {
	if remote == "" && commit == "" {
		return dst
	}
	dst, body := open(dst, num)
	dst = appendString(dst, 1, remote)
	return shut(appendString(dst, 2, commit), body)
}

// decodePair reads a message whose fields 1 and 2 are strings.
func decodePair(b []byte, one, two *string) error {
	return walk(b, func(f field) error {
		switch f.num {
		case 1:
			*one = f.text()
		case 2:
			*two = f.text()
		}
		return nil
	})
}
