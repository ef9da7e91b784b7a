// Package obs names every log key and every metric once, so that a log line and a dashboard written today still find their
// words tomorrow.
package obs

// Log keys.
const (
	KeyJob      = "job"
	KeyTable    = "table"
	KeyChunk    = "chunk"
	KeyAttempt  = "attempt"
	KeyRows     = "rows"
	KeyBytes    = "bytes"
	KeySegments = "segments"
	KeyErr      = "error"
	KeyClass    = "class"
	KeyStatus   = "status"
	KeyDuration = "duration"
	KeyAddress  = "address"
	KeyPID      = "pid"
	KeyObject   = "object"
	KeyStorage  = "storage"
	KeyCreated  = "created"
	KeyStarted  = "started"
	KeyFinished = "finished"
	KeyQueue    = "queue"
	KeySlots    = "slots"
	KeyPart     = "part"
	KeyPrevious = "previous"
	KeySource   = "source"
)
