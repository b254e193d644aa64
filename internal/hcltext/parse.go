// Package hcltext is what the languages of operators have in common: node configurations and dialplans are both HCL, written
// by people, and both must say at which character they went wrong.
//
// It answers one question: what does a text have to be before anybody asks what it means? Parse looks it over before HCL's own
// parser does, because that one can be made to run out of stack, and refuses the parts of HCL that are not ours (templates,
// heredocs). A Diagnostic is how a mistake is told: file:line:col, what is wrong, what to do instead, and an excerpt of the line
// with the place marked. DidYouMean finds the word that was meant. What blocks and keys there are is none of its business; that
// is the reader's, in configs and dialplan.
//
// It imports nothing of ours, and only the leaves that read operators' files import it.
package hcltext

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Parse reads a text, or tells wrong every mistake that keeps it from being read; then the body is nil. Ranges name the file;
// one without a line belongs to the whole of it. It is for the caller to bound the text's length.
func Parse(name string, src []byte, wrong func(rng hcl.Range, summary, detail string)) *hclsyntax.Body {
	if rng, summary, detail := scan(name, src); summary != "" {
		wrong(rng, summary, detail)
		return nil
	}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	for _, d := range diags {
		rng := hcl.Range{Filename: name}
		if d.Subject != nil {
			rng = *d.Subject
		}
		wrong(rng, lowerFirst(d.Summary), strings.TrimSuffix(d.Detail, "."))
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if diags.HasErrors() || !ok {
		return nil
	}
	return body
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
