package archtest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheRepositoryFollowsItsOwnRules(t *testing.T) {
	faults, err := check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// TestTheCheckerSeesEveryKindOfFault proves that a green run means something.
func TestTheCheckerSeesEveryKindOfFault(t *testing.T) {
	for _, test := range []struct{ name, file, text, want string }{
		{"a leaf imports a leaf", "auth/x.go", `package auth; import _ "tandem/events"`, "auth/x.go:1: auth may not import tandem/events"},
		{"a leaf imports the edge", "rtpengine/x.go", `package rtpengine; import _ "tandem/sip/message"`, "rtpengine may not import tandem/sip/message"},
		{"a leaf of no operator's file reads HCL", "cluster/x.go", `package cluster; import _ "tandem/internal/hcltext"`, "cluster may not import tandem/internal/hcltext"},
		{"operators' HCL text knows a leaf", "internal/hcltext/x.go", `package hcltext; import _ "tandem/configs"`, "internal/hcltext may not import tandem/configs"},
		{"sip imports the conductor", "sip/x.go", `package sip; import _ "tandem/pbx"`, "sip may not import tandem/pbx"},
		{"sip imports the root", "sip/x.go", `package sip; import _ "tandem"`, "sip may not import tandem"},
		{"the conductor imports raft's leaf", "pbx/x.go", `package pbx; import _ "tandem/cluster"`, "pbx may not import tandem/cluster"},
		{"the conductor sees sipgo", "pbx/x.go", `package pbx; import _ "github.com/emiago/sipgo/sip"`, "pbx may not import github.com/emiago/sipgo/sip"},
		{"media sees sipgo", "rtpengine/x.go", `package rtpengine; import _ "github.com/emiago/sipgo"`, "rtpengine may not import github.com/emiago/sipgo"},
		{"sip sees raft", "sip/deep/x.go", `package deep; import _ "github.com/hashicorp/raft"`, "sip/deep may not import github.com/hashicorp/raft"},
		{"a module with the same beginning", "cluster/x.go", `package cluster; import _ "github.com/hashicorp/raft-wal"`, "cluster may not import github.com/hashicorp/raft-wal"},
		{"behind a build tag", "auth/x.go", "//go:build plan9\n\npackage auth\n\nimport _ \"tandem/events\"\n", "auth/x.go:5: auth may not import tandem/events"},
		{"a test too", "auth/x_test.go", `package auth; import _ "tandem/events"`, "auth may not import tandem/events"},
		{"production code uses a test library", "auth/x.go", `package auth; import _ "pgregory.net/rapid"`, "auth may not import pgregory.net/rapid"},
		{"production code uses the fake phone", "sip/x.go", `package sip; import _ "tandem/internal/fakephone"`, "sip may not import tandem/internal/fakephone"},
		{"the fake phone uses our protocol code", "internal/fakephone/x.go", `package fakephone; import _ "tandem/sip/message"`, "internal/fakephone may not import tandem/sip/message"},
		{"a package nobody decided on", "helpers/x.go", `package helpers`, `folder "helpers" has no rule`},
		{"sipgo under its own name", "sip/x.go", `package sip; import "github.com/emiago/sipgo/sip"`, "is imported as wire"},
		{"init", "auth/x.go", "package auth\n\nfunc init() {}", "auth/x.go:3: no init()"},
		{"panic", "sip/x.go", "package sip\n\nfunc f() {\n\tpanic(1)\n}", "sip/x.go:4: panic, and sip/x.go is not in the list"},
		{"an allowance nobody uses", "auth/machine.go", "package auth", "auth/machine.go may panic but does not"},
		{"sleep in a test", "sip/x_test.go", "package sip\n\nimport \"time\"\n\nfunc TestX() { time.Sleep(1) }", "sip/x_test.go:5: time.Sleep on the real clock in TestX"},
		{
			"sleep behind two calls", "sip/x_test.go",
			"package sip\n\nfunc TestX() { a() }\nfunc a() { x.b() }\nfunc (y) b() { time.Sleep(1) }", "sip/x_test.go:5: time.Sleep on the real clock in b",
		},
		{
			"sleep outside the bubble", "sip/x_test.go",
			"package sip\n\nfunc TestX() { bubble(func() {}); nap() }\nfunc bubble(f F) { synctest.Test(f) }\nfunc nap() { time.Sleep(1) }", "sip/x_test.go:5: time.Sleep on the real clock in nap",
		},
		{"a path of one machine", "README.md", "see " + "/wo" + "rk/main\n", "only makes sense on its author's machine"},
		{"a home folder", "docs/x.md", "line\n(/ho" + "me/bob/x)\n", "docs/x.md:2:"},
		{"a registry setting", "Makefile", "export GO" + "PROXY=x\n", "Makefile:1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			faults, err := check(fstest.MapFS{test.file: {Data: []byte(test.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if len(faults) != 1 || !strings.Contains(faults[0], test.want) {
				t.Errorf("got %q, want one fault with %q", faults, test.want)
			}
		})
	}
}

func TestTheCheckerLetsGoodCodePass(t *testing.T) {
	tree := fstest.MapFS{}
	for file, text := range map[string]string{
		"tandem.go":            `package tandem; import (_ "tandem/sip"; _ "tandem/auth")`,
		"cmd/tandem/main.go":   `package main; import (_ "tandem"; _ "github.com/spf13/cobra")`,
		"admin/api.go":         `package admin; import (_ "tandem/pbx"; _ "github.com/danielgtaylor/huma/v2")`,
		"pbx/call.go":          "package pbx\nimport _ \"tandem/sip\"\nfunc f() { panic(recover()) }",
		"sip/x.go":             `package sip; import (_ "tandem/events"; _ "tandem/sip/transport"; wire "github.com/emiago/sipgo/sip"; _ "net/netip")`,
		"sip/transport/x.go":   `package transport; import (_ "tandem/sip/message"; _ "golang.org/x/sys/unix")`,
		"sip/x_test.go":        `package sip_test; import (_ "tandem/sip"; _ "tandem/internal/simnet"; _ "github.com/google/go-cmp/cmp")`,
		"dialplan/x.go":        `package dialplan; import (_ "tandem/internal/hcltext"; _ "github.com/hashicorp/hcl/v2")`,
		"configs/x.go":         `package configs; import _ "tandem/internal/hcltext"`,
		"rtpengine/x.go":       `package rtpengine; import _ "github.com/pion/rtp"`,
		"auth/x_test.go":       "package auth\nfunc TestX(t T) { synctest.Test(t, func() { nap() }) }\nfunc nap() { time.Sleep(1) }\nfunc f() { panic(0) }",
		"certs/x_test.go":      "package certs\nfunc TestX() { bubble(func() { nap() }) }\nfunc bubble(f F) { synctest.Test(f) }\nfunc nap() { time.Sleep(1) }",
		"auth/x.go":            "package auth\n\ntype T struct{}\n\nfunc (T) init() {}",
		"deploy/tandem.conf":   "path = /var/lib/tandem\nsource = ./work/x\n",
		"bin/tandem.txt":       "built on /wo" + "rk/x",
		"rtpengine/tone.wav":   "RIFF\x00/wo" + "rk/x",
		"docs/x.md":            "home/work/frame" + "work/\n",
		"internal/x.go.golden": "import tandem/auth",
	} {
		tree[file] = &fstest.MapFile{Data: []byte(text)}
	}
	faults, err := check(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}
