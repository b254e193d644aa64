package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// files compares the limit of open files with what the configured calls and connections need.
func (x *examination) files() {
	const check = "open files"
	limit, known := fileLimit()
	if !known {
		return
	}
	calls := min(x.cfg.Limits.Calls, x.cfg.Media.Ports.Pairs()/2)
	if !x.cfg.Node.Has("media") {
		calls = 0
	}
	wanted := uint64(4*calls + x.cfg.Limits.TCPConnections + 500) // two ports for each side's audio
	if limit >= wanted {
		x.ok(check, fmt.Sprintf("%d are allowed, %d calls and %d connections need about %d", limit, calls, x.cfg.Limits.TCPConnections, wanted))
		return
	}
	x.warn(check, fmt.Sprintf("%d are allowed, %d calls and %d connections need about %d: calls beyond that are refused", limit, calls, x.cfg.Limits.TCPConnections, wanted),
		fmt.Sprintf("for systemd LimitNOFILE=%d, else ulimit -n %d; or lower limits.calls", wanted, wanted))
}

func (x *examination) clock() {
	const check = "clock"
	synced, known := clockSynced()
	switch {
	case !known:
		x.ok(check, "whether it is kept right cannot be asked for here")
	case synced:
		x.ok(check, "it is kept right by a time server")
	default:
		x.warn(check, "nothing keeps it right: certificates, call records and one-time passwords need the time", "run chrony, ntpd or systemd-timesyncd; in a virtual machine the host may do it instead")
	}
}

// Free space below which a disk is told of.
const (
	scarce = 1 << 30
	full   = 64 << 20
)

// directories tries to write where the node would, and asks for room.
func (x *examination) directories() {
	named := map[string]string{"data directory": x.cfg.Node.DataDir, "recordings": x.cfg.RecordingDir(), "call records": x.cfg.EventsDir()}
	inside := x.cfg.Node.DataDir + string(filepath.Separator)
	for _, check := range []string{"data directory", "recordings", "call records"} {
		dir := named[check]
		if check != "data directory" && strings.HasPrefix(dir, inside) {
			continue
		}
		x.directory(check, dir)
	}
}

func (x *examination) directory(check, dir string) {
	place, err := writable(dir)
	if err != nil {
		x.problem(check, fmt.Sprintf("%s cannot be written: %v", dir, err), "make it, owned by the user that runs the node, or choose another")
		return
	}
	note := ""
	if place != dir {
		note = " (will be made)"
	}
	switch free, known := freeBytes(place); {
	case known && free < full:
		x.problem(check, fmt.Sprintf("%s%s has %s free", dir, note, size(free)), "make room: without it no registration and no account can be kept")
	case known && free < scarce:
		x.warn(check, fmt.Sprintf("%s%s has %s free", dir, note, size(free)), "make room before it runs out")
	case known:
		x.ok(check, fmt.Sprintf("%s%s has %s free", dir, note, size(free)))
	default:
		x.ok(check, dir+note+" can be written")
	}
}

// writable tries to write in a directory, or where it would be made.
func writable(dir string) (place string, err error) {
	place = filepath.Clean(dir)
	for {
		f, err := os.CreateTemp(place, ".doctor-*")
		if err == nil {
			name := f.Name()
			return place, errors.Join(f.Close(), os.Remove(name))
		}
		parent := filepath.Dir(place)
		if !errors.Is(err, fs.ErrNotExist) || parent == place {
			var path *fs.PathError
			if errors.As(err, &path) {
				err = path.Err
			}
			return place, err
		}
		place = parent
	}
}

func size(n uint64) string {
	for _, unit := range []struct {
		shift uint
		name  string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}} {
		if n>>unit.shift > 0 {
			return strconv.FormatFloat(float64(n)/float64(uint64(1)<<unit.shift), 'f', 1, 64) + " " + unit.name
		}
	}
	return strconv.FormatUint(n>>10, 10) + " KiB"
}

// renewal is how long before its end a certificate is told of.
const renewal = 14 * 24 * time.Hour

// certificate judges what the node would show to phones and browsers.
func (x *examination) certificate() {
	const check = "certificate"
	c := x.cfg.Certs
	if c.CertFile == "" {
		x.warn(check, "a self-made one will be shown: browsers and most phones do not trust it", "certs.cert_file and certs.key_file name a real one")
		return
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		x.problem(check, fmt.Sprintf("%s cannot be used: %v", c.CertFile, err), "certs.cert_file and certs.key_file must be PEM files that belong together and can be read")
		return
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		x.problem(check, fmt.Sprintf("%s cannot be used: %v", c.CertFile, err), "replace it")
		return
	}
	names := strings.Join(namesOf(leaf), ", ")
	until := leaf.NotAfter.UTC().Format("2006-01-02 15:04 MST")
	switch {
	case x.now.Before(leaf.NotBefore):
		x.problem(check, "the one for "+names+" is not valid yet: from "+leaf.NotBefore.UTC().Format("2006-01-02 15:04 MST"), "check the clock, then the certificate")
	case x.now.After(leaf.NotAfter):
		x.problem(check, "the one for "+names+" ended "+until, "renew it; a running node takes the new files within a minute")
	case leaf.NotAfter.Sub(x.now) < renewal:
		x.warn(check, "the one for "+names+" ends "+until, "renew it; a running node takes the new files within a minute")
	default:
		x.ok(check, "the one for "+names+" is valid until "+until)
	}
	if host := x.cfg.SIP.Advertise; host != "" && leaf.VerifyHostname(host) != nil {
		x.warn(check, "it is not for "+host+", which sip.advertise names", "phones that check names will not connect: add the name to the certificate")
	}
}

func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if names == nil {
		names = []string{leaf.Subject.CommonName}
	}
	return names
}
