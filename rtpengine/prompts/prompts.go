// Package prompts holds what the program says to callers in words: en.txt has the words, sounds what espeak-ng has made of them. `make
// prompts` speaks them again; a build needs no speech.
package prompts

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed sounds/*.wav
var sounds embed.FS

// Folder is where prompts of the program are among all prompts: "tandem/goodbye". A file of that name among the prompts of a node comes before them.
const Folder = "tandem/"

// Open gives the WAV file of a prompt by its full name, such as "tandem/goodbye"; fs.ErrNotExist when there is none.
func Open(name string) (fs.File, error) {
	short, ok := strings.CutPrefix(name, Folder)
	if !ok || strings.Contains(short, "/") {
		return nil, fs.ErrNotExist
	}
	return sounds.Open("sounds/" + short + ".wav")
}

// Has tells whether there is a prompt of that name.
func Has(name string) bool {
	file, err := Open(name)
	if err == nil {
		file.Close()
	}
	return err == nil
}
