package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxReply is how much of an answer is read.
const maxReply = 64 << 10

// httpSink posts prebuilt bytes.
type httpSink struct {
	settings
	where  string
	client *http.Client
}

// HTTP sends over OTLP/HTTP with protobuf bodies.
func HTTP(o Options) (Sink, error) {
	s, err := o.settings("http://localhost:4318", "/v1/traces")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if def, ok := http.DefaultTransport.(*http.Transport); ok { // instrumentation replaces it
		transport = def.Clone()
	}
	transport.TLSClientConfig = s.tls
	return &httpSink{settings: s, where: s.endpoint.Redacted(), client: &http.Client{
		Transport: transport,
		Timeout:   s.timeout,
		// The headers may hold secrets; they are for this host only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (h *httpSink) Export(ctx context.Context, request []byte) error {
	body := request
	if h.gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(request); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		body = b.Bytes()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return &Error{Kind: Misconfigured, Err: fmt.Errorf("OTLP endpoint %s is no address", h.where)}
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", userAgent)
	if h.gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	for k, v := range h.headers {
		r.Header.Set(k, v)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is said already, without a password
		}
		return &Error{Kind: Transient, Err: fmt.Errorf("%s: %w", h.where, err)}
	}
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode/100 != 2 {
		return httpError(h.where, resp, reply)
	}
	if err != nil {
		return &Error{Kind: Transient, Err: fmt.Errorf("%s: reading the answer: %w", h.where, err)}
	}
	return partial(h.where, reply)
}

func (h *httpSink) Shutdown(context.Context) error {
	h.client.CloseIdleConnections()
	return nil
}

func httpError(where string, resp *http.Response, reply []byte) error {
	message := string(reply)
	if resp.Header.Get("Content-Type") == "application/x-protobuf" {
		message = ""
		each(reply, func(n protowire.Number, _ uint64, v []byte) {
			if n == 2 { // google.rpc.Status.message
				message = string(v)
			}
		})
	}
	e := &Error{Err: fmt.Errorf("%s answers %s: %s", where, resp.Status, clip(message))}
	switch code := resp.StatusCode; {
	case code == http.StatusRequestEntityTooLarge:
		e.Kind = TooLarge
	case code == http.StatusBadRequest || code == http.StatusUnprocessableEntity:
		e.Kind = Refused
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests ||
		code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout:
		e.Kind = Transient
	case code >= http.StatusInternalServerError:
		e.Kind = Doubtful
	default: // redirects, 401, 403, 404 …
		e.Kind = Misconfigured
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.After = time.Duration(min(seconds, 3600)) * time.Second
	} else if at, err := http.ParseTime(resp.Header.Get("Retry-After")); err == nil {
		e.After = min(max(time.Until(at), 0), time.Hour)
	}
	return e
}
