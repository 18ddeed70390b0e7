// Package dotwandb speaks the `.wandb` format, W&B's own transaction log, to
// the byte: how records are framed into a file, and what a record says.
//
//	file    │ :W&B E1 BE 00 │ chunk │ chunk │ chunk …      blocks of 32 KiB,
//	        └─── 7 bytes ───┘                              no chunk crosses one
//	chunk   │ crc32 │ length │ type │ payload │            FULL or FIRST MIDDLE… LAST
//	record    the payloads of a FULL, or of a FIRST up to its LAST:
//	          one serialised protobuf message `wandb_internal.Record`
//
// The one idea: bytes in, bytes out. The package opens no file, keeps no state
// but that of the [Framer] and [Reader] its caller owns, and knows nothing of
// OpenTelemetry, of folders or of runs. Neither is safe for concurrent use.
//
// Two dangers shape it. W&B's readers stop at the first damage and lose all
// that follows, so a [Reader] says exactly where the last whole record ends.
// And W&B's core panics at a record of a type it does not know, so a [Record]
// writes documented field numbers only, and nothing at all when it has no type.
package dotwandb
