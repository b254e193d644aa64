//go:build !linux

package main

import (
	"errors"
	"os"
)

// isTerminal takes every character device for a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// hideInput is not known here.
func hideInput(*os.File) (func(), error) { return nil, errors.ErrUnsupported }
