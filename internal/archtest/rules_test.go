package archtest

// module is the path of our own packages.
const module = "tandem"

// rule says what the Go files of one folder and of the folders below it may import. The standard library is always allowed,
// and so are packages of the same rule. Test files may import testLibraries and ourTestLibraries as well.
type rule struct {
	dir     string   // "" is the root package alone
	own     []string // our folders, with what is below them; "*" is all
	outside []string // modules or parts of them, by path prefix
}

// rules is the table of ARCHITECTURE.md. The longest matching dir counts; a folder that matches none is an error.
var rules = []rule{
	{dir: "", own: []string{"*"}},
	{dir: "cmd", own: []string{"*"}, outside: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/jedib0t/go-pretty"}},
	{
		dir: "admin", own: []string{"pbx", "sip", "rtpengine", "cluster", "dialplan", "auth", "certs", "events", "configs"},
		outside: []string{"github.com/danielgtaylor/huma", "github.com/prometheus/client_golang", "github.com/coder/websocket"},
	},
	{dir: "pbx", own: []string{"sip", "rtpengine", "dialplan", "events", "pbx/app"}},
	{dir: "pbx/app", own: []string{"dialplan"}, outside: []string{"github.com/failsafe-go/failsafe-go"}},
	{
		dir: "sip", own: []string{"events"},
		outside: []string{"github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/coder/websocket", "github.com/miekg/dns", "golang.org/x/net", "golang.org/x/sys"},
	},
	{dir: "rtpengine", own: []string{"rtpengine/internal", "rtpengine/codec"}, outside: []string{"github.com/coder/websocket", "github.com/pion", "golang.org/x/net", "golang.org/x/sys"}},
	{dir: "rtpengine/internal/steer", outside: []string{"github.com/cilium/ebpf", "golang.org/x/sys"}},
	{dir: "rtpengine/internal/kernel", outside: []string{"github.com/cilium/ebpf", "golang.org/x/sys"}},
	// Codecs know no engine.
	{dir: "rtpengine/codec", outside: []string{"github.com/pion/opus", "github.com/ebitengine/purego"}},
	{
		dir:     "cluster",
		outside: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb", "github.com/hashicorp/go-hclog", "github.com/hashicorp/memberlist", "go.etcd.io/bbolt", "golang.org/x/sys"},
	},
	{dir: "dialplan", own: []string{"internal/hcltext"}, outside: []string{"github.com/hashicorp/hcl", "github.com/zclconf/go-cty", "github.com/rickar/cal"}},
	{dir: "configs", own: []string{"internal/hcltext"}, outside: []string{"github.com/hashicorp/hcl", "github.com/zclconf/go-cty"}},
	{dir: "certs"},
	{dir: "auth"},
	{dir: "events"},

	// What the leaves that read operators' files have in common: how such a text is read at all, and how its mistakes are told.
	{dir: "internal/hcltext", outside: []string{"github.com/hashicorp/hcl"}},

	// What other telephone systems were configured with, made into a plan and proved by the compiler of plans.
	{dir: "internal/migrate", own: []string{"dialplan"}},

	// How a process gives its sockets to the one that takes its place.
	{dir: "internal/handover"},

	// Addresses that move between nodes, on the interfaces of this machine.
	{dir: "internal/virtualip", outside: []string{"golang.org/x/sys"}},

	// What a node would meet on a machine, asked before it starts.
	{dir: "internal/doctor", own: []string{"configs", "rtpengine"}, outside: []string{"golang.org/x/sys"}},

	// Peers for tests and measurements. They do not share our protocol code, so that a mistake in it cannot hide.
	{dir: "internal/simnet"},
	{dir: "internal/netns"},
	{dir: "internal/simdisk", outside: []string{"github.com/hashicorp/raft"}},
	{dir: "internal/fakephone", own: []string{"internal/simnet"}, outside: []string{"github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/pion"}},
	{dir: "internal/interop", own: []string{"internal"}, outside: []string{"github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/pion", "github.com/coder/websocket", "golang.org/x/net"}},
	{dir: "bench", outside: []string{"github.com/emiago/sipgo", "github.com/icholy/digest", "github.com/pion", "golang.org/x/net", "golang.org/x/sys"}},
	{dir: "internal/archtest"},
	{dir: "internal/tools"},
}

// What any test file may import besides.
var (
	testLibraries    = []string{"github.com/google/go-cmp", "go.uber.org/goleak", "pgregory.net/rapid"}
	ourTestLibraries = []string{"internal/simnet", "internal/fakephone", "internal/netns", "internal/simdisk"}
)

// wireName is what the sip folder calls sipgo's message package, so that its types cannot be taken for ours.
const (
	wirePackage = "github.com/emiago/sipgo/sip"
	wireName    = "wire"
)

// mayPanic lists the files outside tests that call panic, each with its reason. A peer's bytes can never reach one of these.
var mayPanic = map[string]string{
	"auth/machine.go":               "a machine that cannot apply a committed command must stop, not diverge",
	"auth/secret.go":                "a machine that cannot apply a committed command must stop, not diverge",
	"pbx/agents.go":                 "a machine that cannot apply a committed command must stop, not diverge",
	"pbx/prompts.go":                "a machine that cannot apply a committed command must stop, not diverge",
	"bench/internal/wire/socket.go": "a program error in the load driver",
	"bench/media/ng.go":             "a program error in the load driver",
	"cluster/fsm.go":                "a machine that cannot apply a committed command must stop, not diverge",
	"cluster/shares.go":             "a machine that cannot apply a committed command must stop, not diverge",
	"cluster/succession.go":         "a machine that cannot apply a committed command must stop, not diverge",
	"cluster/roster.go":             "a machine that cannot apply a committed command must stop, not diverge",
	"cluster/restore.go":            "a machine that cannot apply a committed command must stop, not diverge",
	"cluster/comparing.go":          "a machine that cannot apply a committed command must stop, not diverge",
	"cluster/version.go":            "a program that is too old for the log: the fsm takes it up and stops the node in order",
	"dialplan/store.go":             "a machine that cannot apply a committed command must stop, not diverge",
	"internal/simnet/host.go":       "a fake network that a test has set up wrongly",
	"sip/locationcommand.go":        "a machine that cannot apply a committed command must stop, not diverge",
	"pbx/mailbox/index.go":          "a machine that cannot apply a committed command must stop, not diverge",
	"pbx/call.go":                   "passes a recovered panic on, after its call has been ended",
}

// skipDirs are folders without files of ours: built, downloaded or recorded.
var skipDirs = []string{".git", "bin", "dist", "node_modules", "bench/out"}

// stray is something that only makes sense on one person's machine. Its needle, in lower case, is looked for first: it is much cheaper
// than the expression. The expressions are put together from pieces so that this file does not match.
type stray struct{ needle, expr string }

var strayWords = []stray{
	{"/wo" + "rk/", `(?:^|[^\w.~/-])/wo` + `rk/`},
	{"/ho" + "me/", `(?:^|[^\w.~/-])/ho` + `me/[a-z]\w*/`},
	{"/us" + "ers/", `(?:^|[^\w.~/-])/Us` + `ers/\w+/`},
	{"gopr" + "oxy", `(?i)gopr` + `oxy\b`},
	{"pip.c" + "onf", `pip\.c` + `onf\b`},
	{".npm" + "rc", `\.npm` + `rc\b`},
}
