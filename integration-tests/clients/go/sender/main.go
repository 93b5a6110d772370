// One trace of two spans by the OpenTelemetry SDK; prints its id. sender otlp-grpc|jaeger-http|jaeger-udp|zipkin HOST PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/jaeger"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/zipkin"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func exporter(ctx context.Context, kind, host, port string) (sdk.SpanExporter, error) {
	address := net.JoinHostPort(host, port)
	switch kind {
	case "otlp-grpc":
		return otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(address))
	case "jaeger-http":
		return jaeger.New(jaeger.WithCollectorEndpoint(jaeger.WithEndpoint("http://" + address + "/api/traces")))
	case "jaeger-udp":
		return jaeger.New(jaeger.WithAgentEndpoint(jaeger.WithAgentHost(host), jaeger.WithAgentPort(port)))
	case "zipkin":
		return zipkin.New("http://" + address + "/api/v2/spans")
	}
	return nil, fmt.Errorf("no exporter %q", kind)
}

func run(kind, host, port string) error {
	ctx := context.Background()
	out, err := exporter(ctx, kind, host, port)
	if err != nil {
		return err
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(out),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "go-"+kind), attribute.String("host.name", "h1"))),
	)
	tracer := provider.Tracer("tests", trace.WithInstrumentationVersion("1.2.3"))
	ctx, root := tracer.Start(ctx, "get_users", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.Int("user.count", 100), attribute.Bool("cached", false), attribute.Float64("ratio", 0.5)))
	_, child := tracer.Start(ctx, "database_query", trace.WithSpanKind(trace.SpanKindClient))
	child.SetAttributes(attribute.String("db.system", "postgresql"))
	child.RecordError(errors.New("no such table"))
	child.SetStatus(codes.Error, "no such table")
	child.End()
	root.End()
	if err := provider.Shutdown(context.Background()); err != nil {
		return err
	}
	fmt.Println(root.SpanContext().TraceID())
	return nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: sender KIND HOST PORT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
