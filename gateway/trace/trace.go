// Package trace draws what becomes of a request, as spans of OpenTelemetry: one of
// the request, below it one of the execution, and below that one for each phase.
// It is the only package that knows OpenTelemetry.
//
// A nil *Tracer draws nothing, and neither does the nil *Span that it gives: who
// draws need not ask whether anybody looks.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options of a Tracer. All are required.
type Options struct {
	Endpoint  string  // base URL of an OTLP receiver, "http://collector:4318"; a path replaces /v1/traces
	Sample    float64 // part of the traces that begin here which are drawn, 0 to 1; a caller's own decision counts first
	Version   string
	GatewayID string
	Log       *slog.Logger
}

// sendTimeout bounds one batch on its way.
const sendTimeout = 10 * time.Second

// Tracer draws spans and sends them in batches. Its methods may be called
// concurrently.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New returns a Tracer that contacts nobody yet. What can't be sent is logged and
// lost. The variables OTEL_EXPORTER_OTLP_HEADERS and OTEL_RESOURCE_ATTRIBUTES mean
// what they always do.
func New(o Options) (*Tracer, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint of traces: %w", err)
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(endpoint.String()), otlptracehttp.WithTimeout(sendTimeout))
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Log.Warn("traces could not be sent", "error", err) }))
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Sample))),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "attune"),
			attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.GatewayID),
		)))
	return &Tracer{provider, provider.Tracer("attune/gateway/trace", trace.WithInstrumentationVersion(o.Version))}, nil
}

// Close sends what is left, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Span is a stretch of time in a trace. End has to follow.
type Span struct {
	tracer *Tracer
	span   trace.Span
}

// Request begins the span of a request that has arrived at a time.
func (t *Tracer) Request(parent Context, method, route string, arrived time.Time) *Span {
	if t == nil {
		return nil
	}
	return t.begin(parent.span(), method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(arrived),
		trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route)))
}

// Execution begins the span of an execution of an action.
func (t *Tracer) Execution(parent Context, action, id string) *Span {
	if t == nil {
		return nil
	}
	return t.begin(parent.span(), "execute "+action,
		trace.WithAttributes(attribute.String("faas.name", action), attribute.String("faas.invocation_id", id)))
}

func (t *Tracer) begin(parent trace.SpanContext, name string, options ...trace.SpanStartOption) *Span {
	ctx := context.Background()
	if parent.IsValid() {
		ctx = trace.ContextWithSpanContext(ctx, parent)
	}
	_, span := t.tracer.Start(ctx, name, options...)
	return &Span{t, span}
}

// Context is the span's place, for whoever is called from within it.
func (s *Span) Context() Context {
	if s == nil {
		return Context{}
	}
	return contextOf(s.span.SpanContext())
}

// Child begins a span within this one.
func (s *Span) Child(name string) *Span {
	if s == nil {
		return nil
	}
	return s.tracer.begin(s.span.SpanContext(), name)
}

// Past draws a span within this one that is over. One without extent is none.
func (s *Span) Past(name string, from, to time.Time) {
	if s == nil || !s.span.IsRecording() || !to.After(from) {
		return
	}
	past := s.tracer.begin(s.span.SpanContext(), name, trace.WithTimestamp(from))
	past.span.End(trace.WithTimestamp(to))
}

// Set notes an attribute; the empty text is none.
func (s *Span) Set(name, value string) {
	if s != nil && value != "" {
		s.span.SetAttributes(attribute.String(name, value))
	}
}

// SetInt notes an attribute.
func (s *Span) SetInt(name string, value int) {
	if s != nil {
		s.span.SetAttributes(attribute.Int(name, value))
	}
}

// SetFlag notes an attribute.
func (s *Span) SetFlag(name string, value bool) {
	if s != nil {
		s.span.SetAttributes(attribute.Bool(name, value))
	}
}

// Fail marks the span as failed, for a reason of which there are few: a problem's
// code.
func (s *Span) Fail(code string) {
	if s != nil {
		s.span.SetAttributes(attribute.String("error.type", code))
		s.span.SetStatus(codes.Error, code)
	}
}

// End ends the span; once is enough.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}
