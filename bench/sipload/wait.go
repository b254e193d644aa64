//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"tandem/bench/internal/gauge"
)

// wait returns when a server answers, or fails when it does not in time.
func wait(args []string) error {
	flags := flag.NewFlagSet("wait", flag.ContinueOnError)
	url := flags.String("http", "", "URL that must answer 200")
	rpc := flags.String("rpc", "", "host:port of Kamailio's JSON-RPC over UDP")
	ng := flags.String("ng", "", "host:port of an NG listener")
	pid := flags.Int("pid", 0, "the server: when it has gone, waiting ends at once, whoever else answers there")
	timeout := flags.Duration("timeout", 20*time.Second, "give up after this long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	for until := time.Now().Add(*timeout); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		switch {
		case *url != "":
			err = ask(*url)
		case *rpc != "":
			_, err = gauge.Heap{RPC: *rpc}.Bytes()
		case *ng != "":
			err = ping(*ng)
		default:
			return errors.New("wait needs -http, -rpc or -ng")
		}
		if *pid != 0 && !alive(*pid) {
			return fmt.Errorf("process %d has ended", *pid)
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("no answer within %s: %w", *timeout, err)
}

func ask(url string) error {
	answer, err := (&http.Client{Timeout: time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

func ping(address string) error {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprintf(conn, "w%d d7:command4:pinge", time.Now().UnixNano()); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1500))
	return err
}

// alive reports whether pid runs; a zombie does not.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(text, []byte(") "))
	return len(state) > 0 && state[0] != 'Z' && state[0] != 'X'
}
