package jobstep

import "time"

// Bounds of what jobs may be asked for.
const (
	DefaultParallelism = 2 // chunks at once
	MaxParallelism     = 64
	MaxLockTimeout     = time.Minute
	MinChunkBytes      = 64 << 10
)

// MaxChunks bounds a generation, so that chunk numbers stay numbers that a person can read.
const MaxChunks = 1_000_000
