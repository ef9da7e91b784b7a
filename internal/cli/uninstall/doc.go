// Package uninstall removes Spillway's schemas from a database: it looks what stays behind, asks, writes the manifests a last time, and
// drops them.
package uninstall
