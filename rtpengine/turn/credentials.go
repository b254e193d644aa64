package turn

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Credential lets its holder relay until Expires. It is the form that WebRTC's iceServers take, and that coturn calls TURN REST:
// the name carries the time and the user, the password is the name's HMAC. So nothing is kept and every node with the same secret takes it.
type Credential struct {
	Name     string
	Password string
	Expires  time.Time
}

// Mint makes a credential of a user, whose name has no colon.
func Mint(secret []byte, user string, expires time.Time) Credential {
	name := strconv.FormatInt(expires.Unix(), 10) + ":" + user
	return Credential{name, password(secret, name), time.Unix(expires.Unix(), 0)}
}

func password(secret []byte, name string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(name))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

var (
	errForeignName = errors.New("the name is none of ours")
	errExpired     = errors.New("the credential has expired")
)

// userOf reads a credential's name.
func userOf(name string, now time.Time) (string, error) {
	stamp, user, found := strings.Cut(name, ":")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	switch {
	case !found || user == "" || err != nil:
		return "", errForeignName
	case now.Unix() >= seconds:
		return "", errExpired
	}
	return user, nil
}

// longTermKey is the key of RFC 8489 §9.2.2; MD5 is what it prescribes and what browsers speak.
func longTermKey(name, realm, password string) []byte {
	key := md5.Sum([]byte(name + ":" + realm + ":" + password))
	return key[:]
}
