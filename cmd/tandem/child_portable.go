//go:build !linux

package main

import "syscall"

// childAttributes are none here: nodes that outlive a killed demo must be ended by hand.
func childAttributes() *syscall.SysProcAttr { return nil }
