package dialplan

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// editorGrammar is the TextMate grammar that editors colour plans by, made of the language itself.
func editorGrammar() map[string]any {
	type pattern = map[string]any
	blocks, attrs := map[string]bool{}, map[string]bool{}
	var collect func(rules map[string]*blockRule)
	collect = func(rules map[string]*blockRule) {
		for name, rule := range rules {
			blocks[name] = true
			for attr := range rule.attrs {
				attrs[attr] = true
			}
			collect(rule.blocks)
		}
	}
	lang := language()
	collect(lang.rules)
	anyOf := func(words []string) string {
		slices.Sort(words)
		return `\b(?:` + strings.Join(words, "|") + `)\b`
	}
	return map[string]any{
		"name": "Tandem dialplan", "scopeName": "source.tandem.dialplan", "fileTypes": []string{"dialplan.hcl"},
		"patterns": []pattern{
			{"name": "comment.line.tandem", "match": `(?:#|//).*$`},
			{"name": "comment.block.tandem", "begin": `/\*`, "end": `\*/`},
			{"name": "string.quoted.double.tandem", "begin": `"`, "end": `"`, "patterns": []pattern{{"name": "constant.character.escape.tandem", "match": `\\.`}}},
			{"name": "keyword.control.block.tandem", "match": `(?<![.\w])` + anyOf(slices.Collect(maps.Keys(blocks))) + `(?=\s*["{])`},
			{"name": "variable.other.attribute.tandem", "match": `(?<![.\w])` + anyOf(slices.Collect(maps.Keys(attrs))) + `(?=\s*=[^=])`},
			{"match": `(` + anyOf(slices.Clone(lang.kinds)) + `)\.([\w-]+)`, "captures": pattern{"1": pattern{"name": "entity.name.type.tandem"}, "2": pattern{"name": "variable.other.tandem"}}},
			{"name": "support.function.tandem", "match": anyOf(functions()) + `(?=\()`},
			{"name": "constant.language.tandem", "match": `\b(?:true|false)\b`},
			{"name": "constant.numeric.tandem", "match": `\b[0-9]+\b`},
			{"name": "keyword.operator.tandem", "match": `&&|\|\||[?:!=]`},
		},
	}
}

// TestEditorsKnowTheLanguage keeps docs/editor as the language is.
func TestEditorsKnowTheLanguage(t *testing.T) {
	var text strings.Builder
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(editorGrammar()); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("..", "docs", "editor", "tandem-dialplan.tmLanguage.json"), text.String())
}

// TestEditorsColourEveryWordOfTheManual looks for words before "=", "{" and a name that an editor would leave plain.
func TestEditorsColourEveryWordOfTheManual(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "docs", "dialplan.md"))
	if err != nil {
		t.Fatal(err)
	}
	var coloured []*regexp.Regexp
	for _, p := range editorGrammar()["patterns"].([]map[string]any)[3:5] {
		text := strings.TrimPrefix(p["match"].(string), `(?<![.\w])`)
		text, _, _ = strings.Cut(text, "(?=")
		coloured = append(coloured, regexp.MustCompile(`^`+text+`$`))
	}
	words := 0
	for _, example := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(manual, -1) {
		for _, m := range regexp.MustCompile(`(?m)^\s*([a-z_]+)\s*(?:=|"[^"]*"\s*\{|\{)`).FindAllSubmatch(example[1], -1) {
			words++
			if !slices.ContainsFunc(coloured, func(r *regexp.Regexp) bool { return r.Match(m[1]) }) {
				t.Errorf("%s stays plain", m[1])
			}
		}
	}
	if words < 100 {
		t.Errorf("the manual has %d words to colour", words)
	}
}
