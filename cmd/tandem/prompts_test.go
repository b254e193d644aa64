package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// soundFile is a WAV file of so many seconds of silence.
func soundFile(seconds int) string {
	b := []byte("RIFF____WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	b = binary.LittleEndian.AppendUint32(b, 16000)
	b = binary.LittleEndian.AppendUint32(b, 32000)
	b = append(b, "\x02\x00\x10\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(32000*seconds))
	return string(append(b, make([]byte, 32000*seconds)...))
}

func TestPromptsAreUploadedPlayedAndRemoved(t *testing.T) {
	aNode(t)
	file := write(t, "acme.dialplan.hcl", plan+"menu \"main\" {\n  extension = \"0\"\n  play      = \"acme/welcome\"\n  dial      = true\n  otherwise { go = user.alice }\n}\n")
	expect(t, 1, "!acme.dialplan.hcl:9:15: menu.main cannot play \"acme/welcome\"", "", "dialplan", "apply", file)
	expect(t, 0, "[]", "", "prompts", "-o", "json")

	welcome := write(t, "welcome.wav", soundFile(2))
	expect(t, 0, "acme/welcome is on all nodes: 2s at 16000 Hz", "", "prompts", "upload", "acme", welcome)
	expect(t, 0, "acme/welcome was there already", "", "prompts", "upload", "acme", welcome)
	expect(t, 0, "version 1 is in force", "", "dialplan", "apply", file)
	expect(t, 0, "acme/welcome", "", "prompts", "list", "acme")
	var list []struct {
		Name   string
		Length time.Duration `json:"length_ns"`
		Rate   int
	}
	if err := json.Unmarshal([]byte(expect(t, 0, "", "", "prompts", "list", "-o", "json").out), &list); err != nil || len(list) != 1 || list[0].Length != 2*time.Second || list[0].Rate != 16000 {
		t.Errorf("listed: %+v, %v", list, err)
	}
	expect(t, 0, "┌", "", "prompts", "list", "other")

	heard := filepath.Join(t.TempDir(), "heard.wav")
	expect(t, 0, "is in "+heard, "", "prompts", "play-to-file", "acme/welcome", heard)
	if got, err := os.ReadFile(heard); err != nil || !bytes.HasPrefix(got, []byte("RIFF")) || len(got) != 64044 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	expect(t, 1, "!exists", "", "prompts", "play-to-file", "acme/welcome", heard)
	expect(t, 1, "!there is no such prompt", "", "prompts", "play-to-file", "acme/nothing", heard+"2")
	if _, err := os.Stat(heard + "2"); err == nil {
		t.Error("an empty file is left")
	}

	expect(t, 1, "!acme/welcome is played by the dialplan in force: menu.main ("+file+":9:15); nothing was removed", "", "prompts", "remove", "acme/welcome")
	expect(t, 0, "version 2 is in force", "", "dialplan", "apply", write(t, "acme.dialplan.hcl", plan))
	expect(t, 0, "acme/welcome is removed", "", "prompts", "remove", "acme/welcome")
	expect(t, 1, "!there is no such prompt", "", "prompts", "remove", "acme/welcome")
	expect(t, 1, "!cannot play", "", "dialplan", "rollback", "1")
}

func TestADirectoryOfPromptsIsUploadedButForWhatIsNone(t *testing.T) {
	aNode(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"a.wav": soundFile(1), "b.wav": soundFile(12), "c.WAV": soundFile(1), "song.wav": "ID3\x03", "notes.txt": "hello"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := expect(t, 1, "!song.wav: acme/song: this is an MP3 file; WAV and Ogg/Opus can be played", "", "prompts", "upload", "acme", dir)
	for _, want := range []string{"acme/a is on all nodes", "acme/b is on all nodes: 12s", "acme/c is on all nodes"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in %s", want, r.out)
		}
	}
	if !strings.Contains(r.err, "1 of 4 file(s) were not uploaded") {
		t.Errorf("said %s", r.err)
	}
	expect(t, 0, "acme/other is on all nodes", "", "prompts", "upload", "acme", filepath.Join(dir, "a.wav"), "--name", "other")
	expect(t, 2, "!--name is for one file", "", "prompts", "upload", "acme", dir, "--name", "x")
	expect(t, 1, "!is no name of a prompt", "", "prompts", "upload", "ac me", filepath.Join(dir, "a.wav"))
	expect(t, 1, "!holds no .wav, .opus, .ogg", "", "prompts", "upload", "acme", t.TempDir())
	expect(t, 2, "!TENANT and FILE is missing", "", "prompts", "upload", "acme")
}
