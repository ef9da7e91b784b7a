// Package imports holds a test and nothing else: it reads the direct imports of every package of the module and fails
// where one points against the arrows that docs/architecture.md draws.
package imports
