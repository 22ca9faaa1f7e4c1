package main

import (
	"net"
	"net/url"
)

// TracingConfig is about traces for OpenTelemetry.
type TracingConfig struct {
	// Endpoint is where spans are sent, as OTLP over HTTP: http://collector:4318.
	// Empty (the default) = nothing is drawn; a caller's trace context is passed on
	// to its action in any case.
	Endpoint string `yaml:"endpoint" secret:"url"`
	// Sample is the part of the traces that are drawn, 0 to 1, of those that begin
	// here. Default 1. Where a caller says whether its trace is drawn, that counts.
	Sample float64 `yaml:"sample"`
}

// AdminConfig is about a second listener, for profiles and metrics, without keys.
type AdminConfig struct {
	// Host is its address. Default 127.0.0.1; any address that other machines can
	// reach needs serve --insecure.
	Host string `yaml:"host"`
	// Port of it. Default 0 = there is none.
	Port int `yaml:"port"`
}

// operations checks what is for those who watch the gateway.
func (k *configCheck) operations() {
	tracing, admin := k.config.Tracing, k.config.Admin
	if tracing.Endpoint != "" {
		endpoint, err := url.Parse(tracing.Endpoint)
		switch {
		case err != nil || (endpoint.Scheme != "http" && endpoint.Scheme != "https") || endpoint.Hostname() == "":
			k.fault("tracing.endpoint", "is not the address of an OTLP receiver: write http://host:4318 or https://…")
		case endpoint.User != nil:
			k.fault("tracing.endpoint", "holds credentials: put them into the variable OTEL_EXPORTER_OTLP_HEADERS")
		}
	}
	if !(tracing.Sample >= 0 && tracing.Sample <= 1) {
		k.fault("tracing.sample", "%v is no part of all traces: give 0 to 1", tracing.Sample)
	}
	if net.ParseIP(admin.Host) == nil && !hostName.MatchString(admin.Host) {
		k.fault("admin.host", "%q is no address to listen on: give one like 127.0.0.1, or ::1", admin.Host)
	}
	if admin.Port < 0 || admin.Port > 65535 {
		k.fault("admin.port", "%d is not a port: give 1 to 65535, or 0 for none", admin.Port)
	}
	if admin.Port != 0 && admin.Port == k.config.Server.Port {
		k.fault("admin.port", "%d is server.port, too: give another", admin.Port)
	}
}
