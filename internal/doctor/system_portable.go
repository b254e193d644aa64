//go:build !linux

package doctor

func fileLimit() (uint64, bool) { return 0, false }

func freeBytes(string) (uint64, bool) { return 0, false }

func clockSynced() (synced, known bool) { return false, false }
