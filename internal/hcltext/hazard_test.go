package hcltext

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func TestScannerLetsOrdinaryTextsPass(t *testing.T) {
	for _, text := range []string{
		"", "a = 1", `a = "x # y // z /* \" { [ ("`, "a = \"$${b} %%{c} 5% $\"\n", "/* { \n [ */ a = 1 # }\n// ]\nb = [\n1,\n2]\n", `a = "\\"`,
	} {
		if rng, summary, _ := scan("a", []byte(text)); summary != "" {
			t.Errorf("%q: %s %s", text, rng, summary)
		}
	}
}

func TestScannerCountsLinesLikeTheParser(t *testing.T) {
	rng, summary, _ := scan("a", []byte("# é\n/* a\nb */ é = \"ü\" ]"))
	if rng.Start.Line != 3 || rng.Start.Column != 14 || !strings.Contains(summary, "closes nothing") {
		t.Errorf("%d:%d %s", rng.Start.Line, rng.Start.Column, summary)
	}
}

// FuzzScanner: what the scanner lets pass, the lexer of HCL sees alike: no templates, no heredocs, no deeper brackets.
func FuzzScanner(f *testing.F) {
	for _, text := range []string{
		`a = "$${b} $$${c}"`, `a = "%%{b} %%%{c}" % 2`, `a = "\\" b = "\"{" c = "$"`, "a = /* \" */ 1", "a = 1 # \"\nb = <<X\n[\nX\n", "a = \"\\", "a = '\"' {",
		"a = \"$\\${\"", "a = \"$\n{\"", "a\r\"[[[\"", "`\"[[`", "a = \"${\"", "a = 1 //\r[[\n", "\"%\"{\"\"",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if _, summary, _ := scan("a", src); summary != "" {
			return
		}
		tokens, _ := hclsyntax.LexConfig(src, "a", hcl.InitialPos)
		depth := 0
		for _, token := range tokens {
			switch token.Type {
			case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen:
				depth++
			case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen:
				depth--
			case hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl, hclsyntax.TokenOHeredoc:
				t.Fatalf("the lexer sees %s", token.Type)
			}
			if depth < 0 || depth > maxDepth {
				t.Fatalf("the lexer sees depth %d", depth)
			}
		}
		if depth != 0 {
			t.Fatalf("the lexer ends at depth %d", depth)
		}
	})
}
