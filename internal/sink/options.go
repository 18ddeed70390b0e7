package sink

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Protocols of OTLP.
const (
	ProtocolGRPC = "grpc"
	ProtocolHTTP = "http/protobuf"
)

// Options say where to send and how. What is not set is read from
// OTEL_EXPORTER_OTLP_TRACES_*, then OTEL_EXPORTER_OTLP_*, then as OpenTelemetry
// has it.
type Options struct {
	// Endpoint is a URL, or host:port for gRPC. For HTTP it is used as it is;
	// default http://localhost:4317, or http://localhost:4318/v1/traces.
	Endpoint    string
	Headers     map[string]string // added to those of the environment
	TLS         *tls.Config       // default: the environment's certificates, else the system's
	Insecure    bool              // an endpoint without scheme is not encrypted
	Compression string            // "gzip" or "none"
	Protocol    string            // for New; default "http/protobuf" where the environment says so, else "grpc"
	Timeout     time.Duration     // of one attempt; default 10 s
}

// New makes the sink of the protocol.
func New(o Options) (Sink, error) {
	switch p := cmp.Or(o.Protocol, env("PROTOCOL"), ProtocolGRPC); p {
	case ProtocolGRPC:
		return GRPC(o)
	case ProtocolHTTP:
		return HTTP(o)
	default:
		return nil, fmt.Errorf("OTLP protocol %q: use %s or %s", p, ProtocolGRPC, ProtocolHTTP)
	}
}

// env is a setting for traces, else for all signals.
func env(name string) string {
	return cmp.Or(strings.TrimSpace(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name)), strings.TrimSpace(os.Getenv("OTEL_EXPORTER_OTLP_"+name)))
}

const defaultTimeout = 10 * time.Second

// settings are the options after the environment was read.
type settings struct {
	endpoint *url.URL // with scheme http or https
	headers  map[string]string
	tls      *tls.Config
	gzip     bool
	timeout  time.Duration
}

func (o Options) settings(defaultEndpoint, path string) (s settings, err error) {
	if s.endpoint, err = o.endpoint(defaultEndpoint, path); err != nil {
		return s, err
	}
	s.headers = map[string]string{}
	if err := parseHeaders(s.headers, env("HEADERS")); err != nil {
		return s, err
	}
	maps.Copy(s.headers, o.Headers)
	if s.timeout = o.Timeout; s.timeout <= 0 {
		s.timeout = defaultTimeout
		if text := env("TIMEOUT"); text != "" {
			ms, err := strconv.Atoi(text)
			if err != nil || ms <= 0 {
				return s, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT is %q: give milliseconds above zero", text)
			}
			s.timeout = time.Duration(ms) * time.Millisecond
		}
	}
	switch c := cmp.Or(o.Compression, env("COMPRESSION"), "none"); c {
	case "gzip":
		s.gzip = true
	case "none":
	default:
		return s, fmt.Errorf("OTLP compression %q: use gzip or none", c)
	}
	if s.endpoint.Scheme == "https" {
		if s.tls, err = o.tls(); err != nil {
			return s, err
		}
	}
	return s, nil
}

// endpoint is what the options, the environment or OpenTelemetry's default say.
// path is what HTTP adds to an endpoint for all signals.
func (o Options) endpoint(defaultEndpoint, path string) (*url.URL, error) {
	text := cmp.Or(o.Endpoint, strings.TrimSpace(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")))
	if text == "" {
		text = cmp.Or(strings.TrimSpace(os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")), defaultEndpoint)
		text = strings.TrimRight(text, "/") + path
	}
	if !strings.Contains(text, "://") {
		scheme := "https://"
		if o.Insecure || env("INSECURE") == "true" {
			scheme = "http://"
		}
		text = scheme + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// Not the error of url.Parse: it quotes a password.
		return nil, fmt.Errorf("the OTLP endpoint is no URL: give one like %s, as an option or in OTEL_EXPORTER_OTLP_ENDPOINT", defaultEndpoint)
	}
	return u, nil
}

// parseHeaders reads key1=value1,key2=value2, percent-encoded. Values are
// secrets: no error quotes them.
func parseHeaders(into map[string]string, text string) error {
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: an entry is not key=value; write it as key1=value1,key2=value2")
		}
		value, err := url.PathUnescape(strings.TrimSpace(v))
		if err != nil {
			return fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: the value of %q is not percent-encoded as a URL", k)
		}
		into[strings.ToLower(k)] = value
	}
	return nil
}

func (o Options) tls() (*tls.Config, error) {
	if o.TLS != nil {
		return o.TLS.Clone(), nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if name := env("CERTIFICATE"); name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate in PEM form", name)
		}
	}
	if certificate, key := env("CLIENT_CERTIFICATE"), env("CLIENT_KEY"); certificate != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
