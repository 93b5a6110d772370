//go:build tools

// Package clients holds programs that talk to Tactus in tests: Jaeger's agent and query in front of it, a collector, and a sender.
package clients

import (
	_ "github.com/jaegertracing/jaeger/cmd/agent"
	_ "github.com/jaegertracing/jaeger/cmd/query"
)
