package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxAnswer bounds an answer read by a Client.
const maxAnswer = 256 << 20

// Client speaks to one node. Its methods may be called from any goroutine. An error is a *Problem when the node said no, an
// *UnreachableError when nobody answered, or the context's.
type Client struct {
	target string
	base   string
	token  string
	http   *http.Client
}

// UnreachableError means that no node answered.
type UnreachableError struct {
	Target string
	Cause  error
}

func (e *UnreachableError) Error() string {
	path, unix := socketPath(e.Target)
	switch {
	case unix && errors.Is(e.Cause, fs.ErrNotExist):
		return fmt.Sprintf("no node runs here: there is no %s; start one with `tandem demo` or `tandem serve`, or say where it is with --data-dir or --api", path)
	case unix && errors.Is(e.Cause, syscall.ECONNREFUSED):
		return fmt.Sprintf("no node answers on %s; it has stopped: start it with `tandem serve`", path)
	case unix && errors.Is(e.Cause, fs.ErrPermission):
		return fmt.Sprintf("%s belongs to another user; run this as the user of the node, or use --api with --token", path)
	case errors.Is(e.Cause, syscall.ECONNREFUSED):
		return fmt.Sprintf("no node answers at %s; check that it runs and that admin.listen is this address", e.Target)
	}
	return fmt.Sprintf("the node at %s cannot be reached: %v", e.Target, e.Cause)
}

// Unwrap gives the network's error.
func (e *UnreachableError) Unwrap() error { return e.Cause }

// NewClient makes a client of the node at target: an http:// or https:// URL, or the path of its unix socket (also unix:PATH).
// token may be empty where none is needed.
func NewClient(target, token string) (*Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 8, ResponseHeaderTimeout: 2 * time.Minute, TLSHandshakeTimeout: 10 * time.Second, Proxy: http.ProxyFromEnvironment}
	c := &Client{target: target, token: token, http: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if path, ok := socketPath(target); ok {
		c.base = "http://localhost"
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			addr, release, err := socketAddress(path)
			if err != nil {
				return nil, err
			}
			defer release()
			return new(net.Dialer).DialContext(ctx, "unix", addr)
		}
		return c, nil
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is neither a URL like http://127.0.0.1:9090 nor the path of a socket", target)
	}
	c.base = strings.TrimSuffix(strings.TrimSuffix(u.Scheme+"://"+u.Host+u.Path, "/"), prefix)
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	return c, nil
}

// socketPath is the path of the unix socket that target names, if it names one.
func socketPath(target string) (string, bool) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		return strings.TrimPrefix(path, "//"), true
	}
	return target, strings.ContainsRune(target, '/') && !strings.Contains(target, "://")
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do makes one request; in is sent as JSON when not nil, the answer is read into out when not nil.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any, header ...string) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.send(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
		return err
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s cannot be read: %w", c.target, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1024)) // lets the connection be used again
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	u := c.base + prefix + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "tandem")
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r, nil
}

// download writes what is at path to out, as it is.
func (c *Client) download(ctx context.Context, path string, out io.Writer) error {
	r, err := c.request(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "*/*")
	resp, err := c.send(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(out, resp.Body)
	return err
}

// send gives the response when it is a 2xx; the caller closes its body.
func (c *Client) send(r *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		if ctxErr := r.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, &UnreachableError{Target: c.target, Cause: err}
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.problem(resp)
}

func (c *Client) problem(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	p := &Problem{}
	if json.Unmarshal(text, p) != nil || p.Status == 0 {
		p = newProblem(resp.StatusCode, fmt.Sprintf("%s answered %s; is it the admin address of a Tandem node?", c.target, resp.Status))
	}
	for _, e := range p.Errors {
		if e != nil {
			p.Detail += fmt.Sprintf("; %s: %s", e.Location, e.Message)
		}
	}
	p.RetryAfter, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
	return p
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	var out T
	err := c.do(ctx, http.MethodGet, path, query, nil, &out)
	return out, err
}

// all reads a list page by page, at most max items of it (0: all).
func all[T any](ctx context.Context, c *Client, path string, query url.Values, max int) (List[T], error) {
	var out List[T]
	if query == nil {
		query = url.Values{}
	}
	for {
		size := 1000
		if max > 0 {
			size = min(size, max-len(out.Items))
		}
		query.Set("offset", strconv.Itoa(len(out.Items)))
		query.Set("limit", strconv.Itoa(size))
		page, err := get[List[T]](ctx, c, path, query)
		if err != nil {
			return out, err
		}
		out.Items, out.Total = append(out.Items, page.Items...), page.Total
		if len(page.Items) < size || (max > 0 && len(out.Items) >= max) {
			return out, nil
		}
	}
}

// values makes a query of names and values, leaving out what is empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}
