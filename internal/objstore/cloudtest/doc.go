// Package cloudtest runs servers that clouds' clients can be tested against, and puts faults in front of them.
//
// [Start] runs versitygw, a real S3 server, over a temporary folder; [StartGCS] and [StartAzure] run emulators. The first two
// are built from the module in tests/servers. [NewProxy] stands between a client and a server, and answers late, wrong or not
// at all where a test says so.
package cloudtest
