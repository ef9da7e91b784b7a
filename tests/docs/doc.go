// Package docs holds tests and nothing else: they keep the documents true to the code.
package docs
