package dialplan

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"tandem/internal/hcltext"
)

// Format gives the text its canonical layout: two blanks a level, aligned "=", one newline at the end, no carriage
// returns. Comments stay. A text that cannot be parsed comes back as it is.
func Format(src []byte) []byte {
	if len(src) > MaxBytes {
		return src
	}
	if hcltext.Parse("", src, func(hcl.Range, string, string) {}) == nil {
		return src
	}
	text := bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	for range 4 { // a second pass may still align what the first has moved
		formatted := layOut(text)
		if bytes.Equal(formatted, text) {
			break
		}
		text = formatted
	}
	return text
}

func layOut(text []byte) []byte {
	lines := bytes.Split(hclwrite.Format(text), []byte("\n"))
	for i := range lines {
		lines[i] = bytes.TrimRight(lines[i], " \t")
	}
	text = bytes.Trim(bytes.Join(lines, []byte("\n")), "\n")
	if len(text) == 0 {
		return nil
	}
	return append(text, '\n')
}
