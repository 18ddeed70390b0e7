package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is a small one, and what names it.
func request(t *testing.T) []byte {
	t.Helper()
	td := ptrace.NewTraces()
	td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("carrier")
	b, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	require.NoError(t, err)
	return b
}

// receiver is an OTLP/gRPC receiver.
type receiver struct {
	ptraceotlp.UnimplementedGRPCServer
	answer   error
	rejected int64

	mu      sync.Mutex
	names   []string
	headers metadata.MD
}

func (r *receiver) Export(ctx context.Context, req ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers, _ = metadata.FromIncomingContext(ctx)
	r.names = append(r.names, req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Name())
	resp := ptraceotlp.NewExportResponse()
	resp.PartialSuccess().SetRejectedSpans(r.rejected)
	if r.rejected > 0 {
		resp.PartialSuccess().SetErrorMessage("not these")
	}
	return resp, r.answer
}

func serve(t *testing.T, r *receiver, options ...grpc.ServerOption) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer(options...)
	ptraceotlp.RegisterGRPCServer(s, r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String()
}

func make1(t *testing.T, s Sink, err error) Sink {
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Shutdown(context.Background())) })
	return s
}

func TestGRPCSendsTheBytes(t *testing.T) {
	for _, compression := range []string{"none", "gzip"} {
		r := &receiver{}
		s, err := GRPC(Options{Endpoint: "http://" + serve(t, r), Headers: map[string]string{"X-Key": "secret"}, Compression: compression})
		make1(t, s, err)
		require.NoError(t, s.Export(t.Context(), request(t)))
		assert.Equal(t, []string{"carrier"}, r.names)
		assert.Equal(t, []string{"secret"}, r.headers.Get("x-key"))
		assert.Contains(t, r.headers.Get("user-agent")[0], userAgent)
	}
}

func TestGRPCAnswers(t *testing.T) {
	busy, err := status.New(codes.ResourceExhausted, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
	require.NoError(t, err)
	for _, tt := range []struct {
		name   string
		answer error
		kind   Kind
		after  time.Duration
	}{
		{"away", status.Error(codes.Unavailable, "away"), Transient, 0},
		{"busy", busy.Err(), Transient, 1500 * time.Millisecond},
		{"bad", status.Error(codes.InvalidArgument, "bad"), Refused, 0},
		{"key", status.Error(codes.Unauthenticated, "key"), Misconfigured, 0},
		{"no such service", status.Error(codes.Unimplemented, "x"), Misconfigured, 0},
		{"its own failure", status.Error(codes.Internal, "x"), Doubtful, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, &receiver{answer: tt.answer})
			s, err := GRPC(Options{Endpoint: addr, Insecure: true})
			make1(t, s, err)
			err = s.Export(t.Context(), request(t))
			require.Error(t, err)
			assert.Equal(t, tt.kind, Of(err).Kind)
			assert.Equal(t, tt.after, Of(err).After)
			assert.ErrorContains(t, err, addr)
		})
	}
}

func TestGRPCLimitOfSize(t *testing.T) {
	s, err := GRPC(Options{Endpoint: "http://" + serve(t, &receiver{}, grpc.MaxRecvMsgSize(1000))})
	make1(t, s, err)
	err = s.Export(t.Context(), bytes.Repeat([]byte{0}, 2000))
	assert.Equal(t, TooLarge, Of(err).Kind, "%v", err)
}

func TestNobodyThereIsTransient(t *testing.T) {
	for _, f := range []func(Options) (Sink, error){GRPC, HTTP} {
		s, err := f(Options{Endpoint: "http://127.0.0.1:1"})
		make1(t, s, err)
		err = s.Export(t.Context(), request(t))
		require.Error(t, err)
		assert.Equal(t, Transient, Of(err).Kind)
		assert.ErrorContains(t, err, "127.0.0.1:1")
	}
	assert.Equal(t, Transient, Of(errors.New("of no kind")).Kind)
}

func TestPartialSuccessIsNoSuccess(t *testing.T) {
	s, err := GRPC(Options{Endpoint: "http://" + serve(t, &receiver{rejected: 3})})
	make1(t, s, err)
	err = s.Export(t.Context(), request(t))
	assert.Equal(t, Refused, Of(err).Kind)
	assert.ErrorContains(t, err, "rejected 3 carriers: not these")
}

func TestHTTPSendsTheBytes(t *testing.T) {
	for _, compression := range []string{"none", "gzip"} {
		var got *http.Request
		var body []byte
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r
			in := io.Reader(r.Body)
			if r.Header.Get("Content-Encoding") == "gzip" {
				in, _ = gzip.NewReader(in)
			}
			body, _ = io.ReadAll(in)
		}))
		s, err := HTTP(Options{Endpoint: server.URL + "/v1/traces", Headers: map[string]string{"X-Key": "secret"}, Compression: compression})
		make1(t, s, err)
		require.NoError(t, s.Export(t.Context(), request(t)))
		assert.Equal(t, request(t), body)
		assert.Equal(t, "/v1/traces", got.URL.Path)
		assert.Equal(t, "application/x-protobuf", got.Header.Get("Content-Type"))
		assert.Equal(t, "secret", got.Header.Get("X-Key"))
		server.Close()
	}
}

func TestHTTPWhereInstrumentationReplacedTheTransport(t *testing.T) {
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	http.DefaultTransport = struct{ http.RoundTripper }{before}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	s, err := HTTP(Options{Endpoint: server.URL})
	make1(t, s, err)
	require.NoError(t, s.Export(t.Context(), request(t)))
}

