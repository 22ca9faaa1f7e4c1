// Package tracetest receives traces as a collector does: OTLP over HTTP, in
// protobuf. For tests.
package tracetest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one that was received.
type Span struct {
	Trace, ID, Parent string // hexadecimal; Parent is empty at the top
	Name, Kind        string
	Start, End        time.Time
	Failed            bool
	Attributes        map[string]string
	Resource          map[string]string
}

// Receiver takes spans until the test ends.
type Receiver struct {
	URL string

	mu    sync.Mutex
	spans []Span
}

// New starts a receiver on a port of its own.
func New(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if err := r.take(request); err != nil {
			t.Errorf("a batch of spans: %v", err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

func (r *Receiver) take(request *http.Request) error {
	if request.Method != http.MethodPost || request.URL.Path != "/v1/traces" || request.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s %s of %s is no batch", request.Method, request.URL.Path, request.Header.Get("Content-Type"))
	}
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(request.Body)
		if err != nil {
			return err
		}
		body = unpacked
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var batch collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(content, &batch); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range batch.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, Span{
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Name: s.GetName(), Kind: s.GetKind().String(), Failed: s.GetStatus().GetCode().String() == "STATUS_CODE_ERROR",
					Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
					Attributes: attributes(s.GetAttributes()), Resource: attributes(resource.GetResource().GetAttributes()),
				})
			}
		}
	}
	return nil
}

func attributes(pairs []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, pair := range pairs {
		switch value := pair.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			all[pair.GetKey()] = value.StringValue
		case *common.AnyValue_IntValue:
			all[pair.GetKey()] = fmt.Sprint(value.IntValue)
		case *common.AnyValue_BoolValue:
			all[pair.GetKey()] = fmt.Sprint(value.BoolValue)
		}
	}
	return all
}

// Spans are those that have come so far.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Of are the spans of one trace, by name; a name that is there twice has the later.
func (r *Receiver) Of(trace string) map[string]Span {
	found := map[string]Span{}
	for _, span := range r.Spans() {
		if span.Trace == trace {
			found[span.Name] = span
		}
	}
	return found
}
