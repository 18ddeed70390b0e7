package runlog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/otel-wandb/otel-wandb/exporter/internal/disk"
)

// A state file holds the states of a run one behind the other, each with its
// length and its sum in front. The last one counts.
//
//	┌────────┬────────┬─────────┬────────┬────────┬─────────┬─ ─ ─
//	│ length │ CRC-32 │ state 1 │ length │ CRC-32 │ state 2 │ torn
//	└────────┴────────┴─────────┴────────┴────────┴─────────┴─ ─ ─
//
// Most runs have three small states in their life. Each in a file of its own,
// renamed over the one before, is a file made and one removed: ext4 passes over
// what was removed in the last minutes whenever it makes another, so that a
// thousand runs soon cost milliseconds each.
const (
	frameHead = 8
	// maxFrames bounds a state file that is appended to. A longer one is made anew.
	maxFrames = 64 << 10
)

func appendFrame(dst, state []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(state)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(state))
	return append(dst, state...)
}

// lastFrame gives the last whole state; whole is false where something else is
// behind it: its writer died, or the disk failed.
func lastFrame(file []byte) (state []byte, whole bool) {
	for len(file) >= frameHead {
		n := uint64(binary.LittleEndian.Uint32(file))
		if n > uint64(len(file)-frameHead) {
			break
		}
		body := file[frameHead : frameHead+n]
		if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(file[4:]) {
			break
		}
		state, file = body, file[frameHead+n:]
	}
	return state, len(file) == 0
}

// ReadStateFile reads the last whole state in a file. What it says of whose it is
// holds. Where whole is false there was a later one, so that the run must be read
// from its logs.
func ReadStateFile(path string) (state []byte, whole bool, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, false, err
	}
	state, whole = lastFrame(b)
	return bytes.Clone(state), whole, nil // the file may be longer than what counts
}

// put makes a state the last of its file.
func (f *Folder) put(path string, state []byte) error {
	frame := appendFrame(nil, state)
	info, err := os.Lstat(path)
	if err != nil || info.Size()+int64(len(frame)) > maxFrames {
		return f.replace(path, frame)
	}
	there, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, whole := lastFrame(there); !whole {
		return f.replace(path, frame) // nothing is found behind what is torn
	}
	file, err := disk.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(frame, int64(len(there)))
	if err == nil && f.root.opts.Sync == SyncAlways {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// replace writes a file beside path and renames it. Only [SyncAlways] waits for
// the disk: a state that a power cut took is rebuilt from the logs.
func (f *Folder) replace(path string, b []byte) error {
	always := f.root.opts.Sync == SyncAlways
	temp := filepath.Join(filepath.Dir(path), tempPrefix+rand.Text())
	err := writeNew(temp, b, always)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	if always {
		return disk.SyncDir(filepath.Dir(path))
	}
	return nil
}
