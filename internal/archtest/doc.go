// Package archtest keeps the house in order: its tests read every file of the repository and fail when a package imports what
// it may not, when init, panic or a real sleep slips in, or when a file names a place that only exists on its author's machine.
// The rules stand in rules_test.go; changing one is a decision about the architecture, to be made in the open.
package archtest
