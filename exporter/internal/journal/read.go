package journal

import (
	"errors"
	"io/fs"
)

// Read gives every entry of the journal in dir to apply, the oldest first, as
// Open does. It changes nothing, and may run while the journal is written: what
// is appended meanwhile may or may not be seen, and a segment that a snapshot
// replaces meanwhile makes it start again, after a call of reset.
func Read(dir string, reset func(), apply func(ref Ref, entry []byte) error) error {
	const tries = 3 // a snapshot comes every 32 MiB
	for try := 1; ; try++ {
		err := readAll(dir, apply)
		if !errors.Is(err, fs.ErrNotExist) || try == tries {
			return err
		}
		reset()
	}
}

func readAll(dir string, apply func(Ref, []byte) error) error {
	nums, err := listSegments(dir)
	if err != nil {
		return err
	}
	j := Journal{dir: dir}
	for _, num := range nums {
		if _, err := j.replay(j.path(num), num, apply); err != nil {
			return err
		}
	}
	return nil
}
