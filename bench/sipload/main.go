//go:build linux

// Command sipload loads SIP servers with registrations and calls and measures them from outside, several servers in turn within one run.
//
//	sipload accounts -users 10000 -realm bench -tandem accounts.csv -kamailio dbtext/htable
//	sipload run -target name=tandem,sip=127.0.0.1:6080,pid=123,admin=http://127.0.0.1:9790 -out results.jsonl register@1000 call@3000
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
)

func main() {
	debug.SetGCPercent(400) // the driver must not take processor time from the server that it measures
	if err := command(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "sipload:", err)
		}
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "accounts":
			return accounts(args[1:])
		case "wait":
			return wait(args[1:])
		case "run":
			return run(args[1:])
		}
	}
	return errors.New("usage: sipload accounts|wait|run -h")
}
