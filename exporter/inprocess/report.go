package inprocess

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger is the engine's logger: its warnings go where a program hears of
// telemetry's troubles, the rest nowhere.
func newLogger(handle func(error)) *zap.Logger {
	return zap.New(&core{LevelEnabler: zapcore.WarnLevel, handle: handle})
}

// core is a zap core that makes an error of each entry.
type core struct {
	zapcore.LevelEnabler
	handle func(error)
	fields []zapcore.Field
}

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.LevelEnabler, c.handle, slices.Concat(c.fields, fields)}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(c.fields, fields) {
		f.AddTo(m)
	}
	parts := []string{"wandb in process: " + e.Message}
	for _, key := range slices.Sorted(maps.Keys(m.Fields)) {
		parts = append(parts, fmt.Sprintf("%s=%v", key, m.Fields[key]))
	}
	c.handle(errors.New(strings.Join(parts, " ")))
	return nil
}

func (c *core) Sync() error { return nil }
