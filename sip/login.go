package sip

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"tandem/sip/message"
)

// A Login answers the challenges of a carrier: the client side of digest authentication (RFC 3261 §22, RFC 7616, RFC 8760) with MD5 and
// SHA-256, qop auth or none. It is immutable; nothing of it is ever logged.
type Login struct{ User, Password string }

// String keeps the password out of whatever prints a Login.
func (l *Login) String() string { return l.User }

// mostChallenges is how many challenges to one request are answered: each of two proxies may have one, and each may find its nonce stale.
const mostChallenges = 4

// A clientChallenge is one that can be answered.
type clientChallenge struct {
	realm, nonce, opaque, algorithm string
	auth                            bool // qop auth is offered
	stale, sha, proxy               bool
}

// challengeOf finds the best challenge of a response: the first of SHA-256, else the first of MD5 (RFC 8760 §2.4).
func challengeOf(m *message.Message) (best clientChallenge, ok bool) {
	id, proxy := message.WWWAuthenticate, false
	if m.Status == 407 {
		id, proxy = message.ProxyAuthenticate, true
	}
	for i := m.Index(id); i >= 0; i = m.Next(i) {
		c, readable := readChallenge(m.Header(i).Value)
		if c.proxy = proxy; readable && (!ok || c.sha && !best.sha) {
			best, ok = c, true
		}
	}
	return best, ok
}

// readChallenge reads a header value; false for what cannot be answered.
func readChallenge(v string) (c clientChallenge, ok bool) {
	if len(v) < 7 || !strings.EqualFold(v[:6], "Digest") || v[6] != ' ' && v[6] != '\t' {
		return c, false
	}
	qop, seen := "", false
	for rest := strings.TrimLeft(v[7:], " ,\t"); rest != ""; rest = strings.TrimLeft(rest, " ,\t") {
		var name, value string
		if name, value, rest, ok = cutAuthParam(rest); !ok {
			return c, false
		}
		switch strings.ToLower(name) {
		case "realm":
			c.realm = value
		case "nonce":
			c.nonce = value
		case "opaque":
			c.opaque = value
		case "algorithm":
			c.algorithm = value
		case "stale":
			c.stale = strings.EqualFold(value, "true")
		case "qop":
			qop, seen = value, true
		}
	}
	for word := range strings.SplitSeq(qop, ",") {
		c.auth = c.auth || strings.EqualFold(strings.TrimSpace(word), "auth")
	}
	c.sha = strings.EqualFold(c.algorithm, "SHA-256")
	known := c.sha || c.algorithm == "" || strings.EqualFold(c.algorithm, "MD5")
	return c, known && c.nonce != "" && (c.auth || !seen)
}

// answer writes the header line that answers the challenge. count is how often its nonce has been used, this time included. The texts in a
// challenge are still escaped: so they are hashed, and so they go back.
func (c *clientChallenge) answer(l *Login, method, uri string, count uint32) (line []byte) {
	hash := func(text string) string {
		if c.sha {
			sum := sha256.Sum256([]byte(text))
			return hex.EncodeToString(sum[:])
		}
		sum := md5.Sum([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	name := "Authorization"
	if c.proxy {
		name = "Proxy-Authorization"
	}
	ha1, ha2 := hash(l.User+":"+c.realm+":"+l.Password), hash(method+":"+uri)
	line = fmt.Appendf(nil, `%s: Digest username=%s, realm="%s", nonce="%s", uri="%s"`, name, message.Quote(l.User), c.realm, c.nonce, uri)
	if c.auth {
		nc, cnonce := fmt.Sprintf("%08x", count), rand.Text()
		line = fmt.Appendf(line, `, response="%s", qop=auth, nc=%s, cnonce="%s"`, hash(strings.Join([]string{ha1, c.nonce, nc, cnonce, "auth", ha2}, ":")), nc, cnonce)
	} else { // RFC 2069
		line = fmt.Appendf(line, `, response="%s"`, hash(ha1+":"+c.nonce+":"+ha2))
	}
	if c.algorithm != "" {
		line = append(append(line, ", algorithm="...), c.algorithm...)
	}
	if c.opaque != "" {
		line = fmt.Appendf(line, `, opaque="%s"`, c.opaque)
	}
	return append(line, "\r\n"...)
}

// authorized looks whether a final response is a challenge that the branch can answer. What it returns sends the request again, under the
// next number (RFC 3261 §22.2), once the transaction that was challenged is over; nil when there is nothing to answer.
func (b *branch) authorized(m *message.Message) (again func()) {
	if b.target.Login == nil || m.Status != 401 && m.Status != 407 || b.cancelled || b.answered >= mostChallenges {
		return nil
	}
	c, ok := challengeOf(m)
	if !ok {
		return nil
	}
	sent := new(message.Message)
	if sent.Parse(string(b.out)) != nil {
		return nil
	}
	if had := answerTo(sent, &c); had && !c.stale { // the password is wrong
		return nil
	}
	line := c.answer(b.target.Login, sent.Method, sent.URI, 1)
	return func() { b.sendAgain(sent, line, &c) }
}

// answerTo tells whether a request carries an answer to a challenge of the same realm.
func answerTo(sent *message.Message, c *clientChallenge) bool {
	for i := sent.Index(c.header()); i >= 0; i = sent.Next(i) {
		if got, digest, _ := parseDigestCredentials(sent.Header(i).Value); digest && got.realm == c.realm {
			return true
		}
	}
	return false
}

func (c *clientChallenge) header() message.ID {
	if c.proxy {
		return message.ProxyAuthorization
	}
	return message.Authorization
}

// sendAgain sends the request as it was, but for its number, its branch and a line of credentials.
func (b *branch) sendAgain(sent *message.Message, line []byte, c *clientChallenge) {
	n, method, _ := sent.CSeq()
	seq := b.nextNumber(n)
	b.number()
	b.answered++
	e := &b.sh.edit
	e.Reset()
	e.Drop(sent.Index(message.ViaID))
	e.Top = b.sh.appendVia(e.Top, b.flow, b.id, b.loop)
	e.Set(sent.Index(message.CSeq), strconv.FormatUint(uint64(seq), 10)+" "+method)
	for i := sent.Index(c.header()); i >= 0; i = sent.Next(i) {
		if got, _, _ := parseDigestCredentials(sent.Header(i).Value); got.realm == c.realm {
			e.Drop(i)
		}
	}
	e.Tail = append(e.Tail, line...)
	b.out = sent.Append(nil, e)
	b.send()
}

// nextNumber is the number under which a request that had n goes out again. Those that follow it in the dialog move behind it.
func (b *branch) nextNumber(n uint32) uint32 {
	f := b.fork
	switch {
	case f == nil && b.own != nil:
		if d := b.own.dialog; d != nil {
			from, _ := d.sides(!b.own.toCaller)
			n, _ = from.numbers.own(from.cseq)
		} else {
			n++
		}
		b.own.cseq = n
		return n
	case f == nil || f.dialog == nil:
		if f != nil {
			f.shift++
		}
		return n + 1
	}
	from, _ := f.dialog.sides(f.fromCaller)
	came, _, _ := f.tx.m.CSeq()
	seq, _ := from.numbers.own(from.cseq)
	f.shift = seq - came
	if f.tx.invite {
		from.numbers.invite = step{came, f.shift}
	}
	return seq
}
