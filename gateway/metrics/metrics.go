// Package metrics counts what the gateway does, and shows it as Prometheus reads
// it. It is the only package that knows the Prometheus client.
//
// Whoever has something to count makes it here once, by Counter, Histogram, Gauge
// or Gauges, and keeps the handle: counting is then one or two atomic additions.
// Names follow Prometheus' conventions: attune_<thing>_<unit>, _total for counters,
// seconds and bytes. Labels only ever have values of which there are few and which
// no client can choose: patterns of routes, actions of the catalog, statuses.
package metrics

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// namespace is what every name begins with.
const namespace = "attune_"

// Registry has all metrics of one gateway. Making the same one twice panics: it
// is a mistake in the program, not in what it was given.
type Registry struct{ prometheus *prometheus.Registry }

// New returns a registry that knows of the process, of Go, and of the version.
func New(version string) *Registry {
	r := &Registry{prometheus.NewRegistry()}
	r.prometheus.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	r.Gauges("build_info", "What was built, as labels; always 1.", []string{"version", "goversion"}, func(emit Emit) {
		emit(1, version, runtime.Version())
	})
	return r
}

// Expose writes all metrics in the text format for Prometheus.
func (r *Registry) Expose() (contentType string, body []byte, err error) {
	families, err := r.prometheus.Gather()
	if err != nil {
		return "", nil, fmt.Errorf("gather metrics: %w", err)
	}
	var out bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	encoder := expfmt.NewEncoder(&out, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return "", nil, fmt.Errorf("write metrics: %w", err)
		}
	}
	return "text/plain; version=0.0.4; charset=utf-8", out.Bytes(), nil
}

// Counter is one that only grows, for each combination of its labels' values.
type Counter struct{ vec *prometheus.CounterVec }

// Counted is a counter with values for its labels.
type Counted struct{ counter prometheus.Counter }

// Counter makes one: name without "attune_", ending in "_total".
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, labels)
	r.prometheus.MustRegister(vec)
	return &Counter{vec}
}

// With resolves the values of the labels: once, for who counts often. A counter
// that was resolved is shown, with 0 at first.
func (c *Counter) With(values ...string) *Counted { return &Counted{c.vec.WithLabelValues(values...)} }

// Forget drops what has this value for a label, such as an action that is gone.
func (c *Counter) Forget(label, value string) {
	c.vec.DeletePartialMatch(prometheus.Labels{label: value})
}

// Inc counts one.
func (c *Counted) Inc() { c.counter.Inc() }

// Histogram counts durations, or other amounts, in buckets.
type Histogram struct{ vec *prometheus.HistogramVec }

// Observed is a histogram with values for its labels.
type Observed struct{ histogram prometheus.Observer }

// Histogram makes one: name without "attune_", ending in its unit. bounds are the
// upper ones of the buckets, ascending.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: namespace + name, Help: help, Buckets: bounds}, labels)
	r.prometheus.MustRegister(vec)
	return &Histogram{vec}
}

// With is Counter.With.
func (h *Histogram) With(values ...string) *Observed {
	return &Observed{h.vec.WithLabelValues(values...)}
}

// Forget is Counter.Forget.
func (h *Histogram) Forget(label, value string) {
	h.vec.DeletePartialMatch(prometheus.Labels{label: value})
}

// Observe counts one.
func (o *Observed) Observe(value float64) { o.histogram.Observe(value) }

// Emit tells one value and the values of its labels.
type Emit func(value float64, labels ...string)

// Gauge shows what look finds whenever somebody asks; it may be called at any
// time, and should take no longer than a lock is held.
func (r *Registry) Gauge(name, help string, look func() float64) {
	r.Gauges(name, help, nil, func(emit Emit) { emit(look()) })
}

// Gauges is Gauge with labels: look tells each combination once.
func (r *Registry) Gauges(name, help string, labels []string, look func(emit Emit)) {
	r.observe(prometheus.GaugeValue, name, help, labels, look)
}

// Counts shows counters that somebody else keeps.
func (r *Registry) Counts(name, help string, labels []string, look func(emit Emit)) {
	r.observe(prometheus.CounterValue, name, help, labels, look)
}

func (r *Registry) observe(kind prometheus.ValueType, name, help string, labels []string, look func(Emit)) {
	r.prometheus.MustRegister(&observed{prometheus.NewDesc(namespace+name, help, labels, nil), kind, look})
}

// observed asks for its values when they are wanted.
type observed struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	look func(Emit)
}

var _ prometheus.Collector = (*observed)(nil)

// Describe implements prometheus.Collector.
func (o *observed) Describe(descs chan<- *prometheus.Desc) { descs <- o.desc }

// Collect implements prometheus.Collector.
func (o *observed) Collect(found chan<- prometheus.Metric) {
	o.look(func(value float64, labels ...string) {
		metric, err := prometheus.NewConstMetric(o.desc, o.kind, value, labels...)
		if err != nil { // the wrong number of labels: shown as an error by Expose
			metric = prometheus.NewInvalidMetric(o.desc, err)
		}
		found <- metric
	})
}

// handles are resolved handles by what they are of. Finding one locks nothing and
// makes no garbage, which Prometheus' own way by values of labels does.
type handles[K comparable, V any] struct {
	make func(K) V

	known  atomic.Pointer[map[K]V] // replaced as a whole, never changed
	making sync.Mutex              // held by who replaces it
}

func newHandles[K comparable, V any](make func(K) V) *handles[K, V] {
	h := &handles[K, V]{make: make}
	h.known.Store(&map[K]V{})
	return h
}

func (h *handles[K, V]) of(k K) V {
	if v, ok := (*h.known.Load())[k]; ok {
		return v
	}
	h.making.Lock()
	defer h.making.Unlock()
	known := *h.known.Load()
	if v, ok := known[k]; ok {
		return v
	}
	more := maps.Clone(known)
	more[k] = h.make(k)
	h.known.Store(&more)
	return more[k]
}

// drop forgets handles.
func (h *handles[K, V]) drop(gone func(K) bool) {
	h.making.Lock()
	defer h.making.Unlock()
	less := maps.Clone(*h.known.Load())
	maps.DeleteFunc(less, func(k K, _ V) bool { return gone(k) })
	h.known.Store(&less)
}

// keys are what there are handles of, in no order.
func (h *handles[K, V]) keys() []K { return slices.Collect(maps.Keys(*h.known.Load())) }
