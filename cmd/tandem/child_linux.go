package main

import "syscall"

// childAttributes have the nodes of a demo end with it, whatever it dies of, and keep the terminal's Ctrl-C from them: the demo passes it on.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
