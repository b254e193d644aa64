package dialplan

import "strings"

// IsPromptName is the rule for prompts that can be uploaded: a folder, which is the tenant's name or "tandem", and a name, as `play` takes them. The
// kind of file is no part of it.
func IsPromptName(name string) bool {
	for _, ending := range []string{".wav", ".opus", ".ogg"} {
		if strings.HasSuffix(name, ending) {
			return false
		}
	}
	folder, _, two := strings.Cut(name, "/")
	return two && isTenantName(folder) && strings.Count(name, "/") == 1 && isRecording(name)
}
