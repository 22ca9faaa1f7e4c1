package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strconv"
	"time"
)

// admin is the operator's listener. Whoever reaches it reads what the program has
// in memory: it is for this machine, unless the operator says otherwise.
type admin struct {
	listener net.Listener
	server   *http.Server
}

// openAdmin takes the address of the administrative listener; nil = there is none.
func (g *gateway) openAdmin(ctx context.Context) (*admin, error) {
	config := g.config.Admin
	if config.Port == 0 {
		return nil, nil
	}
	address := net.JoinHostPort(config.Host, strconv.Itoa(config.Port))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin.port (%s): %w", g.config.Origin("admin.port"), err)
	}
	g.log.Info("administrative listener is open", "url", "http://"+listener.Addr().String())
	return &admin{listener, &http.Server{
		Handler:           local(config.Host, g.adminRoutes()),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}}, nil
}

// adminRoutes is all that the listener answers.
func (g *gateway) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	if g.measures != nil {
		mux.HandleFunc("GET /metrics", g.exposeMetrics)
	}
	return mux
}

func (g *gateway) exposeMetrics(w http.ResponseWriter, _ *http.Request) {
	contentType, body, err := g.measures.Expose()
	if err != nil {
		g.log.Error("metrics can't be shown", "error", err)
		http.Error(w, "the gateway's log has the cause", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // who asked has left
}

// local refuses what a browser sends for a page: one on another site could
// otherwise read, under a name that leads here, what is for this machine alone.
func local(own string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := (&url.URL{Host: r.Host}).Hostname()
		here := name == own || name == "localhost" || net.ParseIP(name) != nil
		site := r.Header.Get("Sec-Fetch-Site")
		if !here || r.Header.Get("Origin") != "" || (site != "" && site != "none" && site != "same-origin") {
			http.Error(w, "no page of another site may ask here", http.StatusForbidden)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// run serves until ctx ends. Profiles that are being taken then are cut off.
func (a *admin) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = a.server.Close() }) // its error is that of Serve
	defer stop()
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the administrative listener: %w", err)
	}
	return nil
}
