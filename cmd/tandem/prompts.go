package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/pbx"
)

func newPrompts(f *apiFlags) *cobra.Command {
	first := newPromptList(f)
	c := group("prompts", "Show, upload and remove what the dialplan plays to callers", first, newPromptUpload(f), newPromptRemove(f), newPromptToFile(f))
	c.Flags().AddFlagSet(first.Flags())
	return c
}

func newPromptList(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list [TENANT]", Short: "List the prompts that were uploaded, of a tenant or of all", Args: needs("TENANT", 0, 1),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			l, err := client.Prompts(ctx, strings.Join(args, ""))
			if err != nil {
				return err
			}
			return list(out, l.Items, l.Total, table.Row{"Prompt", "Length", "Rate", "Bytes", "By", "When"}, func(p pbx.Prompt) table.Row {
				return table.Row{p.Name, span(p.Length), p.Rate, p.Bytes, p.Author, clock(p.Time)}
			})
		}),
	}
}

// promptEndings are those of the files that are uploaded from a directory.
var promptEndings = []string{".wav", ".opus", ".ogg"}

// maxPromptFile is more than a node takes, which then says so.
const maxPromptFile = 32 << 20

func newPromptUpload(f *apiFlags) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "upload TENANT FILE...", Short: "Upload prompts to all nodes", Args: needs("TENANT and FILE", 2, 0),
		Long: "Upload WAV or Ogg/Opus files, or directories whose *.wav, *.opus and *.ogg are meant, as prompts of a tenant: welcome.wav\n" +
			"becomes TENANT/welcome, which a dialplan plays by that name. The tenant tandem stands for what the program itself says. A prompt\n" +
			"that was there is replaced. A file that cannot be played is named, and the others are uploaded.",
	}
	c.Flags().StringVar(&name, "name", "", "name of the prompt, when it is not that of the file; with one file only")
	c.RunE = f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
		files, err := promptFiles(args[1:])
		if err != nil {
			return err
		}
		if name != "" && len(files) != 1 {
			return usageError{errors.New("--name is for one file")}
		}
		return uploadPrompts(ctx, client, out, files, func(file string) string {
			short := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
			if name != "" {
				short = name
			}
			return args[0] + "/" + short
		})
	})
	return c
}

// promptFiles gives files, and of directories those that look like prompts.
func promptFiles(paths []string) (files []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		before := len(files)
		for _, e := range entries {
			if e.Type().IsRegular() && slices.Contains(promptEndings, strings.ToLower(filepath.Ext(e.Name()))) {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
		if len(files) == before {
			return nil, fmt.Errorf("%s holds no %s", path, strings.Join(promptEndings, ", "))
		}
	}
	return files, nil
}

// promptReport is what -o json shows.
type promptReport struct {
	Stored []pbx.Prompt `json:"stored"` // also those that were there already
	Failed []string     `json:"failed"`
}

// uploadPrompts uploads files one after the other. Those that the node refuses are named; when it cannot be asked at all that is the end.
func uploadPrompts(ctx context.Context, client *admin.Client, out *output, files []string, nameOf func(string) string) error {
	report := promptReport{Stored: []pbx.Prompt{}, Failed: []string{}}
	var lines []string
	bar := newProgress(out, len(files))
	defer bar.end()
	for _, file := range files {
		said, stored, err := uploadPrompt(ctx, client, nameOf(file), file)
		var p *admin.Problem
		switch {
		case err == nil:
			report.Stored = append(report.Stored, stored)
			lines = append(lines, said)
		case errors.As(err, &p) && p.RetryAfter == 0, errors.As(err, new(*os.PathError)), errors.Is(err, errPromptFile):
			report.Failed = append(report.Failed, fmt.Sprintf("%s: %v", file, err))
		default:
			bar.end()
			return fmt.Errorf("%d of %d prompts were uploaded, then: %w; upload them again to finish", len(report.Stored), len(files), err)
		}
		bar.add(1)
	}
	bar.end()
	for _, line := range report.Failed {
		out.note("%s", line)
	}
	if err := out.object(report, func() {
		for _, line := range lines {
			out.say("%s", line)
		}
	}); err != nil {
		return err
	}
	if n := len(report.Failed); n > 0 {
		return fmt.Errorf("%d of %d file(s) were not uploaded", n, len(files))
	}
	return nil
}

var errPromptFile = errors.New("the file is too large")

func uploadPrompt(ctx context.Context, client *admin.Client, name, path string) (said string, stored pbx.Prompt, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", stored, err
	}
	defer file.Close()
	sound, err := io.ReadAll(io.LimitReader(file, maxPromptFile+1))
	switch {
	case err != nil:
		return "", stored, err
	case len(sound) > maxPromptFile:
		return "", stored, errPromptFile
	}
	done, err := client.PutPrompt(ctx, name, sound)
	if err != nil {
		return "", stored, err
	}
	said = fmt.Sprintf("%s is on all nodes: %s at %d Hz", done.Prompt.Name, span(done.Prompt.Length), done.Prompt.Rate)
	if done.Unchanged {
		said = done.Prompt.Name + " was there already"
	}
	return said, done.Prompt, nil
}

func newPromptRemove(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "remove PROMPT...", Short: "Remove prompts that the dialplan in force does not play", Args: needs("PROMPT", 1, 0),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			for _, name := range args {
				if err := client.RemovePrompt(ctx, name); err != nil {
					return err
				}
				out.say("%s is removed", name)
			}
			return nil
		}),
	}
}

func newPromptToFile(f *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use: "play-to-file PROMPT FILE", Short: "Write a prompt, as callers hear it, into a WAV file, which must not be there yet", Args: cobra.ExactArgs(2),
		RunE: f.run(func(ctx context.Context, client *admin.Client, out *output, args []string) error {
			file, err := os.OpenFile(args[1], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return fmt.Errorf("the prompt is not written: %w", err)
			}
			if err := errors.Join(client.PromptSound(ctx, args[0], file), file.Close()); err != nil {
				_ = os.Remove(args[1])
				return err
			}
			out.say("%s is in %s", args[0], args[1])
			return nil
		}),
	}
}
