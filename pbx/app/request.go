package app

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tandem/dialplan"
)

// Bounds of what servers may send, and of connections.
const (
	maxAnswer  = 16 << 10
	maxHeader  = 16 << 10
	maxIdle    = 16 // connections kept to one server
	idleFor    = 30 * time.Second
	dialFor    = 10 * time.Second // at most; the time of the app is mostly shorter
	secretSign = "whsec_"
)

// newHTTP is a client for which the address in the plan counts and nothing else: no proxy of the environment, no redirect. A server that
// redirects would have a node of the operator's network ask whatever address it likes.
func newHTTP(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialFor}).DialContext
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialFor, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleFor,
			MaxResponseHeaderBytes: maxHeader, DisableCompression: true, // 16 KB of zip could be any number of bytes
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request is a question that is ready to be sent, twice if need be.
type request struct {
	url    string
	body   []byte
	header http.Header
}

// request makes the request, or the fault of one that cannot be made.
func (c *Client) request(a *dialplan.App, q Question) (*request, *Answer) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, &Answer{Fault: dialplan.AppInvalid, Reason: err.Error()} // a call that began in the year 10,000
	}
	id := q.Call + "-" + strconv.FormatUint(c.asked.Add(1), 10)
	r := &request{url: a.URL, body: body, header: http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"Tandem"},
		"Idempotency-Key": {id}, // the same in the second try; with it, net/http asks anew when a kept connection turns out to be dead
	}}
	for _, name := range []string{a.Secret, a.Sign} {
		if name != "" && c.secret(q.Tenant, name) == "" {
			return nil, &Answer{Fault: dialplan.AppNoSecret, Reason: fmt.Sprintf("secret %s is not set", name)}
		}
	}
	if a.Secret != "" {
		r.header.Set("Authorization", "Bearer "+c.secret(q.Tenant, a.Secret))
	}
	if a.Sign != "" {
		r.sign(id, c.secret(q.Tenant, a.Sign), time.Now())
	}
	return r, nil
}

func (c *Client) secret(tenant, name string) string {
	if c.cfg.Secret == nil {
		return ""
	}
	return c.cfg.Secret(tenant, name)
}

// sign signs the request as Standard Webhooks 1.0 says, for which there are libraries in every language: HMAC-SHA256 over id, time and
// body. A secret that begins with whsec_ is Base64 behind that; any other is taken as it is.
func (r *request) sign(id, secret string, now time.Time) {
	key := []byte(secret)
	if coded, is := strings.CutPrefix(secret, secretSign); is {
		if decoded, err := base64.StdEncoding.DecodeString(coded); err == nil {
			key = decoded
		}
	}
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(r.body)
	r.header.Set("Webhook-Id", id)
	r.header.Set("Webhook-Timestamp", at)
	r.header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// try asks once. again: nothing has been decided, and another try may help.
func (c *Client) try(ctx context.Context, r *request) (answer Answer, again bool) {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(r.body))
	if err != nil {
		return Answer{Fault: dialplan.AppUnreachable, Reason: err.Error()}, false // the plan was checked for this
	}
	req.Header = r.header.Clone()
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{Fault: dialplan.AppUnreachable, Reason: without(err)}, !connected.Load()
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500:
		return Answer{Fault: dialplan.AppError, Reason: "it answers " + resp.Status}, true
	case resp.StatusCode != http.StatusOK:
		return Answer{Fault: dialplan.AppRefused, Reason: "it answers " + resp.Status}, false
	}
	return read(resp.Body), false
}

// read reads what a server has to say.
func read(from io.Reader) Answer {
	body, err := io.ReadAll(io.LimitReader(from, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{Fault: dialplan.AppUnreachable, Reason: "its answer broke off: " + err.Error()}
	case len(body) > maxAnswer:
		return Answer{Fault: dialplan.AppInvalid, Reason: fmt.Sprintf("its answer is longer than %d bytes", maxAnswer)}
	}
	said, err := readReply(body)
	switch {
	case err != nil:
		return Answer{Fault: dialplan.AppInvalid, Reason: "its answer is not as it should be: " + err.Error()}
	case said.Answer == "":
		return Answer{Fault: dialplan.AppInvalid, Reason: `its answer has no "answer"`}
	}
	return Answer{Name: said.Answer, Reason: said.reason()}
}

// without takes method and address off an error of the client: the plan says them.
func without(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return err.Error()
}
