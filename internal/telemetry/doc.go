// Package telemetry shows a process from outside: [Metrics] for Prometheus, and [Tracing] by OpenTelemetry. The names are those
// of internal/obs; the rooms that are measured know only small interfaces of their own.
//
// What a scrape asks of the ledger and of Temporal is kept for some seconds ([Sources]): however many servers scrape however many
// workers, each asks little and seldom.
//
// Warning: labels and attributes leave this system. Nothing that a user typed and no value of a row may be in one.
package telemetry
