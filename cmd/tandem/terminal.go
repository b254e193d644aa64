package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// readPassword asks for a password twice when there is somebody at a terminal, else it takes the first line that comes in.
func readPassword(ctx context.Context, o *output, who string) (string, error) {
	f, ok := o.in.(*os.File)
	if !ok || !isTerminal(f) {
		return passwordLine(o.in)
	}
	restore, err := hideInput(f)
	if err != nil {
		return "", fmt.Errorf("this terminal would show the password: %w; give it with --password or on standard input", err)
	}
	defer restore()
	in := bufio.NewReader(f)
	first, err := prompt(ctx, o.notes, in, "Password for "+who+": ")
	if err != nil {
		return "", err
	}
	again, err := prompt(ctx, o.notes, in, "Once more: ")
	switch {
	case err != nil:
		return "", err
	case first != again:
		return "", errors.New("the passwords differ; nothing was changed")
	case first == "":
		return "", errors.New("the password is empty; nothing was changed")
	}
	return first, nil
}

// prompt reads a line; Ctrl-C ends the waiting.
func prompt(ctx context.Context, w io.Writer, in *bufio.Reader, text string) (string, error) {
	fmt.Fprint(w, text)
	defer fmt.Fprintln(w)
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() { // ends with the process when nobody answers
		line, err := in.ReadString('\n')
		got <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-got:
		return strings.TrimRight(a.line, "\r\n"), a.err
	}
}

func passwordLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", usageError{errors.New("a password is needed: give it with --password, or on standard input")}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return line, nil
}