func TestHTTPAnswers(t *testing.T) {
	for _, tt := range []struct {
		code  int
		kind  Kind
		after string
		wait  time.Duration
	}{
		{http.StatusBadRequest, Refused, "", 0},
		{http.StatusRequestEntityTooLarge, TooLarge, "", 0},
		{http.StatusUnauthorized, Misconfigured, "", 0},
		{http.StatusNotFound, Misconfigured, "", 0},
		{http.StatusFound, Misconfigured, "", 0},
		{http.StatusTooManyRequests, Transient, "7", 7 * time.Second},
		{http.StatusServiceUnavailable, Transient, "soon", 0},
		{http.StatusBadGateway, Transient, "", 0},
		{http.StatusInternalServerError, Doubtful, "", 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", tt.after)
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(tt.code)
			_, _ = io.WriteString(w, strings.Repeat("why ", 200))
		}))
		s, err := HTTP(Options{Endpoint: server.URL})
		make1(t, s, err)
		err = s.Export(t.Context(), request(t))
		require.Error(t, err, tt.code)
		assert.Equal(t, tt.kind, Of(err).Kind, "%d", tt.code)
		assert.Equal(t, tt.wait, Of(err).After, "%d", tt.code)
		assert.ErrorContains(t, err, http.StatusText(tt.code)+": why")
		assert.Less(t, len(err.Error()), 500)
		server.Close()
	}
}

func TestTheEnvironmentSaysWhere(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		o    Options
		http bool
		want string
	}{
		{"nothing", nil, Options{}, false, "http://localhost:4317"},
		{"nothing, HTTP", nil, Options{}, true, "http://localhost:4318/v1/traces"},
		{"for all signals", map[string]string{"ENDPOINT": "https://c:1"}, Options{}, false, "https://c:1"},
		{"for all signals, HTTP: the path is added", map[string]string{"ENDPOINT": "https://c:1/x/"}, Options{}, true, "https://c:1/x/v1/traces"},
		{"for traces wins, as it is", map[string]string{"ENDPOINT": "http://c", "TRACES_ENDPOINT": "http://t/here"}, Options{}, true, "http://t/here"},
		{"an option wins", map[string]string{"TRACES_ENDPOINT": "http://t"}, Options{Endpoint: "http://o"}, false, "http://o"},
		{"without a scheme it is encrypted", map[string]string{"ENDPOINT": "c:4317"}, Options{}, false, "https://c:4317"},
		{"unless it may be not", map[string]string{"ENDPOINT": "c:4317", "INSECURE": "true"}, Options{}, false, "http://c:4317"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv("OTEL_EXPORTER_OTLP_"+k, v)
			}
			base, path := "http://localhost:4317", ""
			if tt.http {
				base, path = "http://localhost:4318", "/v1/traces"
			}
			s, err := tt.o.settings(base, path)
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.endpoint.String())
		})
	}
}

func TestTheEnvironmentSaysHow(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc%3D, x-a = 1 ,")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1500")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", ProtocolHTTP)
	s, err := Options{Headers: map[string]string{"x-a": "2"}}.settings("http://localhost:1", "")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"authorization": "Basic abc=", "x-a": "2"}, s.headers)
	assert.False(t, s.gzip)
	assert.Equal(t, 1500*time.Millisecond, s.timeout)
	made, err := New(Options{})
	make1(t, made, err)
	assert.IsType(t, &httpSink{}, made)
	made, err = New(Options{Protocol: ProtocolGRPC})
	make1(t, made, err)
	assert.IsType(t, &grpcSink{}, made)
}

func TestMistakesAreNamedAndSecretsAreNot(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"no URL":         {"ENDPOINT": "http://user:secret@%zz"},
		"another scheme": {"ENDPOINT": "ftp://user:secret@x"},
		"headers":        {"HEADERS": "secret"},
		"header value":   {"HEADERS": "key=secret%zz"},
		"compression":    {"COMPRESSION": "zstd"},
		"timeout":        {"TIMEOUT": "10s"},
		"protocol":       {"PROTOCOL": "http/json"},
		"certificate":    {"ENDPOINT": "https://x", "CERTIFICATE": "/does/not/exist"},
		"client":         {"ENDPOINT": "https://x", "CLIENT_KEY": "/does/not/exist"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				t.Setenv("OTEL_EXPORTER_OTLP_"+k, v)
			}
			_, err := New(Options{})
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "secret")
			assert.Regexp(t, "OTLP", err.Error())
		})
	}
	t.Run("a password in an endpoint", func(t *testing.T) {
		s, err := HTTP(Options{Endpoint: "http://user:secret@127.0.0.1:1"})
		make1(t, s, err)
		err = s.Export(t.Context(), nil)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "secret")
	})
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	s, err := HTTP(Options{Endpoint: server.URL})
	make1(t, s, err)
	require.Error(t, s.Export(t.Context(), nil), "of an authority nobody knows")

	name := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", name)
	s, err = HTTP(Options{Endpoint: server.URL})
	make1(t, s, err)
	require.NoError(t, s.Export(t.Context(), nil))
	s, err = HTTP(Options{Endpoint: server.URL, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	make1(t, s, err)
	require.Error(t, s.Export(t.Context(), nil), "options go before the environment")
}
