package control

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
	"syscall"
	"time"

	"acctpull/internal/show"
)

const (
	maxAnswer  = 256 << 20 // bytes: a hundred thousand objects take a tenth of it
	dialWait   = 5 * time.Second
	clientWait = workTimeout + 10*time.Second
)

// Client asks the agent at a socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the socket. It connects to nothing yet.
func NewClient(path string) *Client {
	dialer := net.Dialer{Timeout: dialWait}
	return &Client{path: path, http: &http.Client{
		Timeout: clientWait,
		Transport: &http.Transport{
			DisableKeepAlives:  true,
			DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", path)
			},
		},
	}}
}

// Status asks for the state of the agent; all asks for every object too. The
// error matches ErrNotRunning if nobody listens.
func (c *Client) Status(ctx context.Context, all bool) (show.Agent, error) {
	path := "/v1/status"
	if all {
		path += "?associations=all"
	}
	var a show.Agent
	err := c.ask(ctx, http.MethodGet, path, nil, &a)
	if err == nil && a.Version != show.Version {
		err = &Error{Op: "ask", Path: c.path, Err: fmt.Errorf("the agent speaks version %d, this program %d", a.Version, show.Version), hint: "use the acctpull that the agent was started with"}
	}
	return a, err
}

// ClearLog closes the file of a policy or file-id. It returns nothing if none
// was open. The error matches ErrNotFound if there is no such policy or
// file-id, and ErrNotRunning if nobody listens.
func (c *Client) ClearLog(ctx context.Context, t Target) ([]Closed, error) {
	var out closedFiles
	err := c.ask(ctx, http.MethodPost, "/v1/clear-log", t, &out)
	return out.Closed, err
}

// Reload makes the agent read its configuration again. The error matches
// ErrNotRunning if nobody listens.
func (c *Client) Reload(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/v1/reload", nil, &struct{}{})
}

func (c *Client) ask(ctx context.Context, method, path string, body, out any) error {
	if err := checkPath("ask", c.path); err != nil {
		return err
	}
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, send)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		return refusal(resp.StatusCode, data)
	}
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return &Error{Op: "ask", Path: c.path, Err: err}
	}
	return nil
}

func refusal(status int, data []byte) error {
	var a answer
	if json.Unmarshal(data, &a) != nil || a.Error == "" {
		a.Error = fmt.Sprintf("the agent answered with status %d", status)
	}
	return &Refusal{Status: status, Text: a.Error, hint: a.Hint}
}

// unreachable says why a request was not answered.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return &Error{Op: "ask", Path: c.path, Err: cause}
	}
	if web := (*url.Error)(nil); errors.As(err, &web) {
		err = web.Err // without the address, which is no real one
	}
	e := &Error{Op: "ask", Path: c.path, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		e.Err, e.hint = ErrNotRunning, "acctpull collect -c FILE starts one"
	case errors.Is(err, fs.ErrPermission):
		e.hint = "the socket is open to the user of the agent and to root only"
	}
	return e
}
