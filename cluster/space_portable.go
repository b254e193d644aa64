//go:build !linux

package cluster

import "os"

// freeSpace is not known here.
func freeSpace(string) uint64 { return 0 }

// dataSync returns when the disk has the file.
func dataSync(f *os.File) error { return f.Sync() }
