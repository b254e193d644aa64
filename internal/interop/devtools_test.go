//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// page is a headless Chromium with one page, led as a person would: by looking at the page and pressing what is on it. It speaks
// Chromium's DevTools protocol.
type page struct {
	*process
	conn *websocket.Conn
	next int
}

// openPage opens a page with a camera and a microphone of Chromium's own making: a moving picture, and a beep each second.
func openPage(t testing.TB, url string) *page {
	t.Helper()
	chromium := peer(t, "chromium", "chromium")
	dir := t.TempDir()
	profile := filepath.Join(dir, "profile")
	w := &page{process: launch(t, "chromium", dir, []string{"HOME=" + dir},
		chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+profile, "--remote-debugging-port=0",
		"--no-first-run", "--disable-extensions", "--disable-sync", "--disable-component-update", "--disable-background-networking",
		"--disable-default-apps", "--disable-domain-reliability", "--disable-features=OptimizationHints,MediaRouter", "--no-pings",
		"--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*",
		"--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required", "--mute-audio", url)}
	w.patience = 2 * time.Second
	var port string
	eventually(t, browserStart, "the browser's DevTools", func() bool {
		text, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
		port, _, _ = strings.Cut(string(text), "\n")
		return err == nil && port != ""
	})
	var at string
	eventually(t, browserStart, "the page", func() bool {
		resp, err := http.Get("http://127.0.0.1:" + port + "/json/list")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var pages []struct {
			Type, WebSocketDebuggerURL string
		}
		if json.NewDecoder(resp.Body).Decode(&pages) != nil {
			return false
		}
		for _, p := range pages {
			if p.Type == "page" {
				at = p.WebSocketDebuggerURL
			}
		}
		return at != ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), browserStart)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	w.conn = conn
	t.Cleanup(func() { _ = conn.CloseNow() })
	return w
}

// ask evaluates JavaScript in the page and gives its value as text; promises are awaited.
func (w *page) ask(t testing.TB, script string) string {
	t.Helper()
	value, thrown := w.try(t, script)
	if thrown != "" {
		t.Fatalf("%s: %s", script, thrown)
	}
	return value
}

// try is ask for what may not be there yet.
func (w *page) try(t testing.TB, script string) (value, thrown string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	w.next++
	request, _ := json.Marshal(map[string]any{
		"id": w.next, "method": "Runtime.evaluate",
		"params": map[string]any{"expression": "(async () => String(await (" + script + ")))()", "awaitPromise": true, "returnByValue": true, "userGesture": true},
	})
	if err := w.conn.Write(ctx, websocket.MessageText, request); err != nil {
		t.Fatal(err)
	}
	for {
		_, text, err := w.conn.Read(ctx)
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		var answer struct {
			ID     int
			Result struct {
				Result           struct{ Value any }
				ExceptionDetails *struct {
					Text      string
					Exception struct{ Description string }
				}
			}
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
		if answer.ID != w.next {
			continue // an event
		}
		if e := answer.Result.ExceptionDetails; e != nil {
			return "", e.Text + " " + e.Exception.Description
		}
		return fmt.Sprint(answer.Result.Result.Value), ""
	}
}

// await asks until the answer is true.
func (w *page) await(t testing.TB, what, script string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			text, thrown := w.try(t, `document.getElementById('frame').dataset.view + ': ' + document.body.innerText`)
			t.Logf("the page: %s%s", text, thrown)
		}
	}()
	eventually(t, browserStart, what, func() bool {
		value, _ := w.try(t, script)
		return value == "true"
	})
}

// press clicks what a selector finds.
func (w *page) press(t testing.TB, selector string) {
	t.Helper()
	w.ask(t, fmt.Sprintf(`document.querySelector(%q).click()`, selector))
}
