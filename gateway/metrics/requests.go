package metrics

import (
	"strconv"
	"time"
)

// Requests counts HTTP requests by route: by its pattern, never by its path.
type Requests struct {
	answered *handles[request, requestHandles]
}

type request struct {
	method, route string
	status        int
}

type requestHandles struct {
	count *Counted
	took  *Observed
}

// requestBounds: an action in Python takes some milliseconds, a build minutes.
var requestBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// NewRequests makes the metrics of requests.
func NewRequests(r *Registry) *Requests {
	total := r.Counter("http_requests_total", "Requests that were answered, by method, pattern of the route (empty = none) and status.", "method", "route", "status")
	took := r.Histogram("http_request_duration_seconds", "Time from a request's arrival to the end of its answer.", requestBounds, "method", "route")
	return &Requests{newHandles(func(q request) requestHandles {
		return requestHandles{total.With(q.method, q.route, strconv.Itoa(q.status)), took.With(q.method, q.route)}
	})}
}

// Answered counts a request. method and route must not be the client's own words.
func (r *Requests) Answered(method, route string, status int, took time.Duration) {
	h := r.answered.of(request{method, route, status})
	h.count.Inc()
	h.took.Observe(took.Seconds())
}

// Serving shows what the server does now.
func Serving(r *Registry, look func() (requests, connections int)) {
	r.Gauge("http_requests_in_flight", "Requests that are being answered, probes left out.", func() float64 {
		requests, _ := look()
		return float64(requests)
	})
	r.Gauge("http_connections_open", "Connections of clients that are open.", func() float64 {
		_, connections := look()
		return float64(connections)
	})
}
