package run

import "slices"

// Source is what a resource says of where its telemetry comes from, as far as
// metrics find open runs by it.
type Source struct {
	Instance  string `cbor:"1,keyasint,omitempty"` // service.instance.id
	Pod       string `cbor:"2,keyasint,omitempty"` // k8s.pod.uid
	Container string `cbor:"3,keyasint,omitempty"` // container.id
	HostID    string `cbor:"4,keyasint,omitempty"` // host.id
	HostName  string `cbor:"5,keyasint,omitempty"` // host.name

	// Which program it is: no keys to join by, but they tell programs of one
	// machine apart.
	Service string `cbor:"6,keyasint,omitempty"` // service.name
	PID     string `cbor:"7,keyasint,omitempty"` // process.pid
}

// JoinKeys is how many keys metrics join by.
const JoinKeys = 5

// ByHost is the first of the keys that name a machine and no program.
const ByHost = 3

// Key is one of the keys to join by, the nearest first; "" where it is not known.
func (s *Source) Key(i int) string {
	return [JoinKeys]string{s.Instance, s.Pod, s.Container, s.HostID, s.HostName}[i]
}

// Joins tells whether there is any key to join by.
func (s *Source) Joins() bool {
	return s.Instance != "" || s.Pod != "" || s.Container != "" || s.HostID != "" || s.HostName != ""
}

// SameProgram tells whether all that metrics say of their program holds for a
// task's, too. An instance id is not much of a program's nature: SDKs make one for
// one of their signals and not for another.
func (s *Source) SameProgram(task *Source) bool {
	return (s.Instance == "" || task.Instance == "" || s.Instance == task.Instance) &&
		(s.Service == "" || s.Service == task.Service) &&
		(s.PID == "" || s.PID == task.PID)
}

// maxSources bounds what a run remembers of where its tasks run: it is in every
// checkpoint.
const maxSources = 1024

func (s *State) addSource(from *Source) bool {
	if from == nil || len(s.sources) >= maxSources || slices.Contains(s.sources, *from) {
		return false
	}
	s.sources = append(s.sources, *from)
	return true
}

// Sources are where the run's tasks run, without keys twice. They only grow
// while the run is open.
func (s *State) Sources() []Source { return s.sources }

// leave forgets where the run's tasks ran, at its end: who continues it may be
// elsewhere, and says so. After a crash it may have been the network's fault, and
// a heartbeat alone brings the run back.
func (s *State) leave(code int32) {
	if code != ExitCrashed {
		s.sources = nil
	}
}
